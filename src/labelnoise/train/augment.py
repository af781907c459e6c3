"""Augmentation of training images, on their device: random shifts and mirror images.

The draws are pure functions of the seed and the step (stream of the data, parts 8 to 10), so that
they are the same on every device, and nothing waits for them.
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from labelnoise import rng
from labelnoise.rng import Stream

ROW, COLUMN, MIRROR = 8, 9, 10

Kind = Literal["crop", "crop_flip"]


class Augmentation:
    """Shifts by up to an eighth of the image, zeros coming in, and mirror images if asked for.

    Args:
        kind: `crop`, or `crop_flip` with mirror images.
        seed: of the run.
        start: number of the first step.
        shape: steps and images of a step.
        size: rows and columns of an image.
        device: of the images.
    """

    def __init__(
        self,
        kind: Kind,
        seed: int,
        start: int,
        shape: tuple[int, int],
        size: tuple[int, int],
        device: torch.device,
    ) -> None:
        count, batch = shape
        self._margin = max(1, size[0] // 8)

        def draw(part: int, below: int) -> Int64[np.ndarray, "count batch 1"]:
            drawn = rng.integers(
                seed, Stream.DATA, start * batch, count * batch, below=below, part=part
            )
            return drawn.reshape(count, batch, 1).astype(np.int64)

        shifts = 2 * self._margin + 1
        rows = draw(ROW, shifts) + np.arange(size[0])
        columns = draw(COLUMN, shifts) + np.arange(size[1])
        if kind == "crop_flip":
            columns = np.where(draw(MIRROR, 2) == 1, columns[..., ::-1], columns)
        self._rows = torch.from_numpy(rows).to(device, torch.int32)
        self._columns = torch.from_numpy(columns).to(device, torch.int32)

    def __call__(
        self, x: Float[Tensor, "image channel row column"], step: int
    ) -> Float[Tensor, "image channel row column"]:
        """The images of a step, counted from `start`, augmented.

        Args:
            x: images.
            step: which of the steps.
        """
        padded = functional.pad(x, (self._margin,) * 4)
        image = torch.arange(len(x), device=x.device)[:, None, None]
        rows, columns = self._rows[step][:, :, None], self._columns[step][:, None, :]
        # (image, row, column, channel), as the memory format of convolutions likes it
        return padded.permute(0, 2, 3, 1)[image, rows, columns].permute(0, 3, 1, 2)

"""Which images a step takes and which labels it sees: pure functions of the seed and the step.

Streams: of the sample order, part 2 has a word for each image and epoch; of the label noise, part 2
says whether a label is noised, part 3 what it becomes. Runs that differ only in τ see the same
images in the same order, and where the smaller τ noises, the larger does, to the same class.
"""

from typing import Literal

import numpy as np
from jaxtyping import Float, Int64
from numpy import ndarray

from labelnoise import rng
from labelnoise.rng import Stream

ORDER, REDRAWN, CLASS = 2, 2, 3

Noise = Literal["redraw", "flip"]


def mean_shares(tau: float, classes: int, noise: Noise) -> tuple[float, float]:
    """The probabilities that a step sees the true class, and any one of the others."""
    other = tau / (classes - 1 if noise == "flip" else classes)
    return (1 - tau if noise == "flip" else 1 - tau + other), other


def batches(
    seed: int, images: int, batch: int, start: int, count: int
) -> Int64[ndarray, "count batch"]:
    """The images of the steps from `start` on: epoch after epoch, each in an order of its own.

    A batch that an epoch leaves short is filled from the next one.
    """
    first, last = start * batch, (start + count) * batch
    epochs = range(first // images, -(-last // images))
    order = [
        rng.words(seed, Stream.SAMPLE_ORDER, epoch * images, images, part=ORDER).argsort(
            kind="stable"
        )
        for epoch in epochs
    ]
    skipped = first - epochs[0] * images
    taken = np.concatenate(order)[skipped : skipped + count * batch]
    return taken.reshape(count, batch).astype(np.int64)


def noisy_labels(
    labels: Int64[ndarray, "count batch"],
    seed: int,
    tau: float,
    classes: int,
    start: int,
    noise: Noise = "redraw",
) -> Int64[ndarray, "count batch"]:
    """Labels of the steps from `start` on, each noised with probability τ (paper, Algorithm 1).

    Args:
        labels: the true labels of each step's images.
        seed: of the run.
        tau: probability τ that a label is noised.
        classes: how many classes.
        start: number of the first step.
        noise: `redraw`, uniformly from all classes; or `flip`, from all but the true one.
    """
    if tau == 0:
        return labels
    size, offset = labels.size, start * labels.shape[1]
    chance: Float[ndarray, "word"] = rng.uniforms(
        seed, Stream.LABEL_NOISE, offset, size, part=REDRAWN
    )
    others = classes - 1 if noise == "flip" else classes
    redrawn = rng.integers(seed, Stream.LABEL_NOISE, offset, size, below=others, part=CLASS)
    if noise == "flip":  # so many classes further on, around the circle
        redrawn = (labels.ravel() + 1 + redrawn) % classes
    noisy = np.where(chance < tau, redrawn, labels.ravel())
    return noisy.reshape(labels.shape).astype(np.int64)

"""Residual networks for small images (He et al. 2016, the CIFAR-10 variant of ResNet-18).

A 3×3 stem without max-pooling; stages of basic blocks, each but the first at half the resolution of
the one before; global average pooling; a linear head. All channels that are added together form a
*stream*: one a stage, and the stem writes the first stage's. Any channel count may be any number,
so that a pruned network is a network of this class, too.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from .convolution import Convolution


@dataclass(frozen=True)
class ResNetSpec:
    """All channel counts of a network: with a state dict, all of it.

    Attributes:
        channels_in: channels of an image.
        classes: outputs.
        streams: width of each stage's stream.
        inner: width between the two convolutions of each block, by stage.
    """

    channels_in: int
    classes: int
    streams: tuple[int, ...]
    inner: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        """Check it.

        Raises:
            ValueError: stages are missing on one side, or a count is below one.
        """
        if len(self.streams) != len(self.inner) or not all(self.inner):
            raise ValueError(
                f"streams {self.streams} and inner {self.inner}: every stage has one stream width "
                "and the inner width of one block or more"
            )
        counts = (
            self.channels_in,
            self.classes,
            *self.streams,
            *(w for s in self.inner for w in s),
        )
        if min(counts) < 1:
            raise ValueError(f"{self}: every count is 1 or more")

    @classmethod
    def standard(
        cls,
        channels_in: int,
        classes: int,
        width: int = 64,
        blocks: tuple[int, ...] = (2, 2, 2, 2),
    ) -> "ResNetSpec":
        """Stages of width, 2 width, 4 width, … channels; ResNet-18 unless told otherwise.

        Args:
            channels_in: channels of an image.
            classes: outputs.
            width: channels of the first stage.
            blocks: number of blocks of each stage.
        """
        streams = tuple(width * 2**stage for stage in range(len(blocks)))
        inner = tuple((wide,) * number for wide, number in zip(streams, blocks, strict=True))
        return cls(channels_in, classes, streams, inner)

    def to_json(self) -> str:
        """As JSON, for a file's attributes."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "ResNetSpec":
        """What `to_json` wrote."""
        counts = json.loads(text)
        inner = tuple(map(tuple, counts["inner"]))
        return cls(counts["channels_in"], counts["classes"], tuple(counts["streams"]), inner)


class ConvNorm(nn.Module):
    """A convolution without bias and its batch norm; zero padding keeps the image's size."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = Convolution(channels_in, channels_out, kernel, stride)
        self.norm = nn.BatchNorm2d(channels_out)

    def forward(
        self, x: Float[Tensor, "image channel_in height width"]
    ) -> Float[Tensor, "image channel_out height_out width_out"]:
        """norm(conv(x))."""
        out: Tensor = self.norm(self.conv(x))
        return out


class Block(nn.Module):
    """relu(second(relu(first(x))) + x); x goes through `projection` where the stream changes."""

    def __init__(self, before: int, inner: int, stream: int, stride: int, projected: bool) -> None:
        super().__init__()
        self.first = ConvNorm(before, inner, 3, stride)
        self.second = ConvNorm(inner, stream, 3, 1)
        self.projection = ConvNorm(before, stream, 1, stride) if projected else None

    def forward(
        self, x: Float[Tensor, "image channel_in height width"]
    ) -> Float[Tensor, "image channel_out height_out width_out"]:
        """The stream after this block."""
        shortcut = x if self.projection is None else self.projection(x)
        return functional.relu(self.second(functional.relu(self.first(x))) + shortcut)


class ResNet(nn.Module):
    """A residual network, newly initialised.

    Convolutions are He normal, N(0, 2/(k² channels_out)); batch norms have weight 1 and bias 0; the
    head's weights and biases are uniform on ±1/√fan_in. They are drawn one module after the other,
    in the order of `modules()`, and nothing else is drawn.

    Args:
        spec: the channel counts.
        generator: where the draws come from; torch's own CPU generator if None.
    """

    def __init__(self, spec: ResNetSpec, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.spec = spec
        before = spec.streams[0]
        with torch.device("meta"):  # without PyTorch's own initialisation and its draws
            self.stem = ConvNorm(spec.channels_in, before, 3, 1)
            stages = []
            for stage, (stream, inner) in enumerate(zip(spec.streams, spec.inner, strict=True)):
                blocks = []
                for number, width in enumerate(inner):
                    new = stage > 0 and number == 0
                    blocks.append(Block(before, width, stream, 2 if new else 1, new))
                    before = stream
                stages.append(nn.Sequential(*blocks))
            self.stages = nn.Sequential(*stages)
            self.head = nn.Linear(before, spec.classes)
        self.to_empty(device="cpu")
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(
                    module.weight, mode="fan_out", nonlinearity="relu", generator=generator
                )
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()
        for parameter in self.head.parameters():
            nn.init.uniform_(parameter, -(before**-0.5), before**-0.5, generator=generator)

    def forward(
        self, x: Float[Tensor, "image channel height width"]
    ) -> Float[Tensor, "image class"]:
        """Logits."""
        features = self.stages(functional.relu(self.stem(x)))
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits


def restore(spec: ResNetSpec, state: Mapping[str, Tensor]) -> ResNet:
    """The network of these counts and this state dict (copied), in the weights' precision.

    Nothing is drawn from torch's own generator.

    Raises:
        RuntimeError: the state dict is of a network with other counts.
    """
    network = ResNet(spec, torch.Generator()).to(state["head.weight"])
    network.load_state_dict(state)
    return network

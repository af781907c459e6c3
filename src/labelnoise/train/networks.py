"""The networks: the authors' MLP, a WideResNet without batch statistics, and a user's own.

A network is a pure function of its settings and seed, on any device: weights come from the
counter-based generator, those of ResNets and of a user's network from torch's, seeded by the run.
"""

import importlib
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from labelnoise import rng
from labelnoise.rng import Stream

from .convolution import convolve
from .resnet import ResNet, ResNetSpec
from .settings import TrainSettings

FIRST_PART = 2
"""Parts of the stream of initialisations from here on are the parameters, in their order."""


class _Layer(nn.Module):
    """A linear map and its scale: the standard parametrisation has it in the weights.

    A weight has variance `gain`/fan_in, a bias variance 1: drawn so ("standard"), or drawn with
    variance 1 and multiplied by √(gain/fan_in) in the forward pass ("ntk"), on the side of the
    input, which is the same.
    """

    def __init__(self, shape: Sequence[int], *, gain: float, ntk: bool, bias: bool) -> None:
        super().__init__()
        std = (gain / torch.Size(shape[1:]).numel()) ** 0.5
        self.std: float = 1.0 if ntk else std
        self.scale: float = std if ntk else 1.0
        self.weight = nn.Parameter(torch.empty(*shape))
        self.bias = nn.Parameter(torch.empty(shape[0])) if bias else None

    def _in(self, x: Tensor) -> Tensor:
        return x if self.scale == 1.0 else self.scale * x


class Dense(_Layer):
    """A fully connected layer."""

    def forward(self, x: Float[Tensor, "*image input"]) -> Float[Tensor, "*image output"]:
        """Wx + b."""
        return nn.functional.linear(self._in(x), self.weight, self.bias)


class Conv(_Layer):
    """A convolution with a square kernel of odd size, zero-padded to keep the image's size."""

    def __init__(
        self, inputs: int, outputs: int, size: int, stride: int, *, gain: float, ntk: bool
    ) -> None:
        super().__init__((outputs, inputs, size, size), gain=gain, ntk=ntk, bias=False)
        self.stride = stride

    def forward(
        self, x: Float[Tensor, "*image channel row column"]
    ) -> Float[Tensor, "*image output row2 column2"]:
        """The convolution, no bias."""
        return convolve(self._in(x), self.weight, self.stride)


class MLP(nn.Module):
    """The authors' network: input → width → erf → classes, W ~ N(0, 1/fan_in), b ~ N(0, 1)."""

    def __init__(self, inputs: int, width: int, classes: int, *, ntk: bool) -> None:
        super().__init__()
        self.first = Dense((width, inputs), gain=1.0, ntk=ntk, bias=True)
        self.last = Dense((classes, width), gain=1.0, ntk=ntk, bias=True)

    def split(self, x: Float[Tensor, "image *pixel"]) -> tuple[Float[Tensor, "image input"], None]:
        """What the first layer takes, and what is added to what it gives: nothing."""
        return x.flatten(1), None

    def forward(self, x: Float[Tensor, "image *pixel"]) -> Float[Tensor, "image class"]:
        """Each image's outputs."""
        outputs: Tensor = self.last(torch.erf(self.first(x.flatten(1))))
        return outputs


class _Block(nn.Module):
    """Two 3×3 convolutions beside a shortcut, (shortcut + residual)/√2.

    The variance stays, but for the zeros beyond the edges of the image.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, *, ntk: bool) -> None:
        super().__init__()
        self.one = Conv(inputs, outputs, 3, stride, gain=2.0, ntk=ntk)
        self.two = Conv(outputs, outputs, 3, 1, gain=2.0, ntk=ntk)
        same = inputs == outputs and stride == 1
        self.shortcut = None if same else Conv(inputs, outputs, 1, stride, gain=2.0, ntk=ntk)

    def forward(
        self, x: Float[Tensor, "*image channel row column"]
    ) -> Float[Tensor, "*image output row2 column2"]:
        """ReLU before each convolution, as in Zagoruyko & Komodakis (2016)."""
        active = nn.functional.relu(x)
        residual = self.two(nn.functional.relu(self.one(active)))
        short = x if self.shortcut is None else self.shortcut(active)
        outputs: Tensor = (short + residual) * 0.5**0.5
        return outputs


class WideResNet(nn.Module):
    """A WideResNet (Zagoruyko & Komodakis 2016) without normalisation layers.

    No statistics of a batch enter, so each output is a function of its own image, as the NTK needs
    it. A 3×3 convolution to 16 channels; three groups of `count` blocks with 16, 32, 64 times
    `factor` channels, the second and third with stride 2; ReLU; the mean over the image; a dense
    layer. Weights before a ReLU ~ N(0, 2/fan_in), the first and last ~ N(0, 1/fan_in), no biases
    but the last layer's, which starts as N(0, 1) as the MLP's does.
    """

    def __init__(self, channels: int, count: int, factor: int, classes: int, *, ntk: bool) -> None:
        super().__init__()
        self.first = Conv(channels, 16, 3, 1, gain=1.0, ntk=ntk)
        blocks: list[nn.Module] = []
        inputs = 16
        for group in range(3):
            for number in range(count):
                outputs = 16 * 2**group * factor
                stride = 2 if group and not number else 1
                blocks.append(_Block(inputs, outputs, stride, ntk=ntk))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.last = Dense((classes, inputs), gain=1.0, ntk=ntk, bias=True)

    def forward(self, x: Float[Tensor, "image channel row column"]) -> Float[Tensor, "image class"]:
        """Each image's outputs."""
        x = nn.functional.relu(self.blocks(self.first(x)))
        outputs: Tensor = self.last(x.mean((-2, -1)))
        return outputs


def build(settings: TrainSettings, image: Sequence[int], classes: int, seed: int) -> nn.Module:
    """The network at its start, float32 on the CPU.

    Args:
        settings: `network` and what belongs to it.
        image: (channels, rows, columns).
        classes: how many outputs.
        seed: of the run.

    Raises:
        ValueError: a user's module that cannot be imported, or is no network.
    """
    ntk = settings.parametrization == "ntk"
    if settings.own_network:
        # a user's class draws its weights from torch's own generator
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return _own_class(settings.network)(tuple(image), classes, **settings.network_options)
    network: nn.Module
    if settings.network == "mlp":
        network = MLP(torch.Size(image).numel(), settings.hidden, classes, ntk=ntk)
    elif settings.network == "resnet":
        spec = ResNetSpec.standard(image[0], classes, settings.hidden, (settings.blocks,) * 4)
        return ResNet(spec, torch.Generator().manual_seed(seed))
    else:
        network = WideResNet(image[0], settings.blocks, settings.hidden, classes, ntk=ntk)
    draw(network, seed)
    return network


def draw(network: nn.Module, seed: int) -> None:
    """Draw the weights and biases of all layers, each parameter a part of the stream."""
    part = FIRST_PART
    for layer in network.modules():
        if isinstance(layer, _Layer):
            for parameter, std in ((layer.weight, layer.std), (layer.bias, 1.0)):
                if parameter is not None:
                    count = parameter.numel()
                    values = rng.normals(seed, Stream.INITIALISATION, 0, count, part=part)
                    drawn = torch.from_numpy(std * values).reshape(parameter.shape)
                    with torch.no_grad():
                        parameter.copy_(drawn)
                part += 1


def _own_class(name: str) -> type[nn.Module]:
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"network: {name} cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ValueError(f"network: {name} is not a class of torch.nn.Module")
    return found


def first_layer_name(network: nn.Module) -> str:
    """The name of the first trained layer's weight: the first one that has a row for each neuron.

    Raises:
        ValueError: no trained parameter has more than one dimension.
    """
    for name, parameter in network.named_parameters():
        if parameter.requires_grad and parameter.ndim > 1:
            return name
    raise ValueError(
        f"{type(network).__name__} has no layer: no trained parameter of two dimensions"
    )

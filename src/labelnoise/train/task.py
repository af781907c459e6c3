"""A training as it is run: the network at its start, its images, on their device."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
import xarray as xr
from jaxtyping import Float, Int64
from torch import Tensor, nn

from .images import subset
from .networks import MLP, build, first_layer_name
from .settings import TrainSettings
from .span import Span, into_span

BATCH = 1000
"""Images at a time where nothing is trained: bounds memory."""


@dataclass(frozen=True)
class Task:
    """One training.

    Attributes:
        settings: everything but the seed.
        seed: of the images, the start, the order and the noise.
        network: at its start; rotated into the span where there is one.
        x_train: what the network takes for the training images.
        y_train: their labels.
        x_test: what the network takes for the test images.
        y_test: their labels.
        classes: names of the classes.
        span: of the training images, where the network was rotated into it.
    """

    settings: TrainSettings
    seed: int
    network: nn.Module
    x_train: Float[Tensor, "image ..."]
    y_train: Int64[Tensor, "image"]
    x_test: Float[Tensor, "test_image ..."]
    y_test: Int64[Tensor, "test_image"]
    classes: tuple[str, ...]
    span: Span | None

    def target(self, labels: Int64[Tensor, "image"]) -> Float[Tensor, "image class"]:
        """One-hot labels."""
        return self._rows[labels]

    @cached_property
    def _rows(self) -> Float[Tensor, "class class"]:
        return torch.eye(len(self.classes), dtype=self.x_train.dtype, device=self.x_train.device)

    def loss(
        self, outputs: Float[Tensor, "image class"], labels: Int64[Tensor, "image"]
    ) -> Float[Tensor, ""]:
        """½ mean (f − y)² over images and classes, or cross-entropy."""
        outputs = outputs.to(self.x_train.dtype)  # bfloat16 under autocast
        if self.settings.loss == "cross_entropy":
            return nn.functional.cross_entropy(outputs, labels)
        return 0.5 * nn.functional.mse_loss(outputs, self.target(labels))

    def slope(
        self, outputs: Float[Tensor, "image class"], labels: Int64[Tensor, "image"]
    ) -> Float[Tensor, "image class"]:
        """The derivative of `loss` by the outputs."""
        if self.settings.loss == "cross_entropy":
            return (outputs.softmax(1) - self.target(labels)) / len(outputs)
        return (outputs - self.target(labels)) / outputs.numel()

    def w_norm(self, weight: Tensor) -> Float[Tensor, "neuron"]:
        """‖w_i‖ of each neuron of the first layer, from its weight as the network has it."""
        inside: Tensor = weight.detach().flatten(1).norm(dim=1)
        if self.span is None:
            return inside
        return torch.hypot(inside, self.span.rest.norm(dim=1).to(inside.dtype))

    @property
    def start_norm(self) -> float:
        """‖θ(0)‖ over all parameters."""
        square = sum(float(p.detach().double().square().sum()) for p in self.network.parameters())
        if self.span is not None:
            square += float(self.span.rest.square().sum())
        return float(square**0.5)

    def weights(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """A state of the network, on all pixels."""
        if self.span is None:
            return state
        return state | {"first.weight": self.span.weight(state["first.weight"])}


def prepare(settings: TrainSettings, images: xr.Dataset, seed: int, device: str) -> Task:
    """Draw a training's images and start.

    Args:
        settings: everything but the seed.
        images: an artifact of images (`labelnoise.train.images`).
        seed: of the run.
        device: torch device.

    Raises:
        ValueError: more images are asked for than there are; a network that cannot be had.
    """
    chosen = subset(
        images,
        train_images=settings.train_images,
        test_images=settings.test_images,
        balanced=settings.balanced,
        normalisation=settings.normalisation,
        seed=seed,
    )
    dtype = torch.float64 if settings.precision == "float64" else torch.float32
    x_train, x_test = (torch.from_numpy(x).to(dtype) for x in (chosen.x_train, chosen.x_test))
    network = build(settings, x_train.shape[1:], len(chosen.classes), seed).to(dtype)
    first_layer_name(network)  # a network without one is refused here
    span = None
    few = len(x_train) < x_train[0].numel()
    if isinstance(network, MLP) and settings.rotate and few and not settings.weight_decay:
        network, span = into_span(network, x_train)
        x_train, x_test = span.inputs(x_train), span.inputs(x_test)
        span = Span(span.basis.to(device), span.rest.to(device), span.scale)
    # the layout in which convolutions are fastest; a matrix has no such choice
    convolves = x_train.ndim == 4 and not isinstance(network, MLP)
    layout = torch.channels_last if convolves else torch.preserve_format
    return Task(
        settings=settings,
        seed=seed,
        network=network.to(device).to(memory_format=layout),  # type: ignore[call-overload]
        x_train=x_train.to(device, memory_format=layout),
        y_train=torch.from_numpy(chosen.y_train).to(device),
        x_test=x_test.to(device, memory_format=layout),
        y_test=torch.from_numpy(chosen.y_test).to(device),
        classes=chosen.classes,
        span=span,
    )


@contextlib.contextmanager
def arithmetic(precision: str, device: str) -> Iterator[None]:
    """The arithmetic of a training, and torch's own settings back afterwards."""
    kind = torch.device(device).type
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    tried = torch.backends.cudnn.benchmark
    torch.set_float32_matmul_precision("high" if precision in ("tf32", "bf16") else "highest")
    torch.backends.cudnn.allow_tf32 = precision in ("tf32", "bf16")
    torch.backends.cudnn.benchmark = True  # the fastest algorithm for the shapes that come
    try:
        # without its cache, which would keep the first step's weights to the end of the context
        with torch.autocast(kind, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
        torch.backends.cudnn.benchmark = tried

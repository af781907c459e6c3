"""The exact rotation of few images into their span: what a wide input costs an MLP nothing.

With n training images of D > n pixels, gradients of the first layer are combinations of the
training images: W(t) = W_span(t) Qᵀ + W_rest(0), with an orthonormal basis Q ∈ R^{D×n} of their
span. (S)GD and SAM act on the coordinates W_span ∈ R^{m×n} as they would on W (a gradient has the
same norm in both), and the rest adds to an image's pre-activations what it added at the start:
nothing for a training image, a constant for a test image. Nothing is approximated.

It knows nothing of how the network is trained, but that it is without weight decay.
"""

import copy
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from .networks import MLP


class SpanMLP(nn.Module):
    """An MLP on coordinates in a span, and what the rest of its first layer adds to each neuron."""

    def __init__(self, network: MLP, basis: Float64[Tensor, "pixel coordinate"]) -> None:
        super().__init__()
        self.first, self.last = copy.deepcopy(network.first), copy.deepcopy(network.last)
        weight = network.first.weight.detach()
        self.first.weight = nn.Parameter((weight.double() @ basis).to(weight.dtype))

    def split(
        self, x: Float[Tensor, "image coordinate_and_neuron"]
    ) -> tuple[Float[Tensor, "image coordinate"], Float[Tensor, "image neuron"]]:
        """What the first layer takes, and the constants that are added to what it gives."""
        rank = self.first.weight.shape[1]
        return x[:, :rank], x[:, rank:]

    def forward(
        self, x: Float[Tensor, "image coordinate_and_neuron"]
    ) -> Float[Tensor, "image class"]:
        """Each image's outputs, from its coordinates and, after them, the constants."""
        coordinates, constant = self.split(x)
        outputs: Tensor = self.last(torch.erf(self.first(coordinates) + constant))
        return outputs


@dataclass(frozen=True)
class Span:
    """The span of the training images, and what of the first layer lies outside of it."""

    basis: Float64[Tensor, "pixel coordinate"]
    rest: Float64[Tensor, "neuron pixel"]
    scale: float

    def inputs(
        self, x: Float[Tensor, "image *pixel"]
    ) -> Float[Tensor, "image coordinate_and_neuron"]:
        """What a `SpanMLP` takes for images."""
        flat = x.flatten(1).double()
        return torch.cat([flat @ self.basis, self.scale * flat @ self.rest.T], 1).to(x.dtype)

    def weight(self, inside: Float[Tensor, "neuron coordinate"]) -> Float[Tensor, "neuron pixel"]:
        """The first layer's weight on all pixels."""
        return (inside.double() @ self.basis.T + self.rest).to(inside.dtype)


def into_span(network: MLP, x: Float[Tensor, "image *pixel"]) -> tuple[SpanMLP, Span]:
    """Rotate a network into the span of its training images.

    Args:
        network: at its start.
        x: the training images, fewer than they have pixels.
    """
    # Householder's Q has orthonormal columns that hold the span, whatever the rank
    basis = torch.linalg.qr(x.flatten(1).double().T).Q
    weight = network.first.weight.detach().double()
    rest = weight - (weight @ basis) @ basis.T
    return SpanMLP(network, basis), Span(basis, rest, network.first.scale)

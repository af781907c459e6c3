"""The gradient of the authors' MLP, written out.

Its matrices are small: autograd's bookkeeping takes twice the time of the arithmetic.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from .networks import MLP
from .span import SpanMLP

Slope = Callable[[Float[Tensor, "image class"]], Float[Tensor, "image class"]]
"""The derivative of a loss by a network's outputs, from these outputs."""


@torch.no_grad()
def mlp_gradient(
    network: MLP | SpanMLP, x: Float[Tensor, "image ..."], slope: Slope
) -> list[Tensor]:
    """The gradient of a loss by W, b, V and c of f = V erf(W x + b) + c: by `parameters()`.

    Args:
        network: the network.
        x: what it takes for images.
        slope: of the loss.
    """
    w, b, v, c = network.parameters()
    inputs, constant = network.split(x)
    if network.first.scale != 1.0:
        inputs = network.first.scale * inputs
    before = torch.addmm(b, inputs, w.T)
    if constant is not None:
        before += constant
    hidden = torch.erf(before)
    if network.last.scale != 1.0:
        hidden *= network.last.scale
    error = slope(torch.addmm(c, hidden, v.T))
    # erf'(z) = 2/√π exp(−z²); the constants go to the smaller matrix
    back = (error * (network.last.scale * 2 / math.sqrt(math.pi))) @ v
    back *= before.square_().neg_().exp_()
    return [back.T @ inputs, back.sum(0), error.T @ hidden, error.sum(0)]

"""The step rules, written once: for a batch of runs, in torch, on any device and in any dtype.

This is the reference that the compiled core is tested against. A rule takes the state and one
sample a run and returns the next state; it neither knows nor cares whether the state is the full
network or its exact reduction.
"""

from jaxtyping import Float
from torch import Tensor


def residual(
    w: Float[Tensor, "run neuron dim"],
    a: Float[Tensor, "run neuron"],
    x: Float[Tensor, "run dim"],
    target: Float[Tensor, "run"],
) -> tuple[Float[Tensor, "run"], Float[Tensor, "run neuron"]]:
    """Residual r = f(x) − target with f(x) = aᵀWx, and the hidden layer Wx."""
    hidden = (w * x[:, None, :]).sum(-1)
    return (a * hidden).sum(-1) - target, hidden


def sgd_step(
    w: Float[Tensor, "run neuron dim"],
    a: Float[Tensor, "run neuron"],
    x: Float[Tensor, "run dim"],
    target: Float[Tensor, "run"],
    eta: Float[Tensor, "run"],
) -> tuple[Float[Tensor, "run neuron dim"], Float[Tensor, "run neuron"], Float[Tensor, "run"]]:
    """One step of SGD on ½(f(x) − target)², both layers from the old values (paper eq. 3–4).

    `target` is the noised label y + ε: label noise enters nowhere else.

    Returns:
        W ← W − η r a xᵀ, a ← a − η r W x, and the residual r before the step.
    """
    r, hidden = residual(w, a, x, target)
    step = -eta * r
    return w + step[:, None, None] * a[:, :, None] * x[:, None, :], a + step[:, None] * hidden, r

"""The steps of the linearised network, in torch: what the compiled ones are compared with."""

import torch
from torch import Tensor

from labelnoise.simulate.rules import predictor_gradient


def linearise(w: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
    """The model linearised in its parameters at (W, a), as predictor and metric.

    The Taylor expansion f_lin(x) = aᵀWx + aᵀΔW x + ΔaᵀWx is linear in x for any ΔW, Δa, so that
    f_lin(x) = ⟨θ_lin, x⟩ exactly. A gradient step of its parameters on a sample of residual r,
    ΔW ← ΔW − η r a xᵀ and Δa ← Δa − η r W x, moves θ_lin by −η r M x: its tangent kernel is xᵀMx'.

    Returns:
        θ_lin = Wᵀa and M = ‖a‖² I + WᵀW.
    """
    identity = torch.eye(w.shape[-1], dtype=w.dtype, device=w.device)
    metric = (a * a).sum(-1)[:, None, None] * identity + w.mT @ w
    return (w * a[:, :, None]).sum(1), metric


def linear_step(
    theta: Tensor,
    x: Tensor,
    target: Tensor,
    metric: Tensor,
    eta: Tensor,
) -> tuple[Tensor, Tensor]:
    """One step of SGD on the linearised model (see `linearise`).

    Args:
        theta: predictor θ of the linearised model.
        x: the sample of each run.
        target: its (noised) label y + ε.
        metric: M = ‖a(0)‖² I + W(0)ᵀW(0).
        eta: learning rate η.

    Returns:
        θ ← θ − η r M x, and the residual r = ⟨θ, x⟩ − target before the step.
    """
    r = (theta * x).sum(-1) - target
    return theta - (eta * r)[:, None] * (metric * x[:, None, :]).sum(-1), r


def linear_gd_step(
    theta: Tensor,
    covariance: Tensor,
    correlation: Tensor,
    metric: Tensor,
    eta: Tensor,
) -> tuple[Tensor, Tensor]:
    """One step of full-batch gradient descent on the linearised model (see `linearise`).

    Args:
        theta: predictor θ of the linearised model.
        covariance: Σ̂ = XᵀX/n.
        correlation: ĉ = Xᵀy/n.
        metric: M = ‖a(0)‖² I + W(0)ᵀW(0).
        eta: learning rate η.

    Returns:
        θ ← θ − η M g, and g = Σ̂θ − ĉ before the step.
    """
    g = predictor_gradient(theta, covariance, correlation)
    return theta - eta[:, None] * (metric * g[:, None, :]).sum(-1), g

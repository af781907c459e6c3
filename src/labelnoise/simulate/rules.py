"""The step rules, written once: for a batch of runs, in torch, on any device and in any dtype.

This is the reference that the compiled core is tested against. A rule takes the state and one
sample a run (or, full-batch, the moments of all samples) and returns the next state; it neither
knows nor cares whether the state is the full network or its exact reduction.

Full-batch rules see the samples through their moments Σ̂ = XᵀX/n and ĉ = Xᵀy/n alone.
"""

import torch
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


def sam_step(
    w: Float[Tensor, "run neuron dim"],
    a: Float[Tensor, "run neuron"],
    x: Float[Tensor, "run dim"],
    target: Float[Tensor, "run"],
    eta: Float[Tensor, "run"],
    rho: Float[Tensor, "run"],
) -> tuple[Float[Tensor, "run neuron dim"], Float[Tensor, "run neuron"], Float[Tensor, "run"]]:
    """One step of sharpness-aware minimisation on ½(f(x) − target)² (paper §5).

    The gradient is G = r [a xᵀ | Wx], of norm |r| √(‖a‖²‖x‖² + ‖Wx‖²). SAM descends along the
    gradient found at the distance ρ up that slope, at W̃ = W + c a xᵀ and ã = a + c W x with

        c = ρ sign(r)/√(‖a‖²‖x‖² + ‖Wx‖²),

    and c = 0 where the gradient vanishes and has no direction. There W̃x = Wx + c‖x‖² a and
    r̃ = ãᵀW̃x − target. With P = [W | a], x₀ = (x, 0) and e the last unit vector, Wx = P x₀ and
    a = P e, so that the step is the right multiplication

        P ← P (I − η r̃ [(e + c x₀) xᵀ | x₀ + c‖x‖² e]),

    where r̃ and c depend on P only through the entries ‖Pe‖², ‖Px₀‖² and (Pe)ᵀPx₀ that PᵀP gives:
    hence the reduction of `labelnoise.simulate.reduction` is exact for SAM too.

    Args:
        w: first layer W.
        a: second layer a.
        x: the sample of each run.
        target: its (noised) label y + ε.
        eta: learning rate η.
        rho: radius ρ of the perturbation; 0 is SGD.

    Returns:
        W ← W − η r̃ ã xᵀ, a ← a − η r̃ W̃ x, and the residual r before the step.
    """
    r, hidden = residual(w, a, x, target)
    squared_x = (x * x).sum(-1)
    norm = ((a * a).sum(-1) * squared_x + (hidden * hidden).sum(-1)).sqrt()
    c = torch.where(norm > 0, rho * r.sign() / norm, 0.0)[:, None]
    there_hidden = hidden + c * squared_x[:, None] * a
    there_a = a + c * hidden
    step = -eta * ((there_a * there_hidden).sum(-1) - target)
    return (
        w + step[:, None, None] * there_a[:, :, None] * x[:, None, :],
        a + step[:, None] * there_hidden,
        r,
    )


def momentum_step(
    w: Float[Tensor, "run neuron dim"],
    a: Float[Tensor, "run neuron"],
    sum_w: Float[Tensor, "run neuron dim"],
    sum_a: Float[Tensor, "run neuron"],
    x: Float[Tensor, "run dim"],
    target: Float[Tensor, "run"],
    eta: Float[Tensor, "run"],
    momentum: Float[Tensor, "run"],
) -> tuple[
    Float[Tensor, "run neuron dim"],
    Float[Tensor, "run neuron"],
    Float[Tensor, "run neuron dim"],
    Float[Tensor, "run neuron"],
    Float[Tensor, "run"],
]:
    """One step of SGD with heavy-ball momentum on ½(f(x) − target)² (Polyak 1964).

    With P = [W | a] and the gradient r P S, S = [[0, x], [xᵀ, 0]], a step is

        G ← μ G + r P S,  P ← P − η G,

    as `torch.optim.SGD` has it. It multiplies (P, G) from the right by what depends on PᵀP alone,
    and G starts at 0: the reduction of `labelnoise.simulate.reduction` is exact, with G = Q G_core.

    Args:
        w: first layer W.
        a: second layer a.
        sum_w: first layer's part of G.
        sum_a: second layer's part of G.
        x: the sample of each run.
        target: its (noised) label y + ε.
        eta: learning rate η.
        momentum: μ; 0 is SGD.

    Returns:
        W, a, both parts of G after the step, and the residual r before it.
    """
    r, hidden = residual(w, a, x, target)
    rate, kept = eta[:, None], momentum[:, None]
    sum_w = kept[:, :, None] * sum_w + r[:, None, None] * a[:, :, None] * x[:, None, :]
    sum_a = kept * sum_a + r[:, None] * hidden
    return w - rate[:, :, None] * sum_w, a - rate * sum_a, sum_w, sum_a, r


def predictor_gradient(
    theta: Float[Tensor, "run dim"],
    covariance: Float[Tensor, "run dim dim"],
    correlation: Float[Tensor, "run dim"],
) -> Float[Tensor, "run dim"]:
    """Gradient g = Σ̂θ − ĉ of the training loss ½ mean (⟨θ, x_i⟩ − y_i)² by the predictor θ."""
    return (covariance * theta[:, None, :]).sum(-1) - correlation


def oscillation_step(
    w: Float[Tensor, "run neuron dim"],
    a: Float[Tensor, "run neuron"],
    covariance: Float[Tensor, "run dim dim"],
    correlation: Float[Tensor, "run dim"],
    eta: Float[Tensor, "run"],
) -> tuple[Float[Tensor, "run neuron dim"], Float[Tensor, "run dim"]]:
    """One step of full-batch gradient descent on W alone, `a` being given (§4.3, Lemma 4.4).

    Args:
        w: first layer W.
        a: second layer of this step, δ times the levels of `labelnoise.simulate.chain`.
        covariance: Σ̂ = XᵀX/n.
        correlation: ĉ = Xᵀy/n.
        eta: learning rate η.

    Returns:
        W ← W − η a gᵀ, and g = Σ̂ Wᵀa − ĉ before the step.
    """
    g = predictor_gradient((w * a[:, :, None]).sum(1), covariance, correlation)
    return w - eta[:, None, None] * a[:, :, None] * g[:, None, :], g


def gd_step(
    w: Float[Tensor, "run neuron dim"],
    a: Float[Tensor, "run neuron"],
    covariance: Float[Tensor, "run dim dim"],
    correlation: Float[Tensor, "run dim"],
    eta: Float[Tensor, "run"],
) -> tuple[Float[Tensor, "run neuron dim"], Float[Tensor, "run neuron"], Float[Tensor, "run dim"]]:
    """One step of full-batch gradient descent: the mean of the SGD steps without noise.

    The residuals average out: mean r_i x_i = Σ̂ Wᵀa − ĉ = g.

    Args:
        w: first layer W.
        a: second layer a.
        covariance: Σ̂ = XᵀX/n.
        correlation: ĉ = Xᵀy/n.
        eta: learning rate η.

    Returns:
        W ← W − η a gᵀ, a ← a − η W g (both from the old values), and g before the step.
    """
    next_w, g = oscillation_step(w, a, covariance, correlation, eta)
    return next_w, a - eta[:, None] * (w * g[:, None, :]).sum(-1), g

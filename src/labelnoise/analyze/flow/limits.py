"""What follows from the flow in closed form, for Σ = I."""

import math

import numpy as np
from jaxtyping import Float, Num

Values = Num[np.ndarray, "..."] | float | int
"""One number, or an array of them."""


def end_state(dim: int, width: int, theta_star_norm: float) -> tuple[float, float, float]:
    """Where the slow flow ends for Σ = I: a network of rank one.

    Returns:
        ‖W‖_F² = √d‖θ*‖, ‖a‖² = ‖θ*‖/√d, and the mean norm √(2√d‖θ*‖/(πm)) of the m neurons.
    """
    w2 = math.sqrt(dim) * theta_star_norm
    return w2, theta_star_norm / math.sqrt(dim), math.sqrt(2 * w2 / (math.pi * width))


def stability_limit(width: int, dim: int) -> float:
    """η at which E r² of SGD diverges at the NTK initialisation: η(d + m)(1 + 2/d) = 2."""
    return 2 / ((dim + width) * (1 + 2 / dim))


def collapse_radius(dim: int, theta_star_norm: float) -> float:
    """ρ beyond which SAM without label noise cannot hold the end state and falls to θ = 0.

    ρ = ρ̂ d^(−1/4) √‖θ*‖, ρ̂ the lesser root of (1 + e₁)ρ̂ = q + e₂ρ̂², to leading order in 1/d and η.
    """
    # E 1/(1 + x²), x ~ N(0, 1)
    mills = math.sqrt(math.pi * math.e / 2) * math.erfc(math.sqrt(0.5))
    q = math.sqrt(2 / math.pi) * (1 + mills)
    e1, e2 = 1 - mills, math.sqrt(2 / math.pi) * (1 - mills)
    root = ((1 + e1) - math.sqrt((1 + e1) ** 2 - 4 * e2 * q)) / (2 * e2)
    return float(root * dim**-0.25 * math.sqrt(theta_star_norm))


def equivalent_sigma(rho: float, eta: float) -> float:
    """σ of the label noise that drives the flow as fast as SAM of radius ρ: ρ√(2/η), as η → 0."""
    return rho * math.sqrt(2 / eta)


def transverse_rate(eta: float, sigma: float, dim: int, theta_star_norm: float) -> float:
    """Rate in τ at which A across θ* dies out late: 1 − ½ησ²d^(3/2)/‖θ*‖.

    The flow itself has the rate 1; this is the next order, for Σ = I and a rest that is small.
    """
    return 1 - eta * sigma**2 * float(dim**1.5) / (2 * theta_star_norm)


def early_steps(
    tau: Values, eta: Values, sigma: Values, width: Values, dim: Values
) -> Float[np.ndarray, "..."]:
    """The steps in which label-noise SGD goes through the slow time τ of Phase I.

    ∫dτ/(η²v) with v = σ²/(1 − ½η(1 + 2/d)T) and T = m e^(−τ) + d e^(−dτ): τ/(σ²η²) as η → 0, and
    less the nearer η is to the stability limit.

    Args:
        tau: slow time τ; the neurons leave a radius R at a τ that R and the data decide.
        eta: learning rate η, under the stability limit.
        sigma: label noise level σ > 0.
        width: hidden neurons m.
        dim: input dimension d.
    """
    decayed = np.multiply(width, -np.expm1(-np.asarray(tau))) - np.expm1(
        -np.multiply(dim, tau, dtype=np.float64)
    )
    slow = tau - np.multiply(eta, 1 + 2 / np.asarray(dim)) / 2 * decayed
    return np.asarray(slow / (np.square(eta) * np.square(sigma)))


def early_fluctuation(eta: float, sigma: float, width: int, dim: int) -> tuple[float, float]:
    """What the label noise does to a(t) and to the loss at the NTK initialisation.

    Returns:
        The root mean square of what it adds to a_i of a neuron of norm 1, √(h/κ), and the training
        loss ½hT, with h = ηv/2 and κ = 1 + m/d.

    Raises:
        ValueError: η is beyond the stability limit.
    """
    share = eta / stability_limit(width, dim)
    if share >= 1:
        raise ValueError(f"eta = {eta:g} is beyond the limit {stability_limit(width, dim):g}")
    h = eta * sigma**2 / (1 - share) / 2
    return math.sqrt(h / (1 + width / dim)), h * (dim + width) / 2


def chain_floor(eta: float, theta_star_norm: float) -> float:
    """The mean norm at which the chain of Lemma 4.4 stops shrinking W: √(η/2)‖θ*‖√(2/π)."""
    return math.sqrt(eta / 2) * theta_star_norm * math.sqrt(2 / math.pi)

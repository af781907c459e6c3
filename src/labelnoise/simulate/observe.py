"""What is measured of a network at a snapshot (paper §4.1)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from .problem import Problem

PER_NEURON = {
    "w_norm": ("first-layer norm of the neuron", "‖w_i‖"),
    "alignment": ("alignment of the neuron with the ground truth", "|⟨w_i, θ*⟩|/(‖w_i‖‖θ*‖)"),
    "a": ("second-layer weight of the neuron", "a_i"),
    "displacement": (
        "relative distance of the neuron from its initialisation (lazy means small)",
        "‖w_i(t) − w_i(0)‖/‖w_i(0)‖",
    ),
}
PER_NETWORK = {
    "train_loss": ("training loss on clean labels", "½ mean (f(x_i) − y_i)²"),
    "test_loss": ("test loss on fresh data", "½ mean (f(x) − ⟨θ*, x⟩)²"),
    "theta_error": ("distance of the effective predictor from the ground truth", "‖Wᵀa − θ*‖"),
    "theta_norm": ("norm of the effective predictor", "‖Wᵀa‖"),
    "layer_displacement": (
        "relative distance of the first layer from its initialisation (lazy means small)",
        "‖W(t) − W(0)‖_F/‖W(0)‖_F",
    ),
    "participation_ratio": (
        "share of neurons that carry the first-layer norm (1: all alike)",
        "(Σ‖w_i‖²)²/(m Σ‖w_i‖⁴)",
    ),
}


@dataclass(frozen=True)
class Snapshot:
    """The measurements of one network: arrays named as in `PER_NEURON` and `PER_NETWORK`."""

    per_neuron: dict[str, Float64[np.ndarray, "width"]]
    per_network: dict[str, float]


def _ratio(
    numerator: Float64[np.ndarray, "..."], denominator: Float64[np.ndarray, "..."]
) -> Float64[np.ndarray, "..."]:
    """Their ratio, and 0 where the denominator is 0 (a neuron that is dead has no direction)."""
    ratio: Float64[np.ndarray, "..."] = np.divide(
        numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0
    )
    return ratio


def observe(
    problem: Problem, w: Float64[np.ndarray, "width dim"], a: Float64[np.ndarray, "width"]
) -> Snapshot:
    """Measure a network (W, a) of a run."""
    width = len(a)
    theta = w.T @ a
    error = theta - problem.theta_star
    squares = np.einsum("ij,ij->i", w, w)
    moved = np.einsum("ij,ij->i", w - problem.w, w - problem.w)
    start = np.einsum("ij,ij->i", problem.w, problem.w)
    theta_star_norm = np.linalg.norm(problem.theta_star)
    w_norm = np.sqrt(squares)
    return Snapshot(
        per_neuron={
            "w_norm": w_norm,
            "alignment": _ratio(np.abs(w @ problem.theta_star), w_norm * theta_star_norm),
            "a": a,
            "displacement": np.sqrt(_ratio(moved, start)),
        },
        per_network={
            "train_loss": float(0.5 * np.mean((problem.x @ theta - problem.y) ** 2)),
            "test_loss": float(0.5 * np.mean((problem.x_test @ error) ** 2)),
            "theta_error": float(np.linalg.norm(error)),
            "theta_norm": float(np.linalg.norm(theta)),
            "layer_displacement": float(np.sqrt(moved.sum() / start.sum())),
            "participation_ratio": _ratio(
                squares.sum(keepdims=True) ** 2, width * (squares**2).sum(keepdims=True)
            ).item(),
        },
    )

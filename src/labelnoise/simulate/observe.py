"""What is measured of a network at a snapshot (paper §4.1)."""

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
"""Of the recorded neurons."""

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
    "w_norm_mean": ("mean first-layer norm", "mean ‖w_i‖"),
    "w_norm_max": ("largest first-layer norm", "max ‖w_i‖"),
    "alignment_mean": ("mean alignment with the ground truth", "mean |⟨w_i, θ*⟩|/(‖w_i‖‖θ*‖)"),
    "alignment_min": (
        "alignment with the ground truth of the neuron that is least aligned",
        "min |⟨w_i, θ*⟩|/(‖w_i‖‖θ*‖)",
    ),
    "a_rms": ("root mean square second-layer weight", "√(mean a_i²)"),
    "a_max": ("largest second-layer weight", "max |a_i|"),
    "displacement_min": (
        "relative distance from initialisation of the laziest neuron",
        "min ‖w_i(t) − w_i(0)‖/‖w_i(0)‖",
    ),
    "displacement_max": (
        "relative distance from initialisation of the least lazy neuron",
        "max ‖w_i(t) − w_i(0)‖/‖w_i(0)‖",
    ),
    "drift_negative_share": (
        "share of (neuron, sample) pairs whose SGD step has a negative norm drift (Lemma 4.3)",
        "P((x·w_i)² > a_i²‖x‖²)",
    ),
    "drift_clear_share": (
        "share of (neuron, sample) pairs whose SGD step has a clearly negative norm drift "
        "(Lemma 4.3)",
        "P((x·w_i)² − a_i²‖x‖² > ½‖w_i‖²)",
    ),
}
"""Over all neurons."""

QUANTILES = (0.1, 0.5, 0.9)
PER_QUANTILE = {
    "w_norm_quantile": ("quantiles over neurons of the first-layer norm", "‖w_i‖"),
    "alignment_quantile": ("quantiles over neurons of the alignment", "|⟨w_i, θ*⟩|/(‖w_i‖‖θ*‖)"),
}

PROBED = 100
"""Neurons whose drift is looked at, with every training sample: neurons start alike."""


def _ratio(
    numerator: Float64[np.ndarray, "..."], denominator: Float64[np.ndarray, "..."]
) -> Float64[np.ndarray, "..."]:
    """Their ratio, and 0 where the denominator is 0 (a neuron that is dead has no direction)."""
    ratio: Float64[np.ndarray, "..."] = np.divide(
        numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0
    )
    return ratio


def _drift_shares(
    problem: Problem, w: Float64[np.ndarray, "width dim"], a: Float64[np.ndarray, "width"]
) -> tuple[float, float]:
    """How often the drift of ‖w_i‖² in a step of SGD is negative, and clearly so (Lemma 4.3).

    ‖w_i(t+1)‖² − ‖w_i(t)‖² = a_i(t+1)² − a_i(t)² − η²r²((x·w_i)² − a_i²‖x‖²): but for the first,
    oscillating part its sign is that of the bracket, whatever the noise. All samples x are tried.
    """
    w, a = w[:PROBED], a[:PROBED]
    bracket = w @ problem.x.T
    bracket *= bracket
    bracket -= np.outer(a**2, problem.squared_inputs)
    negative = np.count_nonzero(bracket > 0)
    clear = np.count_nonzero(bracket > 0.5 * np.einsum("ij,ij->i", w, w)[:, None])
    return negative / bracket.size, clear / bracket.size


def _quantiles(values: Float64[np.ndarray, "width"]) -> Float64[np.ndarray, "quantile"]:
    """`QUANTILES` of the values, linear between the order statistics."""
    ordered = np.sort(values)
    places = np.array(QUANTILES) * (len(values) - 1)
    below = places.astype(np.intp)
    above = np.minimum(below + 1, len(values) - 1)
    quantiles: Float64[np.ndarray, "quantile"] = ordered[below] + (places - below) * (
        ordered[above] - ordered[below]
    )
    return quantiles


def observe(
    problem: Problem,
    w: Float64[np.ndarray, "width dim"],
    a: Float64[np.ndarray, "width"],
    recorded: int,
) -> dict[str, Float64[np.ndarray, "..."] | float]:
    """Measure a network (W, a) of a run.

    Args:
        problem: the run's data and initial network.
        w: first layer.
        a: second layer.
        recorded: how many neurons, from the first on, are looked at one by one.

    Returns:
        Arrays and numbers by the names in `PER_NEURON`, `PER_NETWORK` and `PER_QUANTILE`, and the
        effective predictor `theta`.
    """
    theta = w.T @ a
    error = theta - problem.theta_star
    squares = np.einsum("ij,ij->i", w, w)
    difference = w - problem.w
    moved = np.einsum("ij,ij->i", difference, difference)
    start = problem.squared_w
    theta_star_norm = float(np.linalg.norm(problem.theta_star))
    w_norm = np.sqrt(squares)
    alignment = _ratio(np.abs(w @ problem.theta_star), w_norm * theta_star_norm)
    displacement = np.sqrt(_ratio(moved, start))
    carried = _ratio(
        squares.sum(keepdims=True) ** 2, len(squares) * (squares**2).sum(keepdims=True)
    )
    negative, clear = _drift_shares(problem, w, a)
    return {
        "w_norm": w_norm[:recorded],
        "alignment": alignment[:recorded],
        "a": a[:recorded],
        "displacement": displacement[:recorded],
        "theta": theta,
        "train_loss": float(0.5 * np.mean((problem.x @ theta - problem.y) ** 2)),
        "test_loss": float(0.5 * np.mean((problem.x_test @ error) ** 2)),
        "theta_error": float(np.linalg.norm(error)),
        "theta_norm": float(np.linalg.norm(theta)),
        "layer_displacement": float(np.sqrt(moved.sum() / start.sum())),
        "participation_ratio": carried.item(),
        "w_norm_mean": float(w_norm.mean()),
        "w_norm_max": float(w_norm.max()),
        "alignment_mean": float(alignment.mean()),
        "alignment_min": float(alignment.min()),
        "a_rms": float(np.sqrt((a**2).mean())),
        "a_max": float(np.abs(a).max()),
        "displacement_min": float(displacement.min()),
        "displacement_max": float(displacement.max()),
        "drift_negative_share": negative,
        "drift_clear_share": clear,
        "w_norm_quantile": _quantiles(w_norm),
        "alignment_quantile": _quantiles(alignment),
    }

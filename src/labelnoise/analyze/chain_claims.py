"""What the paper claims of the oscillating second layer, held against runs (rows of Table 1)."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from .claims import FIT, Row, Verdict
from .flow.limits import chain_floor
from .phases import first_crossing
from .regimes import TAIL, step_mean


def period(transition: Sequence[Sequence[float]]) -> int:
    """The period of a chain of three states: the largest common divisor of its loops' lengths.

    Of a chain that can get from each state to each other; 1 is aperiodic.
    """
    moves = np.asarray(transition) > 0
    lengths = []
    reached = np.eye(len(moves), dtype=bool)
    for length in range(1, 2 * len(moves) + 1):
        reached = (reached.astype(int) @ moves) > 0
        if np.diag(reached).any():
            lengths.append(length)
    return math.gcd(*lengths)


def decay(summaries: Mapping[float, xr.Dataset], eta: float, delta: float) -> Row:
    """Lemma 4.4: the chain alone makes the mean norm fall below √η, at any ‖θ*‖.

    The flow without noise has a floor (`flow.limits.chain_floor`), which grows with ‖θ*‖.

    Args:
        summaries: by ‖θ*‖.
        eta: learning rate η.
        delta: the chain's amplitude δ.
    """
    norms = sorted(summaries)
    ends = [float(step_mean(summaries[norm]["w_norm_mean"], TAIL).mean()) for norm in norms]
    below = [
        bool((summaries[norm]["w_norm_mean"].mean("seed") <= np.sqrt(eta)).any()) for norm in norms
    ]
    starts = [float(summaries[norm]["w_norm_mean"].isel(step=0).mean()) for norm in norms]
    halved = all(end < start / 2 for start, end in zip(starts, ends, strict=True))
    verdict: Verdict = "holds" if all(below) else "holds in part" if halved else "does not hold"
    floors = [chain_floor(eta, norm) for norm in norms]

    def listed(values: Sequence[float]) -> str:
        return ", ".join(f"{value:.4f}" for value in values)

    first = [f"‖θ*‖ = {norm:g}" for norm, reached in zip(norms, below, strict=True) if not reached]
    return Row(
        "Lemma 4.4",
        "a second layer that oscillates by itself shrinks the first: no SGD noise is needed",
        f"the mean norm falls below √η = {np.sqrt(eta):.4f}",
        f"from {starts[0]:.3f} to {listed(ends)} at ‖θ*‖ = {', '.join(f'{n:g}' for n in norms)} "
        f"(δ = {delta:g}, last quarter of the steps)",
        verdict,
        {f"norm_theta_star={norm:g}": end for norm, end in zip(norms, ends, strict=True)},
        f"the norms cannot fall below √(η/2)‖θ*‖√(2/π) = {listed(floors)}"
        + (f"; not below √η at {', '.join(first)}" if first else ""),
    )


def _when(step: float) -> str:
    return f"after {step:,.0f} steps" if np.isfinite(step) else "not within these steps"


def alternation(
    default: xr.Dataset,
    transition: Sequence[Sequence[float]],
    others: Mapping[tuple[tuple[float, ...], ...], xr.Dataset],
) -> Row:
    """B.6: from a known state the chain is stationary again soon.

    A chain of period 2 is not: from 0 it is at 0 after every even number of steps. Beside it other
    chains, by their transitions, and the steps in which each halves the mean norm.
    """
    found = period(transition)

    def halving(summary: xr.Dataset) -> float:
        curve = summary["w_norm_mean"].mean("seed")
        return float(first_crossing(curve, float(curve[0]) / 2, below=True))

    values = {"period": float(found), "halving": halving(default)}
    measured = f"period {found}; the mean norm is halved {_when(values['halving'])}"
    for matrix, summary in others.items():
        values["halving_other"] = halving(summary)
        measured += f", {_when(values['halving_other'])} with a chain of period {period(matrix)}"
    alike = ""
    if others and abs(values["halving_other"] / values["halving"] - 1) < FIT:
        alike = f"; to the norms it makes no difference (under {100 * FIT:.0f} % in time)"
    return Row(
        "Lemma B.6",
        "from a known state the chain becomes stationary again",
        "period 1",
        measured,
        "holds" if found == 1 else "does not hold",
        values,
        ""
        if found == 1
        else "the default chain alternates, 0, ±δ, 0, ±δ: given its state, its law never settles"
        + alike,
    )

"""What a run's two phases look like, in measured numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .panels import Shown, seeds, spread
from .style import thousands

if TYPE_CHECKING:
    import xarray as xr


def phase_boundary(main: Shown) -> float:
    """The step at which the median run begins to align, and Phase II starts; NaN if it never does.

    A run that never aligns counts as later than all others.
    """
    onset = main.analysis["alignment_step"].values
    middle = float(np.median(np.where(np.isnan(onset), np.inf, onset)))
    return middle if np.isfinite(middle) else float("nan")


def _when(steps: xr.DataArray) -> str:
    """`step 9,505 (9,000–9,800)`, and in how many runs where it is not in all of them."""
    values = steps.values
    reached = np.isfinite(values).sum()
    among = "" if reached == values.size else f", in {reached} of {values.size} runs"
    return f"step {spread(values)}{among}"


def describe_phases(main: Shown) -> tuple[str, dict[str, float]]:
    """What happens to the cell whose phases are marked: a text, and the numbers in it.

    Phase I lasts until alignment sets in (`alignment_step`, median over the runs), as it is drawn.
    """
    analysis = main.analysis
    first, last = analysis.isel(step=0), analysis.isel(step=-1)
    end = int(analysis["step"][-1])
    numbers = {
        "initial_w_norm_mean": first["w_norm_mean"],
        "final_w_norm_mean": last["w_norm_mean"],
        "initial_alignment_mean": first["alignment_mean"],
        "final_alignment_mean": last["alignment_mean"],
        "escape_step": analysis["escape_step"],
        "alignment_step": analysis["alignment_step"],
    }
    metrics = {name: float(value.mean()) for name, value in numbers.items()}
    metrics = {name: value for name, value in metrics.items() if np.isfinite(value)}
    norm, alignment = (analysis[name].mean("seed") for name in ("w_norm_mean", "alignment_mean"))
    start, final = float(norm[0]), float(norm[-1])
    aligned = f"{float(alignment[-1]):.2f}"
    escaped = "escape_step" in metrics
    sentences = [
        f"With {main.look.label} ({seeds(analysis.sizes['seed'])}), "
        + ("every neuron has left the lazy regime by " if escaped else "not every neuron leaves ")
        + (_when(analysis["escape_step"]) if escaped else "the lazy regime")
        + "."
    ]
    boundary = phase_boundary(main)
    if np.isnan(boundary):
        sentences.append(
            f"The mean norm {_moves(start, final)} from {start:.2f} to {final:.3f} in "
            f"{thousands(end)} steps. The mean alignment with θ* goes from "
            f"{float(alignment[0]):.2f} to {aligned}: "
            + ("Phase II does not begin." if final < start else "neither phase is seen.")
        )
    else:
        middle, turned = (
            float(curve.interp(step=boundary)) if 0 < boundary < end else float(curve[0])
            for curve in (norm, alignment)
        )
        sentences += [
            f"Phase I: the mean norm {_moves(start, middle)} from {start:.2f} to {middle:.3f} "
            f"before the rows align, which begins at {_when(analysis['alignment_step'])}.",
            f"Phase II: from there to step {thousands(end)} the mean alignment with θ* goes from "
            f"{turned:.2f} to {aligned}, and the mean norm {_moves(middle, final)} to "
            f"{final:.3f}.",
        ]
    return " ".join(sentences), metrics


def describe_small_weights(marked: Sequence[Shown]) -> str:
    """Which runs reach the theory's start of Phase II, all ‖w_i‖ and |a_i| ≤ √η."""
    told = []
    for one in marked:
        steps = one.analysis["small_weights_step"]
        reached = int(np.isfinite(steps).sum())
        if reached:
            which = f"with {one.look.label} " if len(marked) > 1 else ""
            told.append(f"{which}{reached} of {seeds(steps.size)} get there (at {_when(steps)})")
    return (
        "The theory lets Phase II start where all ‖w_i‖ and |a_i| are at most √η: "
        + ("; ".join(told) or "no run gets there in these steps")
        + "."
    )


def _moves(start: float, end: float) -> str:
    return "falls" if end < start else "goes"

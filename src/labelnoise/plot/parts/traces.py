"""A few neurons' second-layer weights, step by step, in rows under each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .panels import Shown, say_not_traced, trace_of
from .style import step_axis, typeset

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def rows_for(shown: Shown, most: int) -> int:
    """How many rows to lay out: as many as neurons were traced, 1 to `most`."""
    traced = shown.cell.runs(shown.seed).sizes.get("trace_neuron", 1)
    return min(traced, most)


def draw_traces(
    rows: Sequence[Axes], shown: Shown, steps: int, *, drawstyle: str = "default"
) -> pd.DataFrame:
    """One neuron a row, as far as recorded, on one scale; returns what was drawn."""
    trace = trace_of(shown, len(rows), steps)
    for axes, (neuron, one) in zip(rows, trace.groupby("neuron"), strict=False):
        axes.axhline(0, color="0.75", linewidth=0.5, zorder=1)
        axes.plot(
            one["step"],
            one["value"],
            color=shown.look.color,
            linewidth=0.6,
            drawstyle=drawstyle,
        )
        axes.set_ylabel(typeset(f"a_{neuron}"), rotation=0, ha="right", va="center")
    if trace.empty:
        say_not_traced(rows[0])
    if not trace.empty:
        largest = trace["value"].abs().max() or 1.0
        rows[0].set_ylim(-1.15 * largest, 1.15 * largest)
    step_axis(rows[-1], 1 if trace.empty else trace["step"].max(), 6)
    for axes in rows:
        axes.label_outer()
    return trace

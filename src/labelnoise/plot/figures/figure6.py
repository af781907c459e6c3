"""Figure 6: where label noise is switched on and off, norms fall while it is on alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from labelnoise.plot.parts.checks import Planned, told_apart, values_of
from labelnoise.plot.parts.panels import (
    Shown,
    curves_of,
    draw_curve,
    living,
    palette_of,
    seeds,
    table,
    tidy,
)
from labelnoise.plot.parts.schedules import (
    Stretch,
    describe_falls,
    fall_numbers,
    shade,
    shade_handle,
    stretches,
)
from labelnoise.plot.parts.style import (
    TEXT_WIDTH,
    CellData,
    Drawing,
    apply_style,
    divergence_note,
    letter,
    parameter,
    strength,
)
from labelnoise.plot.parts.traces import draw_traces, rows_for

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

VERB = "simulate"
NEEDS = ("analyze", "simulate")

CURVES = ["w_norm_mean", "train_loss"]

THOUSAND = 1e3


class Options(BaseModel):
    """Options of Figure 6."""

    model_config = ConfigDict(extra="forbid")

    neurons: Annotated[int, Field(strict=True, ge=1, le=6)] = Field(
        default=3, description="neurons whose second-layer weight is shown at every step"
    )
    oscillation_steps: Annotated[int, Field(strict=True, ge=1)] = Field(
        default=12_000, description="steps shown of the second layer's oscillation"
    )


def _settle(main: Shown, parts: Sequence[Stretch]) -> str:
    """How far a_i of the traced neurons strays in the first stretches on and off."""
    run = main.cell.runs(main.seed)
    if "a_trace" not in run:
        return ""
    told = []
    for part in parts[:2]:
        # the second half of a stretch: it has settled there if it ever does
        half = run["a_trace"].sel(trace_step=slice((part.start + part.end) // 2, part.end))
        if half.sizes["trace_step"] < 2:
            return ""
        told.append(f"{float(half.std('trace_step').mean()):.1e} {'on' if part.on else 'off'}")
    return (
        f"Over the second halves of the first stretches, the a_i of {run.sizes['trace_neuron']} "
        f"neurons of seed {main.seed} have the standard deviation {', '.join(told)}."
    )


def _describe(main: Shown, parts: Sequence[Stretch], note: str) -> str:
    curve = main.analysis["w_norm_mean"]
    end = int(curve["step"][-1])
    sentences = [
        f"The mean norm (over {seeds(curve.sizes['seed'])}) goes from "
        f"{float(curve.isel(step=0).mean()):.3f} to {float(curve.isel(step=-1).mean()):.3f} in "
        f"{end:,} steps. It falls "
        + describe_falls(curve, parts, "while the label noise is on", "while it is off")
        + ".",
        _settle(main, parts),
        f"{note}." if note else "",
    ]
    return " ".join(filter(None, sentences))


def _draw_curves(norms: Axes, losses: Axes, shown: Sequence[Shown], end: float) -> pd.DataFrame:
    """Mean norm and training loss; returns what was drawn."""
    curves, palette = curves_of(shown, CURVES), palette_of(shown)
    draw_curve(norms, curves, "w_norm_mean", palette, unit=THOUSAND)
    norms.set_ylabel("mean norm $‖w_i‖$")
    draw_curve(losses, curves, "train_loss", palette, unit=THOUSAND)
    losses.set_yscale("log")
    # without noise it falls to rounding: nothing is to be seen down there
    losses.set_ylim(1e-6, 3 * np.nanmax(curves["train_loss"]))
    losses.set_ylabel("training loss (clean labels)")
    for axes in (norms, losses):
        axes.set(xlabel=r"step ($\times 10^3$)", xlim=(0, end / THOUSAND))
    return tidy(curves, CURVES)


def check(cells: Sequence[Planned], options: Options) -> list[str]:
    """Why it cannot draw these cells: a line for each reason."""
    problems = told_apart(cells, "figure6")
    if not any(values_of(cells, "sigma")):
        problems.append(
            "experiments: figure6 draws what label noise does, and all cells have sigma: 0; "
            "name an experiment with more"
        )
    return problems


def draw(cells: Sequence[CellData], options: Options) -> Drawing:
    """Draw what alternating label noise does (paper, Figure 6).

    Args:
        cells: the cells of the experiments; the one with the most label noise is the one whose
            schedule is shaded and whose second layer is shown.
        options: see `Options`.
    """
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D

    apply_style()
    figure = plt.figure(figsize=(TEXT_WIDTH, 3.9), layout="constrained")
    note = divergence_note(cells)
    if note:
        figure.supxlabel(note, fontsize=6.5, color="0.3")
    shown = living(cells)
    if not shown:
        return Drawing(figure, table([]), f"Every run diverged. {note}.")
    main = max(shown, key=lambda one: strength(one.cell.settings, "sigma"))
    parts = stretches(main.cell.settings)
    top, bottom = np.asarray(figure.subfigures(2, 1, height_ratios=[1.15, 1]))
    norms, losses = top.subplots(1, 2)
    count = rows_for(main, options.neurons)
    rows = bottom.subplots(count, 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    curves = _draw_curves(norms, losses, shown, main.cell.settings["steps"])
    traces = draw_traces(rows, main, options.oscillation_steps)
    for axes in (norms, losses):
        shade(axes, parts, THOUSAND)
    for axes in rows:
        shade(axes, parts)
    rows[0].set_xlim(0, 1 if traces.empty else traces["step"].max())
    for axes, name in zip((norms, losses, rows[0]), "abc", strict=True):
        letter(axes, name)
    handles: list[Artist] = []
    if any(not part.on for part in parts):
        # the shade is of this one's schedule; others may have their own
        sigma = parameter("sigma", main.cell.settings["sigma"])
        which = main.look.label if len(shown) > 1 else sigma
        handles.append(shade_handle(f"label noise on ({which})"))
    if len(shown) > 1:
        handles += [Line2D([], [], color=c, label=n) for n, c in palette_of(shown).items()]
    if handles:
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    curve = main.analysis["w_norm_mean"]
    metrics = fall_numbers(curve, parts) | {
        "final_w_norm_mean": float(curve.isel(step=-1).mean()),
    }
    return Drawing(figure, table([curves, traces]), _describe(main, parts, note), metrics)

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
    ALL_SEEDS,
    TEXT_WIDTH,
    CellData,
    Drawing,
    apply_style,
    band_handle,
    divergence_note,
    legend_above,
    letter,
    note_below,
    parameter,
    shared,
    step_axis,
    strength,
    thousands,
    typeset,
)
from labelnoise.plot.parts.traces import draw_traces, rows_for

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

VERB = "simulate"
NEEDS = ("analyze", "simulate")

CURVES = ["w_norm_mean", "train_loss"]


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


def _describe(one: Shown, parts: Sequence[Stretch], label: str) -> tuple[str, dict[str, float]]:
    """How a cell's mean norm falls: a text, and the numbers in it."""
    curve = one.analysis["w_norm_mean"]
    start, final = (float(curve.isel(step=at).mean()) for at in (0, -1))
    told = describe_falls(curve, parts, "while the label noise is on", "while it is off")
    text = (
        f"{label}the mean norm (over {seeds(curve.sizes['seed'])}) goes from {start:.3f} to "
        f"{final:.3f} in {thousands(int(curve['step'][-1]))} steps. It falls {told}."
    )
    text = text[0].upper() + text[1:]
    return text, fall_numbers(curve, parts) | {"final_w_norm_mean": final}


def _draw_curves(norms: Axes, losses: Axes, shown: Sequence[Shown], end: float) -> pd.DataFrame:
    """Mean norm and training loss; returns what was drawn."""
    curves, palette = curves_of(shown, CURVES), palette_of(shown)
    draw_curve(norms, curves, "w_norm_mean", palette)
    norms.set_ylabel(typeset("mean norm ‖w_i‖"))
    draw_curve(losses, curves, "train_loss", palette)
    losses.set_yscale("log")
    # without noise it falls to rounding: nothing is to be seen down there
    losses.set_ylim(1e-6, 3 * np.nanmax(curves["train_loss"]))
    losses.set_ylabel("training loss (clean labels)")
    for axes in (norms, losses):
        step_axis(axes, end, 6)
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
    note_below(figure, note)
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
        shade(axes, parts)
    for axes in rows:
        shade(axes, parts)
    if len(shown) > 1:
        rows[0].set_title(typeset(main.look.label), loc="left")
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
    handles.append(band_handle(ALL_SEEDS))
    title = shared(cells)
    legend_above(figure, handles, f"{title} in all" if title else "")
    noisy = [one for one in shown if strength(one.cell.settings, "sigma") > 0] or [main]
    told = [
        _describe(
            one,
            stretches(one.cell.settings),
            f"with {one.look.label} " if len(noisy) > 1 else "",
        )
        for one in noisy
    ]
    texts = [text for text, _ in told]
    metrics = told[noisy.index(main)][1]
    texts += filter(None, [_settle(main, parts), f"{note}." if note else ""])
    if title:
        texts.append(f"All have {title}.")
    return Drawing(figure, table([curves, traces]), " ".join(texts), metrics)

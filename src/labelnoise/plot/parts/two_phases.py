"""The panels of the two phases, for whatever takes the network out of the lazy regime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from .panels import (
    UNIT,
    Shown,
    curves_of,
    draw_curve,
    draw_root_eta,
    living,
    loss_floor,
    palette_of,
    say_not_traced,
    table,
    tidy,
    trace_of,
)
from .paths import draw_path
from .phase_text import describe_phases
from .style import CellData, Drawing, divergence_note, letter, strength

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVES = ["train_loss", "test_loss", "w_norm_mean", "alignment_mean"]

PHASES = {"Phase I": "#f4e3c8", "Phase II": "#d9e8d4"}


class TwoPhaseOptions(BaseModel):
    """Options of the figures of the two phases."""

    model_config = ConfigDict(extra="forbid")

    times: Annotated[
        list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=1, max_length=6)
    ] = Field(
        default=[0, 0.05, 0.2, 0.4, 1],
        description="times of the norm–alignment planes, as shares of the run",
    )
    oscillation_steps: Annotated[int, Field(strict=True, ge=1)] = Field(
        default=2000, description="steps shown of the second layer's oscillation"
    )


def _mark_phases(axes: Axes, start: float, end: float) -> None:
    """Shade Phase I (up to `start`) and Phase II (from there to `end`), both in steps."""
    if np.isnan(start):
        start = end
    spans = {"Phase I": (0.0, start), "Phase II": (start, end)}
    for phase, (left, right) in spans.items():
        if right > left:
            axes.axvspan(left / UNIT, right / UNIT, color=PHASES[phase], linewidth=0, zorder=0)
            axes.text(
                (left + right) / 2 / UNIT,
                1.02,
                phase,
                ha="center",
                va="bottom",
                transform=axes.get_xaxis_transform(),
                fontsize=7,
            )


def _draw_losses(axes: Axes, curves: pd.DataFrame, main: str, palette: dict[str, str]) -> None:
    from matplotlib.lines import Line2D

    names = ["train_loss", "test_loss"]
    draw_curve(axes, curves, "train_loss", palette)
    draw_curve(axes, curves, "test_loss", palette, linestyle=":")
    axes.set_yscale("log")
    # where labels are noiseless the loss falls to rounding: nothing is to be seen down there
    top = 2 * np.nanmax(curves[names].to_numpy())
    floor = loss_floor(curves.loc[curves["cell"] == main, names].to_numpy(), top)
    axes.set_ylim(floor, max(top, 10 * floor))
    axes.set_ylabel("loss on clean labels")
    last = curves.groupby("cell", sort=False)[names].last().max(axis=1)
    for label, loss in last[(last > 0) & (last < floor)].items():
        axes.annotate(
            f"{label}: below $10^{{{int(np.ceil(np.log10(loss)))}}}$",
            xy=(0.02, 0.02),
            xytext=(0.1, 0.08),
            xycoords="axes fraction",
            color="0.35",
            fontsize=6.5,
            arrowprops={"arrowstyle": "->", "color": "0.45", "linewidth": 0.6},
        )
    handles = [
        Line2D([], [], color="0.2", label="training"),
        Line2D([], [], color="0.2", linestyle=":", label="test"),
    ]
    axes.legend(handles=handles, loc="upper right", handlelength=1.6, borderaxespad=0)


def _draw_oscillation(axes: Axes, pair: Sequence[Shown], steps: int) -> pd.DataFrame:
    """One neuron's second-layer weight at every step; returns what was drawn."""
    frames = []
    for shown, width in zip(reversed(pair), (0.6, 1.6), strict=False):
        trace = trace_of(shown, 1, steps)
        axes.plot(trace["step"], trace["value"], color=shown.look.color, linewidth=width)
        frames.append(trace)
    if all(trace.empty for trace in frames):
        say_not_traced(axes)
    axes.set_xlabel("step")
    axes.set_ylabel("$a_i$ of one neuron")
    return table(frames)


def _draw_planes(
    panels: Sequence[Axes], pair: Sequence[Shown], steps: Sequence[int]
) -> pd.DataFrame:
    """Every neuron of one run in the norm–alignment plane; returns what was drawn."""
    import pandas as pd

    planes = []
    for axes, step in zip(panels, steps, strict=True):
        for shown in pair:
            runs = shown.cell.runs(shown.seed).sel(step=step, method="nearest")
            plane = runs[["w_norm", "alignment"]].to_dataframe().reset_index()
            axes.scatter(
                plane["w_norm"],
                plane["alignment"],
                s=2.5,
                color=shown.look.color,
                alpha=0.5,
                linewidths=0,
                rasterized=True,
            )
            planes.append(plane.assign(cell=shown.look.label, seed=shown.seed))
        axes.set_title(f"step {int(runs['step']):,}", pad=3)
        axes.set_xlabel("norm $‖w_i‖$")
        axes.set_xscale("log")
    # neurons that are all but aligned need room for their markers
    aligned = max(plane["alignment"].max() for plane in planes) > 0.99
    panels[0].set_ylim(0, 1.04 if aligned else 1)
    panels[0].set_ylabel("alignment with $θ^*$")
    identity = ["cell", "seed", "step", "neuron"]
    return (
        pd.concat(planes).melt(identity, ["w_norm", "alignment"], "quantity").assign(panel="plane")
    )


def _draw_curves(panels: Sequence[Axes], living: Sequence[Shown], main: Shown) -> pd.DataFrame:
    """Losses, mean norm and mean alignment, their phases marked; returns what was drawn."""
    losses, norms, alignments = panels
    curves, palette = curves_of(living, CURVES), palette_of(living)
    start, end = float(main.analysis["alignment_step"].median()), float(main.analysis["step"][-1])
    _draw_losses(losses, curves, main.look.label, palette)
    draw_curve(norms, curves, "w_norm_mean", palette)
    norms.set(ylabel="mean norm $‖w_i‖$", ylim=(0, None))
    draw_root_eta(norms, main.cell.learning_rate)
    draw_curve(alignments, curves, "alignment_mean", palette)
    alignments.set(ylabel="mean alignment with $θ^*$", ylim=(0, 1))
    for axes in panels:
        _mark_phases(axes, start, end)
        axes.set(xlabel=r"step ($\times 10^5$)", xlim=(0, end / UNIT))
    return tidy(curves, CURVES)


def two_phases(
    figure: Figure,
    cells: Sequence[CellData],
    options: TwoPhaseOptions,
    *,
    by: Literal["sigma", "rho"],
    path_of: int | None = None,
) -> Drawing:
    """Draw the two phases into a figure.

    Args:
        figure: an empty figure.
        cells: the cells of the experiments; the one most disturbed is the one whose phases are
            marked, the one least is its contrast.
        options: see `TwoPhaseOptions`.
        by: the setting that says how much a cell is disturbed.
        path_of: the neuron whose way through the norm–alignment plane is drawn too.
    """
    from matplotlib.lines import Line2D

    note = divergence_note(cells)
    if note:
        figure.supxlabel(note, fontsize=6.5, color="0.3")
    shown = living(cells)
    if not shown:
        return Drawing(figure, table([]), f"Every run diverged. {note}.")
    ordered = sorted(shown, key=lambda one: strength(one.cell.settings, by))
    contrast, main = ordered[0], ordered[-1]
    pair = [contrast, main] if len(shown) > 1 else [main]

    top, bottom = np.asarray(figure.subfigures(2, 1, height_ratios=[1.18, 1]))
    losses, oscillation, norms, alignments = top.subplots(1, 4)
    curves = _draw_curves((losses, norms, alignments), shown, main)
    trace = _draw_oscillation(oscillation, pair, options.oscillation_steps)
    columns = len(options.times) + (path_of is not None)
    panels = bottom.subplots(1, columns, sharex=True, sharey=True, squeeze=False)[0]
    end = int(main.analysis["step"][-1])
    steps = [round(share * end) for share in options.times]
    parts = [curves, trace, _draw_planes(panels[: len(steps)], pair, steps)]
    lettered = [losses, oscillation, norms, alignments, panels[0]]
    text, metrics = describe_phases(main, note)
    if path_of is not None:
        path, told = draw_path(panels[-1], pair, path_of, steps)
        parts.append(path)
        lettered.append(panels[-1])
        text += f" {told}"
    for axes, name in zip(lettered, "abcdef", strict=False):
        letter(axes, name)
    handles = [Line2D([], [], color=c, linewidth=2, label=n) for n, c in palette_of(shown).items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return Drawing(figure, table(parts), text, metrics)

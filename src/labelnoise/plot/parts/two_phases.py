"""The panels of the two phases, for whatever takes the network out of the lazy regime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from .panels import (
    Shown,
    curves_of,
    draw_curve,
    draw_root_eta,
    living,
    loss_floor,
    palette_of,
    say_not_traced,
    stability_note,
    table,
    tidy,
    trace_of,
)
from .paths import draw_path
from .phase_text import describe_phases, describe_small_weights, phase_boundary
from .style import (
    ALL_SEEDS,
    CellData,
    Drawing,
    band_handle,
    divergence_note,
    legend_above,
    letter,
    note_below,
    shared,
    step_axis,
    strength,
    thousands,
    typeset,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVES = ["train_loss", "test_loss", "w_norm_mean", "alignment_mean"]

PHASES = {"Phase I": "#fbf2e2", "Phase II": "#c9dac3"}
"""Shades of the phases: they differ in grey too."""

ONSET = (0, (1, 1.2))
"""Line style of the start of Phase II, where several cells have their own."""


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
            axes.axvspan(left, right, color=PHASES[phase], linewidth=0, zorder=0)
            axes.text(
                (left + right) / 2,
                1.02,
                phase,
                ha="center",
                va="bottom",
                transform=axes.get_xaxis_transform(),
                fontsize=7,
            )
    if start < end:
        axes.axvline(start, color="0.45", linewidth=0.5, zorder=0)


def _mark_onsets(axes: Axes, marked: Sequence[Shown]) -> None:
    """A line where each cell's Phase II starts, in its colour."""
    for one in marked:
        start = phase_boundary(one)
        if not np.isnan(start):
            axes.axvline(start, color=one.look.color, linewidth=0.8, linestyle=ONSET, zorder=1)


def _draw_losses(
    axes: Axes, curves: pd.DataFrame, main: Sequence[str], palette: dict[str, str]
) -> None:
    from matplotlib.lines import Line2D

    names = ["train_loss", "test_loss"]
    draw_curve(axes, curves, "train_loss", palette)
    draw_curve(axes, curves, "test_loss", palette, linestyle=":")
    axes.set_yscale("log")
    # where labels are noiseless the loss falls to rounding: nothing is to be seen down there
    top = 2 * np.nanmax(curves[names].to_numpy())
    floor = loss_floor(curves.loc[curves["cell"].isin(main), names].to_numpy(), top)
    axes.set_ylim(floor, max(top, 10 * floor))
    axes.set_ylabel("loss on clean labels")
    last = curves.groupby("cell", sort=False)[names].last().max(axis=1)
    for number, (label, loss) in enumerate(last[(last > 0) & (last < floor)].items()):
        axes.annotate(
            typeset(f"{label}: ") + f"below $10^{{{int(np.ceil(np.log10(loss)))}}}$",
            xy=(0.02, 0.01),
            xytext=(0.1, 0.05 + 0.09 * number),
            xycoords="axes fraction",
            color="0.35",
            fontsize=6.5,
            arrowprops={"arrowstyle": "->", "color": "0.45", "linewidth": 0.6},
        )
    handles = [
        Line2D([], [], color="0.2", label="training"),
        Line2D([], [], color="0.2", linestyle=":", label="test"),
    ]
    axes.legend(handles=handles, loc="upper right", handlelength=1.6, borderaxespad=0.1)


def _draw_oscillation(
    axes: Axes, contrast: Sequence[Shown], marked: Sequence[Shown], steps: int
) -> pd.DataFrame:
    """One neuron's second-layer weight at every step; returns what was drawn."""
    frames = []
    for group, width in ((marked, 0.6), (contrast, 1.6)):
        for shown in group:
            trace = trace_of(shown, 1, steps)
            axes.plot(trace["step"], trace["value"], color=shown.look.color, linewidth=width)
            frames.append(trace)
    if all(trace.empty for trace in frames):
        say_not_traced(axes)
    step_axis(axes, max((trace["step"].max() for trace in frames if not trace.empty), default=1))
    axes.set_ylabel(typeset("a_i of one neuron"))
    return table(frames)


def _draw_planes(
    panels: Sequence[Axes],
    contrast: Sequence[Shown],
    marked: Sequence[Shown],
    steps: Sequence[int],
) -> pd.DataFrame:
    """Every neuron of one run of each cell in the norm–alignment plane; returns what was drawn.

    The undisturbed neurons are larger, and behind the others: where both are, rims are seen.
    """
    import pandas as pd
    from matplotlib.ticker import NullFormatter

    planes = []
    for axes, step in zip(panels, steps, strict=True):
        titled = step
        for shown in (*contrast, *marked):
            if step > shown.cell.settings["steps"]:
                continue  # a run that ends before
            runs = shown.cell.runs(shown.seed).sel(step=step, method="nearest")
            titled = int(runs["step"])
            plane = runs[["w_norm", "alignment"]].to_dataframe().reset_index()
            behind = shown in contrast
            axes.scatter(
                plane["w_norm"],
                plane["alignment"],
                s=9 if behind else 2.5,
                color=shown.look.color,
                alpha=0.5,
                linewidths=0,
                rasterized=True,
                zorder=1 if behind else 2,
            )
            planes.append(plane.assign(cell=shown.look.label, seed=shown.seed))
        axes.set_title(f"step {thousands(titled)}", pad=3)
        axes.set_xlabel(typeset("norm ‖w_i‖"))
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
    # a decade at least, so that one power of ten is named
    norms = pd.concat(planes)["w_norm"]
    panels[0].set_xlim(min(0.8 * norms.min(), 0.05 * norms.max()), 1.25 * norms.max())
    # neurons that are all but aligned need room for their markers
    aligned = max(plane["alignment"].max() for plane in planes) > 0.99
    panels[0].set_ylim(0, 1.04 if aligned else 1)
    panels[0].set_ylabel(typeset("alignment with θ*"))
    identity = ["cell", "seed", "step", "neuron"]
    return (
        pd.concat(planes).melt(identity, ["w_norm", "alignment"], "quantity").assign(panel="plane")
    )


def _draw_curves(
    panels: Sequence[Axes], living: Sequence[Shown], marked: Sequence[Shown]
) -> pd.DataFrame:
    """Losses, mean norm and mean alignment, their phases marked; returns what was drawn."""
    losses, norms, alignments = panels
    curves, palette = curves_of(living, CURVES), palette_of(living)
    _draw_losses(losses, curves, [one.look.label for one in marked], palette)
    draw_curve(norms, curves, "w_norm_mean", palette)
    norms.set(ylabel=typeset("mean norm ‖w_i‖"), ylim=(0, None))
    draw_root_eta(norms, marked)
    draw_curve(alignments, curves, "alignment_mean", palette)
    alignments.set(ylabel=typeset("mean alignment with θ*"), ylim=(0, 1))
    for axes in panels:
        if len(marked) == 1:
            _mark_phases(axes, phase_boundary(marked[0]), float(marked[0].analysis["step"][-1]))
        else:
            _mark_onsets(axes, marked)
        step_axis(axes, curves["step"].max())
    return tidy(curves, CURVES)


def _extremes(
    shown: Sequence[Shown], by: Literal["sigma", "rho"]
) -> tuple[list[Shown], list[Shown]]:
    """The cells least disturbed, and those most; all are of the second kind where all are alike."""
    strengths = [strength(one.cell.settings, by) for one in shown]
    least, most = min(strengths), max(strengths)
    marked = [one for one, own in zip(shown, strengths, strict=True) if own == most]
    if least == most:
        return [], marked
    return [one for one, own in zip(shown, strengths, strict=True) if own == least], marked


def _legend(
    figure: Figure, cells: Sequence[CellData], shown: Sequence[Shown], marked: Sequence[Shown]
) -> None:
    """The cells, what the bands are, and of which cells the phases are where not of all."""
    from matplotlib.lines import Line2D

    handles: list[Artist] = [
        Line2D([], [], color=c, linewidth=2, label=n) for n, c in palette_of(shown).items()
    ]
    if len(marked) > 1 and not all(np.isnan(phase_boundary(one)) for one in marked):
        handles.append(Line2D([], [], color="0.3", linestyle=ONSET, label="Phase II starts"))
    handles.append(band_handle(ALL_SEEDS))
    title = shared(cells)
    title = f"{title} in all" if title else ""
    if len(marked) == 1 and len(shown) > 2:
        title += f"{'; ' if title else ''}phases of {marked[0].look.label}"
    legend_above(figure, handles, title)


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
        cells: the cells of the experiments. The one most disturbed is the one whose phases are
            shaded; where several are disturbed alike (a grid over η, say), the start of Phase II
            is marked for each of them. Those least disturbed are the contrast.
        options: see `TwoPhaseOptions`.
        by: the setting that says how much a cell is disturbed.
        path_of: the neuron whose way through the norm–alignment plane is drawn too.
    """
    note = "; ".join(filter(None, [divergence_note(cells), stability_note(cells)]))
    note_below(figure, note)
    shown = living(cells)
    if not shown:
        return Drawing(figure, table([]), f"Every run diverged. {note}.")
    contrast, marked = _extremes(shown, by)

    top, bottom = np.asarray(figure.subfigures(2, 1, height_ratios=[1.18, 1]))
    losses, oscillation, norms, alignments = top.subplots(1, 4)
    curves = _draw_curves((losses, norms, alignments), shown, marked)
    trace = _draw_oscillation(oscillation, contrast, marked, options.oscillation_steps)
    columns = len(options.times) + (path_of is not None)
    panels = bottom.subplots(1, columns, sharex=True, sharey=True, squeeze=False)[0]
    end = max(int(one.analysis["step"][-1]) for one in marked)
    steps = [round(share * end) for share in options.times]
    parts = [curves, trace, _draw_planes(panels[: len(steps)], contrast, marked, steps)]
    lettered = [losses, oscillation, norms, alignments, panels[0]]
    texts: list[str] = []
    metrics: dict[str, float] = {}
    for one in marked:
        text, found = describe_phases(one)
        texts.append(text)
        tag = f" {one.look.tag}" if len(marked) > 1 else ""
        metrics |= {name + tag: value for name, value in found.items()}
    texts.append(describe_small_weights(marked))
    if max(one.analysis.sizes["seed"] for one in marked) > 1:
        texts[-1] += " Steps are those of the median run (least–most)."
    drawn_seeds = sorted({one.seed for one in (*contrast, *marked)})
    texts.append(f"Panels b and e show neurons of seed {' and '.join(map(str, drawn_seeds))}.")
    if path_of is not None:
        path, told = draw_path(panels[-1], [*contrast, *marked], path_of, steps)
        parts.append(path)
        lettered.append(panels[-1])
        texts.append(told)
    if note:
        texts.append(f"{note}.")
    if shared(cells):
        texts.append(f"All have {shared(cells)}.")
    for axes, name in zip(lettered, "abcdef", strict=False):
        letter(axes, name)
    _legend(figure, cells, shown, marked)
    # a paragraph a cell where there are several
    text = ("\n\n" if len(marked) > 1 else " ").join(texts)
    return Drawing(figure, table(parts), text, metrics)

"""An oscillating second layer shrinks the first one, with no other noise (Lemma 4.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from labelnoise.plot.parts.checks import Planned, only, told_apart
from labelnoise.plot.parts.oscillation_text import describe_chain, describe_periodic
from labelnoise.plot.parts.panels import (
    Shown,
    curves_of,
    draw_curve,
    draw_root_eta,
    living,
    palette_of,
    table,
    tidy,
)
from labelnoise.plot.parts.schedules import shade, shade_handle, stretches
from labelnoise.plot.parts.style import (
    ALL_SEEDS,
    NO_NOISE,
    TEXT_WIDTH,
    CellData,
    Drawing,
    apply_style,
    band_handle,
    divergence_note,
    legend_above,
    letter,
    note_below,
    shared,
    step_axis,
    thousands,
    typeset,
)
from labelnoise.plot.parts.traces import draw_traces, rows_for

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

VERB = "simulate"
NEEDS = ("analyze", "simulate")

CURVES = ["w_norm_mean", "w_norm_max"]
PERIODIC = ["w_norm_mean", "train_loss"]


class Options(BaseModel):
    """Options of the figure of the oscillating second layer."""

    model_config = ConfigDict(extra="forbid")

    neurons: Annotated[int, Field(strict=True, ge=1, le=6)] = Field(
        default=3, description="neurons whose chain is shown"
    )
    chain_steps: Annotated[int, Field(strict=True, ge=1)] = Field(
        default=60, description="steps shown of the chains"
    )


def _draw_norms(axes: Axes, shown: Sequence[Shown]) -> pd.DataFrame:
    """Mean, extremes and quantiles over the neurons of the norm; returns what was drawn."""
    import pandas as pd
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    curves, palette = curves_of(shown, CURVES), palette_of(shown)
    frames = [tidy(curves, CURVES)]
    for one in shown:
        bands = one.analysis["w_norm_quantile"]
        mean, color = bands.mean("seed"), one.look.color
        low, high = mean.isel(quantile=0), mean.isel(quantile=-1)
        axes.fill_between(low["step"], low, high, color=color, alpha=0.25, linewidth=0)
        rows = bands.to_dataframe(name="value").reset_index()
        rows["quantity"] = [f"w_norm_quantile_{q:g}" for q in rows["quantile"]]
        frames.append(rows.assign(cell=one.look.label, panel="curves").drop(columns="quantile"))
    draw_curve(axes, curves, "w_norm_mean", palette)
    draw_curve(axes, curves, "w_norm_max", palette, linestyle=":", band=False)
    axes.set_yscale("log")
    axes.set_ylabel(typeset("norm ‖w_i‖"))
    step_axis(axes, curves["step"].max(), 3)
    draw_root_eta(axes, shown)
    color = "0.3" if len(shown) > 1 else shown[0].look.color
    handles = [
        Line2D([], [], color=color, linestyle=":", label="largest"),
        Line2D([], [], color=color, label="mean"),
        Patch(color=color, alpha=0.25, linewidth=0, label="band: 10–90 % of neurons"),
    ]
    if len(shown) > 1:
        # more lines leave no corner free
        axes.set_ylim(top=8 * curves["w_norm_max"].max())
    axes.legend(handles=handles, loc="upper right", handlelength=1.6, borderaxespad=0)
    return pd.concat(frames, ignore_index=True)


def _draw_distribution(axes: Axes, shown: Shown) -> pd.DataFrame:
    """The norms of one run's neurons, at the start and at the end; returns what was drawn."""
    run = shown.cell.runs(shown.seed)["w_norm"].isel(step=[0, -1]).load()
    low, high = float(run.min()), float(run.max())
    bins = np.geomspace(max(low, 1e-9) * 0.95, max(high, 1e-9) * 1.05, 60)
    colors = (NO_NOISE, shown.look.color)
    for one, color in zip(run, colors, strict=True):
        label = f"step {thousands(one['step'])}"
        axes.hist(
            one.values,
            bins=bins.tolist(),
            color=color,
            alpha=0.8,
            label=label,
            histtype="stepfilled",
        )
    axes.set_xscale("log")
    root = float(np.sqrt(shown.cell.learning_rate))
    axes.axvline(root, color="0.2", linewidth=0.7, linestyle=(0, (4, 2)))
    axes.set(xlabel=typeset("norm ‖w_i‖"), ylabel="neurons of one run")
    axes.set_ylim(0, 1.35 * axes.get_ylim()[1])
    at_top = ("data", "axes fraction")
    axes.annotate(typeset("√η"), (root, 1), (2, -8), at_top, "offset points", fontsize=7)
    axes.legend(loc="upper right", handlelength=1, borderaxespad=0)
    rows = run.to_dataframe(name="value").reset_index()
    return rows.assign(cell=shown.look.label, quantity="w_norm", panel="distribution")


def _draw_periodic(norms: Axes, losses: Axes, shown: Shown) -> pd.DataFrame:
    """Mean norm and training loss while the chain moves and is held; returns what was drawn."""
    curves, palette = curves_of([shown], PERIODIC), palette_of([shown])
    parts = stretches(shown.cell.settings)
    draw_curve(norms, curves, "w_norm_mean", palette)
    norms.set(ylabel=typeset("mean norm ‖w_i‖"), ylim=(0, None))
    draw_curve(losses, curves, "train_loss", palette)
    losses.set_yscale("log")
    # while the chain is held it falls to rounding: nothing is to be seen down there
    losses.set_ylim(1e-6, 3 * np.nanmax(curves["train_loss"]))
    losses.set_ylabel("training loss")
    for axes in (norms, losses):
        shade(axes, parts)
        step_axis(axes, shown.cell.settings["steps"], 4)
    return tidy(curves, PERIODIC)


def _draw_chain(figure: SubFigure, shown: Sequence[Shown], options: Options) -> list[pd.DataFrame]:
    """The chain that always moves: norms, a few neurons' chains, the norms at the end."""
    norms, chain, distribution = figure.subplots(1, 3, width_ratios=[1.25, 1.2, 1])
    grid = chain.get_subplotspec().subgridspec(rows_for(shown[0], options.neurons), 1)
    chain.remove()
    rows = grid.subplots(sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, name in zip((norms, rows[0], distribution), "abc", strict=True):
        letter(axes, name)
    if len(shown) > 1:
        # the chains and the distribution are those of one cell
        for axes in (rows[0], distribution):
            axes.set_title(typeset(shown[0].look.label), loc="left")
    return [
        _draw_norms(norms, shown),
        draw_traces(rows, shown[0], options.chain_steps, drawstyle="steps-post"),
        _draw_distribution(distribution, shown[0]),
    ]


def check(cells: Sequence[Planned], options: Options) -> list[str]:
    """Why it cannot draw these cells: a line for each reason."""
    held = [cell for cell in cells if getattr(cell.settings, "schedule", None) is not None]
    moving = [cell for cell in cells if cell not in held]
    problems = only(cells, "algorithm", ["oscillation"], "oscillation")
    problems += told_apart(moving, "oscillation")
    if len(held) > 1:
        problems.append(
            f"experiments: oscillation draws one cell with a schedule, got {len(held)} "
            f"({', '.join(dict.fromkeys(cell.experiment for cell in held))}); make a figure of each"
        )
    return problems


def draw(cells: Sequence[CellData], options: Options) -> Drawing:
    """Draw what the three-state chain does by itself (paper, Lemma 4.4 and Appendix B.3).

    Args:
        cells: cells of algorithm `oscillation`; one of them may have a schedule.
        options: see `Options`.
    """
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D

    apply_style()
    both = len({cell.settings["schedule"] is None for cell in cells}) > 1
    figure = plt.figure(figsize=(TEXT_WIDTH, 4.2 if both else 2.3), layout="constrained")
    note = divergence_note(cells)
    note_below(figure, note)
    # each row has colours of its own: the same chain has the same one in both
    moving = living([cell for cell in cells if cell.settings["schedule"] is None], cells)
    held = living([cell for cell in cells if cell.settings["schedule"] is not None], cells)
    if not moving and not held:
        return Drawing(figure, table([]), f"Every run diverged. {note}.")
    rows = figure.subfigures(bool(moving) + bool(held), 1, squeeze=False)[:, 0]
    drawn: list[pd.DataFrame] = []
    texts: list[str] = []
    metrics: dict[str, float] = {}
    if moving:
        drawn += _draw_chain(rows[0], moving, options)
        for one in moving:
            text, found = describe_chain(one)
            texts.append(f"{one.look.label}: {text}" if len(moving) > 1 else text)
            tag = f" {one.look.tag}" if len(moving) > 1 else ""
            metrics |= {name + tag: value for name, value in found.items()}
    if held:
        norms, losses = rows[-1].subplots(1, 2)
        letter(norms, "d" if moving else "a")
        letter(losses, "e" if moving else "b")
        drawn.append(_draw_periodic(norms, losses, held[0]))
        legend_above(rows[-1], [shade_handle("chain moving"), band_handle(ALL_SEEDS)])
        text, more = describe_periodic(held[0], stretches(held[0].cell.settings))
        texts.append(text)
        metrics |= more
    if len(moving) > 1:
        handles = [Line2D([], [], color=c, label=n) for n, c in palette_of(moving).items()]
        same = shared([one.cell for one in moving])
        legend_above(figure, handles, f"{same} in all" if same else "")
    return Drawing(
        figure, table(drawn), " ".join([*texts, *([f"{note}."] if note else [])]), metrics
    )

"""Figure 2: label noise takes a wide network out of the lazy regime, and then aligns it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from .style import (
    TEXT_WIDTH,
    CellData,
    Drawing,
    Look,
    alive_seeds,
    apply_style,
    divergence_note,
    letter,
    looks,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

NEEDS = ("analyze", "simulate")

UNIT = 1e5
"""Steps on the axes are counted in this unit."""

CURVES = ["train_loss", "test_loss", "w_norm_mean", "alignment_mean"]

COLUMNS = ["panel", "cell", "seed", "step", "neuron", "quantity", "value"]

PHASES = {"Phase I": "#f4e3c8", "Phase II": "#d9e8d4"}


class Options(BaseModel):
    """Options of Figure 2."""

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


@dataclass(frozen=True)
class _Shown:
    """A cell with runs to show: its look, and the seed whose neurons are drawn."""

    cell: CellData
    look: Look
    seed: int


def _curves(living: Sequence[_Shown]) -> pd.DataFrame:
    """The curves of all runs that did not diverge."""
    import pandas as pd

    frames = []
    for shown in living:
        analysis = shown.cell.analysis[CURVES].sel(seed=alive_seeds(shown.cell.analysis))
        frames.append(analysis.to_dataframe().reset_index().assign(cell=shown.look.label))
    return pd.concat(frames, ignore_index=True)


def _draw_curve(
    axes: Axes, curves: pd.DataFrame, name: str, palette: dict[str, str], linestyle: str = "-"
) -> None:
    """The mean over seeds, and a band over all of them."""
    import seaborn as sns

    sns.lineplot(
        curves.assign(step=curves["step"] / UNIT),
        x="step",
        y=name,
        hue="cell",
        palette=palette,
        errorbar=("pi", 100),
        err_kws={"alpha": 0.25, "linewidth": 0},
        linestyle=linestyle,
        legend=False,
        ax=axes,
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


def _draw_losses(axes: Axes, curves: pd.DataFrame, palette: dict[str, str]) -> None:
    from matplotlib.lines import Line2D

    _draw_curve(axes, curves, "train_loss", palette)
    _draw_curve(axes, curves, "test_loss", palette, linestyle=":")
    axes.set_yscale("log")
    # where labels are noiseless the loss falls to rounding: nothing is to be seen down there
    top = 2 * np.nanmax(curves[["train_loss", "test_loss"]].to_numpy())
    axes.set_ylim(1e-3, max(top, 1e-2))
    axes.set_ylabel("loss on clean labels")
    last = curves.groupby("cell", sort=False)[["train_loss", "test_loss"]].last().max(axis=1)
    for label, loss in last[(last > 0) & (last < 1e-3)].items():
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


def _draw_oscillation(axes: Axes, pair: Sequence[_Shown], steps: int) -> pd.DataFrame:
    """One neuron's second-layer weight at every step; returns what was drawn."""
    import pandas as pd

    frames = []
    for shown, width in zip(reversed(pair), (0.6, 1.6), strict=False):
        trace = shown.cell.runs(shown.seed)["a_trace"].sel(trace_step=slice(0, steps))
        one = trace.isel(trace_neuron=0)
        axes.plot(one["trace_step"], one, color=shown.look.color, linewidth=width)
        frame = one.to_dataframe(name="value").reset_index()
        frame = frame.rename(columns={"trace_step": "step", "trace_neuron": "neuron"})
        frames.append(
            frame.assign(panel="oscillation", cell=shown.look.label, seed=shown.seed, quantity="a")
        )
    axes.set_xlabel("step")
    axes.set_ylabel("$a_i$ of one neuron")
    return pd.concat(frames)


def _draw_planes(
    panels: Sequence[Axes], pair: Sequence[_Shown], steps: Sequence[int]
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
        axes.set_ylim(0, 1)
    panels[0].set_ylabel("alignment with $θ^*$")
    identity = ["cell", "seed", "step", "neuron"]
    tidy = pd.concat(planes).melt(identity, ["w_norm", "alignment"], "quantity")
    return tidy.assign(panel="plane")


def draw(cells: Sequence[CellData], options: Options) -> Drawing:
    """Draw the two phases (paper, Figure 2).

    Args:
        cells: the cells of the experiments, over σ; the one with the most label noise is the one
            whose phases are marked, the one with the least is its contrast.
        options: see `Options`.
    """
    import matplotlib.pyplot as plt
    import pandas as pd
    from matplotlib.lines import Line2D

    apply_style()
    figure = plt.figure(figsize=(TEXT_WIDTH, 4.3), layout="constrained")
    note = divergence_note(cells)
    if note:
        figure.supxlabel(note, fontsize=6.5, color="0.3")
    living = [
        _Shown(cell, look, alive_seeds(cell.analysis)[0])
        for cell, look in zip(cells, looks(cells), strict=True)
        if alive_seeds(cell.analysis)
    ]
    if not living:
        return Drawing(figure, pd.DataFrame(columns=COLUMNS), f"Every run diverged. {note}.")
    by_noise = sorted(living, key=lambda shown: float(shown.cell.settings["sigma"]))
    contrast, noisy = by_noise[0], by_noise[-1]
    pair = [contrast, noisy] if len(living) > 1 else [noisy]

    phases = noisy.cell.analysis.sel(seed=alive_seeds(noisy.cell.analysis))
    start, end = float(phases["alignment_step"].median()), float(phases["step"][-1])
    curves = _curves(living)
    palette = {shown.look.label: shown.look.color for shown in living}
    top, bottom = np.asarray(figure.subfigures(2, 1, height_ratios=[1.18, 1]))
    losses, oscillation, norms, alignments = top.subplots(1, 4)
    _draw_losses(losses, curves, palette)
    trace = _draw_oscillation(oscillation, pair, options.oscillation_steps)
    _draw_curve(norms, curves, "w_norm_mean", palette)
    norms.set(ylabel="mean norm $‖w_i‖$", ylim=(0, None))
    root = float(np.sqrt(noisy.cell.settings["eta"]))
    norms.axhline(root, color="0.2", linewidth=0.7, linestyle=(0, (4, 2)))
    norms.annotate(r"$\sqrt{η}$", (0, root), (2, 2), textcoords="offset points", fontsize=7)
    _draw_curve(alignments, curves, "alignment_mean", palette)
    alignments.set(ylabel="mean alignment with $θ^*$", ylim=(0, 1))
    for axes in (losses, norms, alignments):
        _mark_phases(axes, start, end)
        axes.set(xlabel=r"step ($\times 10^5$)", xlim=(0, end / UNIT))
    panels = bottom.subplots(1, len(options.times), sharex=True, sharey=True, squeeze=False)[0]
    planes = _draw_planes(panels, pair, [round(share * end) for share in options.times])
    for axes, text in zip(
        (losses, oscillation, norms, alignments, panels[0]), "abcde", strict=True
    ):
        letter(axes, text)
    handles = [Line2D([], [], color=palette[label], linewidth=2, label=label) for label in palette]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))

    tidy = curves.melt(["cell", "seed", "step"], CURVES, "quantity").assign(panel="curves")
    numbers = pd.concat([tidy, trace, planes], ignore_index=True).reindex(columns=COLUMNS)
    caption, metrics = _caption(noisy.cell, noisy.look, note)
    return Drawing(figure, numbers, caption, metrics)


def _caption(cell: CellData, look: Look, note: str) -> tuple[str, dict[str, float]]:
    """What Figure 2 shows, in measured numbers."""
    analysis = cell.analysis.sel(seed=alive_seeds(cell.analysis))
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
    small = analysis["small_weights_step"]
    reached = int(np.isfinite(small).sum())
    escape = metrics.get("escape_step")
    aligns = metrics.get("alignment_step")
    sentences = [
        f"With {look.label} (mean over {analysis.sizes['seed']} seeds), every neuron has left the "
        + (f"lazy regime by step {escape:,.0f}" if escape else "lazy regime by no step of the run")
        + f"; the mean norm falls from {metrics['initial_w_norm_mean']:.2f} to "
        f"{metrics['final_w_norm_mean']:.3f} in {end:,} steps (Phase I), and the mean alignment "
        f"with θ* goes from {metrics['initial_alignment_mean']:.2f} to "
        f"{metrics['final_alignment_mean']:.2f} (Phase II, "
        + (f"marked from step {aligns:,.0f})." if aligns else "not reached)."),
        f"The theory's start of Phase II, all ‖w_i‖ and |a_i| at most √η, is reached by {reached} "
        f"of {analysis.sizes['seed']} runs"
        + (f" (step {float(small.median()):,.0f})." if reached else " within these steps."),
    ]
    if note:
        sentences.append(note + ".")
    return " ".join(sentences), metrics

"""Figure 2: label noise takes a wide network out of the lazy regime, and then aligns it."""

from __future__ import annotations

from collections.abc import Sequence
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

UNIT = 1e5
"""Steps on the axes are counted in this unit."""

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


def _curves(cells: Sequence[CellData], names: Sequence[str]) -> pd.DataFrame:
    """The curves of all runs that did not diverge, tidy."""
    import pandas as pd

    frames = []
    for cell, look in zip(cells, looks(cells), strict=True):
        alive = cell.analysis[list(names)].sel(seed=alive_seeds(cell.analysis))
        frame = alive.to_dataframe().reset_index()
        frames.append(frame.assign(cell=look.label))
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


def _mark_phases(axes: Axes, start: float, end: float, *, text: bool) -> None:
    """Shade Phase I (up to `start`) and Phase II (from there to `end`), both in steps."""
    if np.isnan(start):
        start = end
    spans = {"Phase I": (0.0, start), "Phase II": (start, end)}
    for phase, (left, right) in spans.items():
        if right > left:
            axes.axvspan(left / UNIT, right / UNIT, color=PHASES[phase], linewidth=0, zorder=0)
            if text:
                axes.text(
                    (left + right) / 2 / UNIT,
                    1.02,
                    phase,
                    ha="center",
                    va="bottom",
                    transform=axes.get_xaxis_transform(),
                    fontsize=7,
                )


def _draw_losses(axes: Axes, curves: pd.DataFrame, shown: Sequence[Look]) -> None:
    from matplotlib.lines import Line2D

    palette = {look.label: look.color for look in shown}
    _draw_curve(axes, curves, "train_loss", palette)
    _draw_curve(axes, curves, "test_loss", palette, linestyle=":")
    axes.set_yscale("log")
    # where labels are noiseless the loss falls to rounding: nothing is to be seen down there
    top = 2 * np.nanmax(curves[["train_loss", "test_loss"]].to_numpy())
    axes.set_ylim(1e-3, max(top, 1e-2))
    axes.set_ylabel("loss on clean labels")
    floor = curves.groupby("cell", sort=False)[["train_loss", "test_loss"]].last().max(axis=1)
    for look in shown:
        if look.label in floor.index and floor[look.label] < 1e-3:
            axes.annotate(
                f"{look.label}: below $10^{{{int(np.ceil(np.log10(floor[look.label])))}}}$",
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


def _draw_oscillation(
    axes: Axes, cells: Sequence[CellData], shown: Sequence[Look], steps: int
) -> pd.DataFrame:
    """One neuron's second-layer weight at every step; returns what was drawn."""
    import pandas as pd

    frames = []
    for cell, look in zip(cells, shown, strict=True):
        seeds = alive_seeds(cell.analysis)
        if not seeds:
            continue
        trace = cell.runs(seeds[0])["a_trace"].sel(trace_step=slice(0, steps))
        one = trace.isel(trace_neuron=0)
        axes.plot(one["trace_step"], one, color=look.color, linewidth=0.7)
        frame = one.to_dataframe(name="value").reset_index()
        frames.append(
            pd.DataFrame(
                {
                    "cell": look.label,
                    "seed": seeds[0],
                    "neuron": int(one["trace_neuron"]),
                    "step": frame["trace_step"],
                    "quantity": "a",
                    "value": frame["value"],
                }
            )
        )
    axes.set_xlabel("step")
    axes.set_ylabel("$a_i$ of one neuron")
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _plane(cell: CellData, look: Look, seed: int, step: int) -> pd.DataFrame:
    """Every neuron's norm and alignment at the snapshot nearest to a step."""
    runs = cell.runs(seed).sel(step=step, method="nearest")
    frame = runs[["w_norm", "alignment"]].to_dataframe().reset_index()
    return frame[["neuron", "step", "w_norm", "alignment"]].assign(cell=look.label, seed=seed)


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
    shown = looks(cells)
    palette = {look.label: look.color for look in shown}
    living = [i for i, cell in enumerate(cells) if alive_seeds(cell.analysis)]
    figure = plt.figure(figsize=(TEXT_WIDTH, 4.3), layout="constrained")
    top, bottom = np.asarray(figure.subfigures(2, 1, height_ratios=[1.18, 1]))
    note = divergence_note(cells)
    if note:
        figure.supxlabel(note, fontsize=6.5, color="0.3")
    if not living:
        return Drawing(figure, pd.DataFrame(), f"Every run diverged. {note}.")

    order = sorted(living, key=lambda i: cells[i].settings["sigma"])
    contrast, noisy = order[0], order[-1]
    phases = cells[noisy].analysis.sel(seed=alive_seeds(cells[noisy].analysis))
    start = float(phases["alignment_step"].median())
    end = float(phases["step"][-1])

    names = ["train_loss", "test_loss", "w_norm_mean", "alignment_mean"]
    curves = _curves([cells[i] for i in living], names)
    losses, oscillation, norms, alignments = top.subplots(1, 4)
    _draw_losses(losses, curves, [shown[i] for i in living])
    trace = _draw_oscillation(oscillation, cells, shown, options.oscillation_steps)
    for axes, name, label in (
        (norms, "w_norm_mean", "mean norm $‖w_i‖$"),
        (alignments, "alignment_mean", "mean alignment with $θ^*$"),
    ):
        _mark_phases(axes, start, end, text=True)
        _draw_curve(axes, curves, name, palette)
        axes.set_ylabel(label)
        axes.set_ylim(0, None if name == "w_norm_mean" else 1)
    _mark_phases(losses, start, end, text=True)
    root = float(np.sqrt(cells[noisy].settings["eta"]))
    norms.axhline(root, color="0.2", linewidth=0.7, linestyle=(0, (4, 2)))
    norms.annotate(r"$\sqrt{η}$", (0, root), (2, 2), textcoords="offset points", fontsize=7)
    for axes in (losses, norms, alignments):
        axes.set_xlabel(r"step ($\times 10^5$)")
        axes.set_xlim(0, end / UNIT)
    for axes, text in zip((losses, oscillation, norms, alignments), "abcd", strict=True):
        letter(axes, text)

    seed = alive_seeds(cells[noisy].analysis)[0]
    planes = []
    steps = [round(share * end) for share in options.times]
    panels = bottom.subplots(1, len(steps), sharex=True, sharey=True, squeeze=False)[0]
    pair = [contrast, noisy] if contrast != noisy else [noisy]
    for axes, step in zip(panels, steps, strict=True):
        for i in pair:
            same = (
                seed
                if seed in alive_seeds(cells[i].analysis)
                else alive_seeds(cells[i].analysis)[0]
            )
            plane = _plane(cells[i], shown[i], same, step)
            axes.scatter(
                plane["w_norm"],
                plane["alignment"],
                s=2.5,
                color=shown[i].color,
                alpha=0.55 if i == noisy else 0.35,
                linewidths=0,
                rasterized=True,
            )
            planes.append(plane)
        drawn = int(planes[-1]["step"].iloc[0])
        axes.set_title(f"step {drawn:,}", pad=3)
        axes.set_xlabel("norm $‖w_i‖$")
        axes.set_ylim(0, 1)
        axes.set_xlim(left=0)
    panels[0].set_ylabel("alignment with $θ^*$")
    letter(panels[0], "e")
    handles = [
        Line2D([], [], color=look.color, linewidth=2, label=look.label)
        for look in (shown[i] for i in living)
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))

    tidy_curves = curves.melt(["cell", "seed", "step"], names, "quantity").assign(panel="curves")
    tidy_planes = (
        pd.concat(planes)
        .melt(["cell", "seed", "step", "neuron"], ["w_norm", "alignment"], "quantity")
        .assign(panel="plane")
    )
    numbers = pd.concat(
        [tidy_curves, trace.assign(panel="oscillation"), tidy_planes], ignore_index=True
    )
    columns = ["panel", "cell", "seed", "step", "neuron", "quantity", "value"]
    caption, metrics = _caption(cells[noisy], shown[noisy], note)
    return Drawing(figure, numbers.reindex(columns=columns), caption, metrics)


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

"""The spectrum of the NTK of few images, and which of its modes are learnt in the steps taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict

from labelnoise.plot.parts.checks import Planned, by_experiment, several
from labelnoise.plot.parts.few_images import name_of
from labelnoise.plot.parts.style import (
    ALL_SEEDS,
    NOISE,
    TEXT_WIDTH,
    CellData,
    Drawing,
    apply_style,
    band_handle,
    legend_above,
    letter,
    thousands,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

VERB = "train"
NEEDS = ("linearize",)

LETTERS = "abcdefgh"

LEARNT = "#e3ecf6"
"""Shade of the eigenvalues whose modes are learnt."""

SAME_KERNEL = {"algorithm", "rho", "tau"}
"""What an experiment may vary: neither the kernel at the start nor η·steps depends on it."""


class Options(BaseModel):
    """The spectrum has no options."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def check(cells: Sequence[Planned], options: Options) -> list[str]:
    """Why it cannot draw these cells: a line for each reason."""
    problems = []
    groups = by_experiment(cells)
    if len(groups) > len(LETTERS):
        problems.append(
            f"experiments: spectrum has a panel for each, at most {len(LETTERS)}; got {len(groups)}"
        )
    for name, group in groups.items():
        others = several(group).keys() - SAME_KERNEL
        if others:
            problems.append(
                "experiments: spectrum draws one kernel an experiment; "
                f"{name} varies {', '.join(sorted(others))}: make an experiment of each"
            )
        if not any(cell.is_linearized for cell in group):
            problems.append(
                f"experiments: no cell of {name} has a linearised run, which is full-batch "
                "gradient descent on the square loss; spectrum needs one"
            )
    return problems


def _mark_learnt(axes: Axes, learnt: float, steps: int) -> None:
    """Shade the modes that are learnt in these steps, and say which side is which."""
    low, high = axes.get_ylim()
    low, high = min(low, learnt / 3), max(high, learnt * 3)  # both sides are seen
    axes.set_ylim(low, high)
    axes.axhspan(learnt, high, color=LEARNT, linewidth=0, zorder=0)
    axes.axhline(learnt, color="0.2", linewidth=0.7, linestyle=(0, (4, 2)))
    for text, shift, side in (
        (f"learnt in {thousands(steps)} steps", 3, "bottom"),
        ("not learnt", -3, "top"),
    ):
        axes.annotate(
            text,
            (0.03, learnt),
            (0, shift),
            ("axes fraction", "data"),
            "offset points",
            va=side,
            fontsize=7,
        )


def draw(cells: Sequence[CellData], options: Options) -> Drawing:
    """Draw the eigenvalues of the training images' empirical NTK, a panel for each experiment.

    Args:
        cells: the cells of the experiments; of each the first one with a linearised run, since the
            kernel is that of the start.
        options: none.

    Raises:
        ValueError: no cell has a linearised run.
    """
    import matplotlib.pyplot as plt
    import pandas as pd

    named = [name_of(cell.settings) for cell in {cell.experiment: cell for cell in cells}.values()]
    first: dict[str, CellData] = {}
    for cell in cells:
        if cell.linearize:
            first.setdefault(cell.experiment, cell)
    if not first:
        raise ValueError("no cell has a linearised run, so there is no spectrum to draw")
    apply_style()
    columns = min(len(first), 2 if len(first) in (2, 4) else 3)
    rows = -(-len(first) // columns)
    size = (TEXT_WIDTH * max(0.6, min(1.0, 0.5 * columns)), 0.3 + 2.4 * rows)
    figure = plt.figure(figsize=size, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(first) :]:
        axes.remove()
    frames, lines, metrics = [], [], {}
    for number, (axes, cell) in enumerate(zip(panels, first.values(), strict=False)):
        runs, settings = cell.linearized(), cell.settings
        title = name_of(settings)
        # two panels of the same network are told apart by their experiments
        title += f" ({cell.experiment})" if named.count(title) > 1 else ""
        values = runs["eigenvalue"].values[:, ::-1]
        rank = np.arange(1, values.shape[1] + 1)
        learnt = values.shape[1] / (settings["eta"] * settings["steps"])
        axes.fill_between(rank, values.min(0), values.max(0), color=NOISE[0], alpha=0.2, lw=0)
        axes.plot(rank, values.mean(0), color=NOISE[0])
        axes.set(xscale="log", yscale="log", xlabel="rank", ylabel="eigenvalue of the NTK")
        _mark_learnt(axes, learnt, settings["steps"])
        axes.set_title(title.replace(" (", "\n("), loc="left", fontsize=8)
        letter(axes, LETTERS[number])
        frame = runs["eigenvalue"].to_dataframe(name="value").reset_index()
        frame = frame.assign(experiment=cell.experiment, network=name_of(settings))
        frames.append(frame.assign(quantity="eigenvalue"))
        above = (values > learnt).mean()
        ratio = np.median(values[:, 0] / np.median(values, 1))
        limit = float(runs["eta_max"].min())
        lines.append(
            f"**{title}.** {100 * above:.0f} % of the modes lie above N/(η·steps) = {learnt:.3g}: "
            f"these are learnt in the {thousands(settings['steps'])} steps. The largest eigenvalue "
            f"is {ratio:.3g} times the median one. Gradient descent is stable up to η = "
            f"{limit:.3g} (used: {settings['eta']:g})."
        )
        metrics[f"{cell.experiment} learnt_modes"] = float(above)
    about = (
        "Drawn are the eigenvalues of the empirical NTK of the training images at the start. There "
        "are N = images × classes of them. The line is the mean over seeds, the band spans all "
        "seeds. Gradient descent shrinks a mode's error by the factor e in N/(η·eigenvalue) steps."
    )
    legend_above(figure, [band_handle(ALL_SEEDS)])
    numbers = pd.concat(frames, ignore_index=True)
    return Drawing(figure, numbers, "\n\n".join([*lines, about]), metrics)

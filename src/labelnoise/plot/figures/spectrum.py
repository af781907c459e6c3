"""The spectrum of the NTK of few images, and which of its modes are learnt in the steps taken."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from labelnoise.plot.parts.checks import Planned, by_experiment, several
from labelnoise.plot.parts.few_images import name_of
from labelnoise.plot.parts.style import NOISE, TEXT_WIDTH, CellData, Drawing, apply_style, letter

VERB = "train"
NEEDS = ("linearize",)


LETTERS = "abcdefgh"

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
    width = TEXT_WIDTH * min(1.0, 0.5 * len(first))
    figure = plt.figure(figsize=(width, 2.6), layout="constrained")
    panels = figure.subplots(1, len(first), squeeze=False)[0]
    frames, lines, metrics = [], [], {}
    for number, (axes, cell) in enumerate(zip(panels, first.values(), strict=True)):
        runs, settings = cell.linearized(), cell.settings
        title = name_of(settings)
        # two panels of the same network are told apart by their experiments
        title += f" ({cell.experiment})" if named.count(title) > 1 else ""
        values = runs["eigenvalue"].values[:, ::-1]
        rank = np.arange(1, values.shape[1] + 1)
        learnt = values.shape[1] / (settings["eta"] * settings["steps"])
        axes.fill_between(rank, values.min(0), values.max(0), color=NOISE[0], alpha=0.2, lw=0)
        axes.plot(rank, values.mean(0), color=NOISE[0])
        axes.axhline(learnt, color="0.2", linewidth=0.7, linestyle=(0, (4, 2)))
        axes.annotate(
            f"learnt in {settings['steps']:,} steps",
            (1, learnt),
            (2, 3),
            textcoords="offset points",
            fontsize=7,
        )
        axes.set(xscale="log", yscale="log", xlabel="rank", ylabel="eigenvalue of the NTK")
        axes.set_title(title, loc="left", fontsize=8)
        letter(axes, LETTERS[number])
        frame = runs["eigenvalue"].to_dataframe(name="value").reset_index()
        frame = frame.assign(experiment=cell.experiment, network=name_of(settings))
        frames.append(frame.assign(quantity="eigenvalue"))
        above = (values > learnt).mean()
        ratio = np.median(values[:, 0] / np.median(values, 1))
        limit = float(runs["eta_max"].min())
        lines.append(
            f"**{title}.** {above:.0%} of the modes lie above N/(η·steps) = "
            f"{learnt:.3g}, where gradient descent learns a mode within the steps taken; the "
            f"largest over the median eigenvalue is {ratio:.3g}; "
            f"gradient descent is stable up to η = {limit:.3g} (used: {settings['eta']:g})."
        )
        metrics[f"{cell.experiment} learnt_modes"] = float(above)
    head = (
        "Eigenvalues of the empirical NTK of the training images at the start, N = images × "
        "classes of them; the line is the mean over seeds, the band spans them."
    )
    numbers = pd.concat(frames, ignore_index=True)
    return Drawing(figure, numbers, "\n\n".join([head, *lines]), metrics)

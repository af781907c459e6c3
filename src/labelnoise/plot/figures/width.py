"""Width for free: the same run from a hundred neurons to millions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict

from labelnoise.plot.parts.checks import Planned, by_experiment, only, several, single
from labelnoise.plot.parts.style import (
    TEXT_WIDTH,
    CellData,
    Drawing,
    alive_seeds,
    apply_style,
    divergence_note,
    letter,
    note_below,
    sequence,
    thousands,
    typeset,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

VERB = "simulate"
NEEDS = ("analyze",)

CURVES = ["layer_displacement", "w_norm_mean"]


DISPLACEMENT = "$‖W(t) − W(0)‖_F\\,/\\,‖W(0)‖_F$"


class Options(BaseModel):
    """The width figure has no options."""

    model_config = ConfigDict(extra="forbid")


def _trend(slope: float, widths: int) -> str:
    """What the displacement does with the width: its exponent over the widest, and its sense."""
    if widths < 2:
        return "is that of a single width"
    exponent = f"{slope:.2f}".replace("-", "−")
    over = f"(exponent {exponent} over the {'three' if widths == 3 else 'two'} widest)"
    if slope < 0:
        return f"falls with the width {over}: the wider, the longer lazy"
    return f"does not fall with the width {over}"


def multiply_adds(neurons: int, inputs: int) -> int:
    """Multiply-adds of a step of SGD: Wx, aᵀ(Wx), the update of W and that of a."""
    return 2 * neurons * inputs + 2 * neurons


def _numbers(cells: Sequence[CellData]) -> pd.DataFrame:
    """The curves of the runs that did not diverge, and the multiply-adds of their steps."""
    import pandas as pd

    frames = []
    for cell in cells:
        width, inputs = cell.settings["width"], min(cell.settings["dim"], cell.settings["samples"])
        alive = cell.analysis[CURVES].sel(seed=alive_seeds(cell.analysis))
        core = min(width, inputs + 1)
        frames.append(
            alive.to_dataframe()
            .reset_index()
            .assign(
                width=width,
                multiply_adds=multiply_adds(core, inputs),
                multiply_adds_unreduced=multiply_adds(width, cell.settings["dim"]),
            )
        )
    return pd.concat(frames, ignore_index=True)


def _draw_curves(axes: Axes, numbers: pd.DataFrame, name: str, colors: dict[int, str]) -> None:
    """A curve for each width: the mean over seeds."""
    for width, color in colors.items():
        mean = numbers[numbers["width"] == width].groupby("step")[name].mean()
        mean = mean[mean.index > 0]
        power = np.log10(width)
        label = f"$10^{{{power:.0f}}}$" if power % 1 == 0 else thousands(width)
        axes.plot(mean.index, mean, color=color)
        axes.annotate(
            f"{typeset('m =')} {label}" if width == max(colors) else label,
            (mean.index[0], mean.iloc[0]),
            (-2, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=7,
        )
    axes.set_xlim(left=0.03)
    axes.set(xscale="log", xlabel="step")


def check(cells: Sequence[Planned], options: Options) -> list[str]:
    """Why it cannot draw these cells: a line for each reason."""
    problems = single(cells, "width")
    if len(by_experiment(cells)) > 1:
        problems.append(
            f"experiments: width draws one experiment, got {', '.join(by_experiment(cells))}"
        )
    for name, group in by_experiment(cells).items():
        others = several(group).keys() - {"width"}
        if others:
            problems.append(
                "experiments: width draws an experiment over the width and nothing else; "
                f"{name} varies {', '.join(sorted(others))} too"
            )
    counted = "whose multiply-adds it counts"
    problems += only(cells, "algorithm", ["sgd"], "width", counted)
    return problems + only(cells, "reduce", [True], "width", "the exact reduction, " + counted)


def draw(cells: Sequence[CellData], options: Options) -> Drawing:
    """Draw what a run does, and its multiply-adds, against its width.

    Args:
        cells: one a width.
        options: none.
    """
    import matplotlib.pyplot as plt

    apply_style()
    cells = sorted(cells, key=lambda cell: int(cell.settings["width"]))
    numbers = _numbers(cells)
    figure, (moved, final, count) = plt.subplots(
        1, 3, figsize=(TEXT_WIDTH, 2.3), layout="constrained"
    )
    note = divergence_note(cells)
    note_below(figure, note)
    if numbers.empty:
        return Drawing(figure, numbers, f"Every run diverged. {note}.")
    widths = sorted(int(width) for width in numbers["width"].unique())
    colors = dict(zip(widths, sequence(len(widths)), strict=True))
    _draw_curves(moved, numbers, "layer_displacement", colors)
    moved.set(ylabel=DISPLACEMENT, yscale="log")

    last = numbers[numbers["step"] == numbers["step"].max()]
    mean = last.groupby("width")["layer_displacement"].mean()
    final.plot(last["width"], last["layer_displacement"], "o", color="0.25", markersize=3)
    slope = float("nan")
    fitted = min(3, len(mean))
    if fitted > 1:
        slope = float(np.polyfit(np.log(mean.index[-3:]), np.log(mean.iloc[-3:]), 1)[0])
    final.plot(mean.index, mean, color="0.25", linewidth=0.8)
    final.set(xscale="log", yscale="log", xlabel="width $m$", ylabel=f"{DISPLACEMENT} at the end")

    steps = last.drop_duplicates("width")
    for column, marker, label in (
        ("multiply_adds_unreduced", "--", "all $m$ neurons"),
        ("multiply_adds", "-", "exact reduction"),
    ):
        count.plot(steps["width"], steps[column], marker, color="0.25", label=label)
    count.set(xscale="log", yscale="log", xlabel="width $m$", ylabel="multiply-adds a step")
    count.legend(loc="upper left")
    for axes, text in zip((moved, final, count), "abc", strict=True):
        letter(axes, text)

    widest = steps.iloc[-1]
    saved = widest["multiply_adds_unreduced"] / widest["multiply_adds"]
    settings = cells[0].settings
    method = "label-noise SGD" if settings["sigma"] > 0 else "SGD"
    rate = f"{settings['eta']:g}" + ("/m" if settings["eta_unit"] == "1/m" else "")
    steps_taken = thousands(int(last["step"].iloc[0]))
    text = (
        f"The first layer's relative displacement after {steps_taken} steps of {method} at a "
        f"learning rate of {rate} {_trend(slope, fitted)}. A step takes "
        f"{thousands(widest['multiply_adds'])} multiply-adds at any width above d. Without the "
        f"reduction it takes {thousands(widest['multiply_adds_unreduced'])} at m = "
        f"{thousands(widest['width'])}, {thousands(saved)} times as many. Lines are means over "
        "seeds, dots are the seeds, and the displacement is that of all neurons together. The "
        "multiply-adds are counted, not timed."
    )
    metrics = {"exponent": slope} if fitted > 1 else {}
    metrics["saved"] = float(saved)
    return Drawing(figure, numbers, f"{text} {note}." if note else text, metrics)

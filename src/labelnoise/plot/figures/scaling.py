"""How the time to leave the lazy regime scales, beside what Theorem 4.2 predicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from labelnoise.plot.parts.checks import Planned, not_positive, only
from labelnoise.plot.parts.checks import by_experiment as planned_by_experiment
from labelnoise.plot.parts.checks import varied as planned_grid
from labelnoise.plot.parts.runs import by_experiment, run_table, varied
from labelnoise.plot.parts.style import (
    NOISE,
    SYMBOLS,
    TEXT_WIDTH,
    CellData,
    Drawing,
    apply_style,
    letter,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from labelnoise.analyze.scaling import PowerLaw

VERB = "simulate"
NEEDS = ("analyze",)

PREDICTED = {"sigma": "σ^{-2}", "eta": "η^{-2}", "width": "\\sqrt{\\ln m/m}"}
"""T₁ = O(√(ln m)/(σ²η²√m)), Theorem 4.2, in each setting; for SGD."""


def bound(parameter: str, x: np.ndarray) -> np.ndarray:
    """Theorem 4.2's bound in one setting, up to a constant."""
    return np.sqrt(np.log(x) / x) if parameter == "width" else x**-2.0


COLUMNS = ["experiment", "parameter", "x", "seed", "quantity", "value"]


class Options(BaseModel):
    """Options of the scaling figure."""

    model_config = ConfigDict(extra="forbid")

    confidence: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.95, description="level of the exponents' confidence intervals"
    )


@dataclass(frozen=True)
class _Panel:
    """One experiment: its runs, the setting it varies, and the law through them.

    Attributes:
        experiment: its name.
        parameter: the setting that it varies.
        runs: a row a run; `time` is T₁, NaN where it never left or diverged.
        law: the fitted power law.
        predicted: how the theory has it, for the legend; empty if it says nothing.
        reference: the factor that takes `bound` through the geometric mean of the runs.
    """

    experiment: str
    parameter: str
    runs: pd.DataFrame
    law: PowerLaw
    predicted: str
    reference: float

    @property
    def symbol(self) -> str:
        return SYMBOLS.get(self.parameter, self.parameter)

    @property
    def x(self) -> np.ndarray:
        """The values of the varied setting, ascending."""
        return np.sort(self.runs[self.parameter].unique().astype(np.float64))

    @property
    def times(self) -> np.ndarray:
        """T₁ of the runs that the law is fitted to."""
        return self.runs["time"].dropna().to_numpy(np.float64)

    @property
    def diverged(self) -> int:
        return int(self.runs["diverged_step"].notna().sum())

    @property
    def never(self) -> pd.DataFrame:
        """Runs that reached the end without leaving."""
        return self.runs[self.runs["escape_step"].isna() & self.runs["diverged_step"].isna()]


def _panel(experiment: str, cells: Sequence[CellData], confidence: float) -> _Panel:
    """Fit the law of one experiment.

    Raises:
        ValueError: it varies no setting, more than one, or one that is not positive.
    """
    from labelnoise.analyze.scaling import fit_power_law

    names = varied(cells)
    if len(names) != 1:
        raise ValueError(
            f"scaling draws experiments that vary one setting; {experiment} varies "
            f"{', '.join(names) or 'none'}"
        )
    (parameter,) = names
    runs = run_table(cells, ["escape_step", "diverged_step"])
    if (runs[parameter] <= 0).any():
        raise ValueError(
            f"scaling has logarithmic axes: {experiment} has a {parameter} of "
            f"{runs[parameter].min():g}; take it out of the grid"
        )
    runs["time"] = runs["escape_step"].where(runs["diverged_step"].isna())
    times = runs.pivot(index=parameter, columns="seed", values="time")
    x = times.index.to_numpy(np.float64)
    law = fit_power_law(x, times.to_numpy(np.float64), confidence)
    sgd = bool((runs["algorithm"] == "sgd").all())
    # of one neuron ln m is 0
    predicted = PREDICTED.get(parameter, "") if sgd and (bound(parameter, x) > 0).all() else ""
    fitted = runs[runs["time"].notna()].astype({parameter: np.float64})
    reference = float("nan")
    if predicted:
        factors = np.log(fitted["time"]) - np.log(bound(parameter, fitted[parameter].to_numpy()))
        reference = float(np.exp(factors.mean()))
    return _Panel(experiment, parameter, runs, law, predicted, reference)


def _unit(values: np.ndarray) -> int:
    """The power of ten in which values are written with few digits; 0 for plain numbers."""
    power = int(np.floor(np.log10(values.max()) + 1e-9))
    return power if not -1 <= power <= 4 else 0


def _draw_panel(axes: Axes, panel: _Panel, confidence: float) -> None:
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    x = panel.x
    axes.set(xscale="log", yscale="log")
    axes.scatter(
        panel.runs[panel.parameter],
        panel.runs["time"],
        s=9,
        facecolors=NOISE[0],
        alpha=0.55,
        linewidths=0,
        zorder=3,
    )
    never = panel.never
    axes.scatter(
        never[panel.parameter],
        never["steps"],
        s=22,
        marker="^",
        facecolors="none",
        edgecolors=NOISE[0],
        linewidths=0.8,
        zorder=3,
    )
    lines = [_never(panel)] if len(never) or panel.diverged else []
    if np.isfinite(panel.law.exponent):
        axes.plot(x, panel.law(x), color="0.1", linewidth=1.0, zorder=2)
        interval = ""
        if np.isfinite(panel.law.low):
            interval = (
                f"\n{100 * confidence:g} % CI [{_signed(panel.law.low)}, {_signed(panel.law.high)}]"
            )
        lines.insert(0, f"$T_1 \\propto {panel.symbol}^{{{panel.law.exponent:.2f}}}${interval}")
    if np.isfinite(panel.reference):
        line = panel.reference * bound(panel.parameter, x)
        axes.plot(x, line, color=NOISE[1], linestyle=(0, (4, 2)), linewidth=1.2, zorder=2.5)
        lines.append(f"Theorem 4.2: ${panel.predicted}$")
    rises = panel.law.exponent > 0
    axes.annotate(
        "\n".join(lines),
        (0.04, 0.96 if rises else 0.04),
        xycoords="axes fraction",
        va="top" if rises else "bottom",
        fontsize=7,
        linespacing=1.35,
    )
    power = _unit(x)
    shown = x[:: -(-len(x) // 7)]
    axes.xaxis.set_major_locator(FixedLocator(list(shown)))
    axes.xaxis.set_major_formatter(FixedFormatter([f"{v / 10**power:g}" for v in shown]))
    axes.xaxis.set_minor_locator(NullLocator())
    unit = f" ($\\times 10^{{{power}}}$)" if power else ""
    axes.set_xlabel(f"{NAMES.get(panel.parameter, '')} ${panel.symbol}${unit}".strip())
    axes.margins(0.08)


NAMES = {"sigma": "label noise level", "eta": "learning rate", "width": "width"}


def _signed(value: float, spec: str = ".2f") -> str:
    """A number with a typographic minus."""
    return f"{value:{spec}}".replace("-", "−")


def _never(panel: _Panel) -> str:
    """How many runs are not among the dots, and why."""
    total, never = len(panel.runs), len(panel.never)
    if not never and not panel.diverged:
        return f"all {total} runs left"
    parts = [f"{never} of {total} runs never left"] if never else []
    parts += [f"{panel.diverged} of {total} runs diverged"] if panel.diverged else []
    return ", ".join(parts)


def _local_exponents(panel: _Panel) -> np.ndarray:
    """The slope of the mean over seeds of log T₁ from each value of x to the next."""
    logs = np.log(panel.runs["time"]).groupby(panel.runs[panel.parameter]).mean().dropna()
    steps = np.diff(np.log(logs.index.to_numpy(np.float64)))
    return np.asarray(np.diff(logs.to_numpy(np.float64)) / steps)


def _numbers(panel: _Panel) -> pd.DataFrame:
    """The dots as given, and both lines at the values of x."""
    import pandas as pd

    runs = panel.runs.rename(columns={panel.parameter: "x"})
    given = runs.melt(["x", "seed"], ["escape_step", "diverged_step"], "quantity")
    given = given[(given["quantity"] == "escape_step") | given["value"].notna()]
    lines = [
        pd.DataFrame({"x": panel.x, "quantity": name, "value": values})
        for name, values in (
            ("fit", panel.law(panel.x)),
            ("predicted", panel.reference * bound(panel.parameter, panel.x)),
        )
        if np.isfinite(values).all()
    ]
    table = pd.concat([given, *lines], ignore_index=True)
    table = table.assign(experiment=panel.experiment, parameter=panel.parameter)
    return table.reindex(columns=COLUMNS)


def check(cells: Sequence[Planned], options: Options) -> list[str]:
    """Why it cannot draw these cells: a line for each reason."""
    problems = []
    for name, group in planned_by_experiment(cells).items():
        grid = planned_grid(group)
        if len(grid) != 1:
            problems.append(
                "experiments: scaling draws experiments that vary one setting; "
                f"{name} varies {', '.join(grid) or 'none'}"
            )
            continue
        ((parameter, values),) = grid.items()
        if any(isinstance(value, str | bool) for value in values):
            problems.append(
                f"experiments: scaling needs a setting that is a number; {name} varies {parameter}"
            )
            continue
        problems += not_positive(name, parameter, values, "scaling")
        if parameter == "width":
            why = f"where {parameter} varies: Theorem 4.2 has the other fixed"
            problems += only(group, "eta_unit", ["1"], "scaling", why)
    return problems


def draw(cells: Sequence[CellData], options: Options) -> Drawing:
    """Draw T₁ against each setting that an experiment varies, on log–log axes.

    T₁ is the step by which every neuron has left the lazy regime. Runs that never do are drawn as
    open triangles at the end of the run and are not fitted; nor are runs that diverged, whose
    weights move for another reason.

    Args:
        cells: the cells of experiments that vary one setting each, a panel an experiment.
        options: see `Options`.

    Raises:
        ValueError: an experiment varies no setting, more than one, or one that is not positive.
    """
    import matplotlib.pyplot as plt
    import pandas as pd
    from matplotlib.lines import Line2D

    apply_style()
    panels = [_panel(*experiment, options.confidence) for experiment in by_experiment(cells)]
    figure, grid = plt.subplots(
        1,
        len(panels),
        figsize=(TEXT_WIDTH, 2.35),
        layout="constrained",
        sharey=True,
        squeeze=False,
    )
    times = np.concatenate([panel.times for panel in panels])
    if len(times) and times.min() == times.max():
        # one time only has no range of its own
        grid[0, 0].set(yscale="log", ylim=(times.min() / 3, times.max() * 3))
    for number, (axes, panel) in enumerate(zip(grid[0], panels, strict=True)):
        _draw_panel(axes, panel, options.confidence)
        letter(axes, chr(ord("a") + number))
    grid[0, 0].set_ylabel("steps to leave the lazy regime, $T_1$")
    dot: dict[str, Any] = {"linestyle": "", "color": NOISE[0]}
    handles = [
        Line2D([], [], marker="o", markersize=3, label="one run", **dot),
        Line2D([], [], color="0.1", linewidth=1.0, label="least-squares fit"),
    ]
    if any(np.isfinite(panel.reference) for panel in panels):
        dashed: dict[str, Any] = {"color": NOISE[1], "linestyle": (0, (4, 2))}
        handles.append(Line2D([], [], label="shape of Theorem 4.2's bound", **dashed))
    if any(len(panel.never) for panel in panels):
        hollow: dict[str, Any] = {"markerfacecolor": "none", "markersize": 4.5, **dot}
        handles.append(Line2D([], [], marker="^", label="never left: end of the run", **hollow))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))

    numbers = pd.concat([_numbers(panel) for panel in panels], ignore_index=True)
    text = " ".join(_sentences(panel, options.confidence) for panel in panels)
    metrics: dict[str, float] = {}
    for panel in panels:
        for name in ("exponent", "low", "high", "used", "left_out"):
            value = float(getattr(panel.law, name))
            if np.isfinite(value):
                metrics[f"{panel.experiment}_{name}"] = value
    return Drawing(figure, numbers, text, metrics)


def _sentences(panel: _Panel, confidence: float) -> str:
    """The measured exponent of one panel, and what it says of the theorem."""
    from labelnoise.analyze.claims import FIT

    law, x = panel.law, panel.x
    heading = f"**{panel.experiment}**: "
    counts = f"{len(x)} values of {panel.symbol}; {_never(panel)}"
    if not np.isfinite(law.exponent):
        return f"{heading}no exponent can be fitted ({counts})."
    interval = (
        f"{100 * confidence:g} % interval {_signed(law.low)} to {_signed(law.high)}, "
        if np.isfinite(law.low)
        else "too few values for an interval, "
    )
    text = f"{heading}T₁ ∝ {panel.symbol}^{_signed(law.exponent)} ({interval}{counts})."
    local = _local_exponents(panel)
    if len(local) > 1:
        text += (
            f" Between neighbouring values the exponent goes from {_signed(local[0])} to "
            f"{_signed(local[-1])}."
        )
    if not np.isfinite(panel.reference):
        return text
    logs = np.log(panel.runs["time"]).groupby(panel.runs[panel.parameter]).mean().dropna()
    values = logs.index.to_numpy(np.float64)
    over = logs.to_numpy(np.float64) - np.log(bound(panel.parameter, values))
    off = float(np.expm1(np.abs(over - over.mean()).max()))
    change = float(np.exp(over[-1] - over[0]))
    name = {"width": "√(ln m/m)"}.get(panel.parameter, f"{panel.symbol}^−2")
    text += (
        f" Theorem 4.2's bound, ∝ {name} with one constant, is within {100 * off:.0f} % of each "
        "mean log T₁"
    )
    if off <= FIT:
        return text + "."
    return (
        f"{text}: it is not the law here. T₁ over the bound changes by a factor of {change:.2g} "
        f"from {panel.symbol} = {values[0]:g} to {values[-1]:g}."
    )

"""Where runs end up over noise (σ or ρ) and learning rate, beside what the theory predicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from labelnoise.plot.parts.checks import Planned, not_positive, values_of, varied
from labelnoise.plot.parts.checks import by_experiment as planned_by_experiment
from labelnoise.plot.parts.phase_map import ORDER, Panel, definitions, make_panel, sentences
from labelnoise.plot.parts.runs import by_experiment
from labelnoise.plot.parts.style import (
    NO_NOISE,
    NOISE,
    TEXT_WIDTH,
    CellData,
    Drawing,
    apply_style,
    letter,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


VERB = "simulate"
NEEDS = ("analyze",)

COLORS = {
    "lazy": NO_NOISE,
    "rich": NOISE[0],
    "collapsed": "#1c1014",
    "diverged": "#ffffff",
    "noisy": "#f6c58f",
}
"""Colours of the regimes: no two of the same lightness, so that they differ in grey as well."""

NAMES = {"sigma": "label noise level $σ$", "rho": "SAM radius $ρ$"}

COLUMNS = [
    *("experiment", "parameter", "x", "eta", "seed"),
    *("regime", "escape_step", "diverged_step", "predicted_escape_step"),
]

TITLES = {"sgd": "label-noise SGD", "sam": "SAM"}

SPLIT = "seeds disagree"

LIMIT: dict[str, Any] = {"color": "black", "linewidth": 1.2, "linestyle": (0, (5, 1.5, 1, 1.5))}
CONTOUR: dict[str, Any] = {"color": "black", "linewidth": 0.9, "linestyle": (0, (2.5, 1.5))}
BORDER: dict[str, Any] = {"color": "black", "linewidth": 1.5}


class Options(BaseModel):
    """Options of the phase diagram."""

    model_config = ConfigDict(extra="forbid")

    decades: Annotated[int, Field(strict=True, ge=0, le=6)] = Field(
        default=2,
        description="contours of the predicted escape time: at the number of steps of the runs, "
        "and this many decades below",
    )
    fit_up_to: Annotated[float, Field(gt=0)] = Field(
        default=0.5,
        description="the escape time is fitted to runs whose η is at most this share of the "
        "stability limit: nearer to it they leave sooner, as their residuals grow",
    )


def _edges(values: np.ndarray) -> np.ndarray:
    """Edges of cells around ascending values, half-way in the logarithm."""
    logs = np.log(values)
    steps = np.diff(logs) if len(logs) > 1 else np.array([np.log(2)])
    inner = logs[:-1] + steps[: len(logs) - 1] / 2
    edges = np.concatenate([[logs[0] - steps[0] / 2], inner, [logs[-1] + steps[-1] / 2]])
    return np.asarray(np.exp(edges))


def _border(lazy: np.ndarray, moved: np.ndarray, x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """The edges, as pairs of points, between cells that are lazy and cells that moved."""
    found = []
    for rows, columns, vertical in ((0, 1, True), (1, 0, False)):
        one = (slice(None, -rows or None), slice(None, -columns or None))
        other = (slice(rows, None), slice(columns, None))
        apart = (lazy[one] & moved[other]) | (moved[one] & lazy[other])
        for i, j in np.argwhere(apart):
            if vertical:
                found.append(np.array([[x[j + 1], y[i]], [x[j + 1], y[i + 1]]]))
            else:
                found.append(np.array([[x[j], y[i + 1]], [x[j + 1], y[i + 1]]]))
    return found


def _draw_cells(axes: Axes, panel: Panel, x: np.ndarray, y: np.ndarray) -> None:
    """Fill the cells; where seeds disagree the upper right half shows the second regime."""
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import ListedColormap

    from labelnoise.analyze.regimes import REGIMES

    palette = [COLORS[name] for name in REGIMES]
    axes.pcolormesh(
        x,
        y,
        np.ma.masked_invalid(panel.first.to_numpy(np.float64)),
        cmap=ListedColormap(palette),
        vmin=-0.5,
        vmax=len(REGIMES) - 0.5,
        rasterized=True,
        zorder=1,
    )
    second = panel.second.to_numpy(np.float64)
    for code, name in enumerate(REGIMES):
        corners = [
            [(x[j], y[i + 1]), (x[j + 1], y[i + 1]), (x[j + 1], y[i])]
            for i, j in np.argwhere(second == code)
        ]
        axes.add_collection(
            PolyCollection(corners, facecolors=COLORS[name], linewidths=0, zorder=1.5)
        )


def _draw_panel(axes: Axes, panel: Panel, decades: int) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.patheffects import withStroke

    from labelnoise.analyze.regimes import REGIMES

    halo = [withStroke(linewidth=2.6, foreground="white", alpha=0.9)]
    values = panel.first.columns.to_numpy(np.float64)
    etas = panel.first.index.to_numpy(np.float64)
    x, y = _edges(values), _edges(etas)
    axes.set(xscale="log", yscale="log", xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    _draw_cells(axes, panel, x, y)

    code = panel.first.to_numpy(np.float64)
    lazy = code == REGIMES.index("lazy")
    moved = np.isfinite(code) & ~lazy & (code != REGIMES.index("diverged"))
    border = _border(lazy, moved, x, y)
    for color, width in (("white", BORDER["linewidth"] + 1.4), ("black", BORDER["linewidth"])):
        axes.add_collection(
            LineCollection(border, colors=color, linewidths=width, capstyle="projecting", zorder=2)
        )
    if y[0] < panel.limit < y[-1]:
        axes.axhline(panel.limit, path_effects=halo, zorder=3, **LIMIT)
    fine_x, fine_y = np.meshgrid(np.geomspace(x[0], x[-1], 60), np.geomspace(y[0], y[-1], 240))
    predicted = panel.escape_time(fine_x, fine_y)
    if predicted is not None:
        # beyond the limit there is no lazy regime to leave
        logs = np.log10(np.where(fine_y <= panel.limit, predicted, np.nan))
        levels = np.log10(panel.steps) - np.arange(decades, -1, -1)
        seen = logs[np.isfinite(logs)]
        levels = levels[(levels > seen.min()) & (levels < seen.max())] if len(seen) else seen
        if len(levels):
            _draw_contours(axes, fine_x, fine_y, logs, levels, halo)
    algorithm = str(panel.runs["algorithm"].iloc[0])
    axes.set_title(TITLES.get(algorithm, algorithm), pad=4)
    axes.set_xlabel(NAMES.get(panel.parameter, f"${panel.symbol}$"))
    for side in ("top", "right"):
        axes.spines[side].set_visible(True)
    axes.set_axisbelow(False)


def _draw_contours(
    axes: Axes,
    x: np.ndarray,
    y: np.ndarray,
    logs: np.ndarray,
    levels: np.ndarray,
    halo: list[Any],
) -> None:
    """Contours of the predicted escape time, each with its number of steps."""
    contours = axes.contour(
        x,
        y,
        logs,
        levels=levels,
        colors=CONTOUR["color"],
        linewidths=CONTOUR["linewidth"],
        linestyles=[CONTOUR["linestyle"]],
        zorder=3,
    )
    contours.set_path_effects(halo)
    middles = [segments[0][len(segments[0]) // 2] for segments in contours.allsegs]
    labels = axes.clabel(contours, fmt=_power_of_ten, fontsize=7, inline_spacing=2, manual=middles)
    for label in labels:
        label.set_path_effects(halo)


def _power_of_ten(log: float) -> str:
    whole = round(log)
    if abs(log - whole) < 1e-9:
        return f"$10^{{{whole}}}$"
    power = int(np.floor(log))
    return f"${10 ** (log - power):.2g}{{\\times}}10^{{{power}}}$"


def _legend_handles(panels: Sequence[Panel]) -> list[Any]:
    """What is drawn: the regimes that occur, split cells, and the lines."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    present = {name for panel in panels for name in panel.runs["regime"]}
    edge: dict[str, Any] = {"edgecolor": "0.3", "linewidth": 0.5}
    fitted = " (SAM: fitted)" if any(panel.law for panel in panels) else ""
    handles: list[Any] = [
        Patch(facecolor=COLORS[name], label=name, **edge) for name in ORDER if name in present
    ]
    if any(panel.second.notna().any(axis=None) for panel in panels):
        lower: dict[str, Any] = {"marker": [(-1, -1), (1, -1), (-1, 1)], "color": COLORS["rich"]}
        upper: dict[str, Any] = {"marker": [(1, 1), (1, -1), (-1, 1)], "color": COLORS["noisy"]}
        halves = [
            Line2D([], [], linestyle="", markersize=8, markeredgewidth=0, **half)
            for half in (lower, upper)
        ]
        handles.append(tuple(halves))
    return [
        *handles,
        Line2D([], [], label="measured border of the lazy regime", **BORDER),
        Line2D([], [], label=f"predicted steps to leave it{fitted}", **CONTOUR),
        Line2D([], [], label="predicted stability limit", **LIMIT),
    ]


DISTURBED_BY = {"sgd": "sigma", "sam": "rho"}
"""The setting that a panel is over beside η, by the algorithm."""


def check(cells: Sequence[Planned], options: Options) -> list[str]:
    """Why it cannot draw these cells: a line for each reason."""
    problems = []
    for name, group in planned_by_experiment(cells).items():
        grid = varied(group)
        (algorithm, *others) = values_of(group, "algorithm")
        wanted = {"eta", DISTURBED_BY.get(algorithm, "")}
        if others or grid.keys() != wanted:
            problems.append(
                "experiments: phase_diagram draws experiments over eta and sigma (algorithm sgd) "
                f"or eta and rho (sam); {name}, of algorithm {algorithm}, varies "
                f"{', '.join(grid) or 'none'}"
            )
            continue
        for parameter, values in grid.items():
            problems += not_positive(name, parameter, values, "phase_diagram")
    return problems


def draw(cells: Sequence[CellData], options: Options) -> Drawing:
    """Draw the regime of every run over η and σ (SGD) or ρ (SAM).

    Drawn beside them: the stability limit η(d + m)(1 + 2/d) = 2; contours of the escape time, for
    SGD T₁ = C/(σ²η²√m) (Theorem 4.2) with C the median over the runs, for SAM (of which the paper
    says nothing quantitative) a law T₁ ∝ ρ^p η^q fitted to the runs; and the measured border
    between runs that stayed lazy and runs that moved.

    Args:
        cells: the cells of experiments over η and one other setting each, a panel an experiment.
        options: see `Options`.

    Raises:
        ValueError: an experiment is over other settings than these, or one is not positive.
    """
    import matplotlib.pyplot as plt
    import pandas as pd
    from matplotlib.legend_handler import HandlerTuple

    apply_style()
    panels = [make_panel(*experiment, options.fit_up_to) for experiment in by_experiment(cells)]
    figure, grid = plt.subplots(
        1,
        len(panels),
        figsize=(TEXT_WIDTH, 3.4),
        layout="constrained",
        sharey=True,
        squeeze=False,
    )
    for number, (axes, panel) in enumerate(zip(grid[0], panels, strict=True)):
        _draw_panel(axes, panel, options.decades)
        letter(axes, chr(ord("a") + number))
    grid[0, 0].set_ylabel("learning rate $η$")
    handles = _legend_handles(panels)
    regimes = len(handles) - 3
    figure.legend(
        handles[:regimes],
        [
            SPLIT if isinstance(handle, tuple) else handle.get_label()
            for handle in handles[:regimes]
        ],
        loc="outside upper center",
        ncols=regimes,
        handlelength=1.4,
        handler_map={tuple: HandlerTuple(ndivide=1)},
    )
    figure.legend(handles=handles[regimes:], loc="outside lower center", ncols=3, handlelength=2.6)

    tables = [
        panel.runs.rename(columns={panel.parameter: "x"}).assign(parameter=panel.parameter)
        for panel in panels
    ]
    numbers = pd.concat(tables, ignore_index=True).reindex(columns=COLUMNS)
    metrics: dict[str, float] = {}
    for panel in panels:
        shares = panel.runs["regime"].value_counts(normalize=True)
        metrics |= {f"{panel.experiment}_{name}": float(shares.get(name, 0)) for name in ORDER}
    text = "\n\n".join([definitions(cells), *map(sentences, panels)])
    return Drawing(figure, numbers, text, metrics)

"""What the figures of trajectories share: the runs to show, their curves, their traces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .style import CellData, Look, alive_seeds, looks, parameter, typeset

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes

COLUMNS = ["panel", "cell", "seed", "step", "neuron", "quantity", "value"]
"""Of every figure's table of numbers."""


@dataclass(frozen=True)
class Shown:
    """A cell with runs to show: its look, and the seed whose neurons are drawn."""

    cell: CellData
    look: Look
    seed: int

    @property
    def analysis(self) -> xr.Dataset:
        """Curves and phases of the runs that did not diverge."""
        return self.cell.analysis.sel(seed=alive_seeds(self.cell.analysis))


def living(cells: Sequence[CellData], among: Sequence[CellData] = ()) -> list[Shown]:
    """The cells of which at least one run did not diverge; for `among` see `looks`."""
    return [
        Shown(cell, look, alive_seeds(cell.analysis)[0])
        for cell, look in zip(cells, looks(cells, among), strict=True)
        if alive_seeds(cell.analysis)
    ]


def palette_of(shown: Sequence[Shown]) -> dict[str, str]:
    """Colours by label."""
    return {one.look.label: one.look.color for one in shown}


def curves_of(shown: Sequence[Shown], names: Sequence[str]) -> pd.DataFrame:
    """Curves over the steps, one column each, of all runs that did not diverge."""
    import pandas as pd

    frames = [
        one.analysis[list(names)].to_dataframe().reset_index().assign(cell=one.look.label)
        for one in shown
    ]
    return pd.concat(frames, ignore_index=True)


def tidy(curves: pd.DataFrame, names: Sequence[str], panel: str = "curves") -> pd.DataFrame:
    """The numbers behind curves, one a row."""
    melted = curves.melt(["cell", "seed", "step"], list(names), "quantity")
    return melted.assign(panel=panel)


def table(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """A figure's table of numbers from those of its panels."""
    import pandas as pd

    filled = [part for part in parts if not part.empty]
    if not filled:
        return pd.DataFrame(columns=COLUMNS)
    return pd.concat(filled, ignore_index=True).reindex(columns=COLUMNS)


def draw_curve(
    axes: Axes,
    curves: pd.DataFrame,
    name: str,
    palette: dict[str, str],
    *,
    linestyle: str = "-",
    band: bool = True,
) -> None:
    """The mean over seeds, and a band over all of them."""
    import seaborn as sns

    sns.lineplot(
        curves,
        x="step",
        y=name,
        hue="cell",
        palette=palette,
        errorbar=("pi", 100) if band else None,
        err_kws={"alpha": 0.25, "linewidth": 0},
        linestyle=linestyle,
        legend=False,
        ax=axes,
    )


def draw_root_eta(axes: Axes, shown: Sequence[Shown]) -> None:
    """The level √η of each cell, where the theory's Phase II starts.

    Dark where all have the same η, else each in its cell's colour; the highest is named.
    """
    levels = {float(np.sqrt(one.cell.learning_rate)): one.look.color for one in shown}
    for root, color in levels.items():
        axes.axhline(
            root,
            color=color if len(levels) > 1 else "0.2",
            linewidth=0.7,
            linestyle=(0, (4, 2)),
        )
    axes.annotate(
        typeset("√η"),
        (0, max(levels)),
        (2, 2),
        ("axes fraction", "data"),
        "offset points",
        fontsize=7,
    )


def stability_note(cells: Sequence[CellData]) -> str:
    """Which cells of SGD are above the stability limit of their start; empty if none is."""
    from labelnoise.analyze.flow.limits import stability_limit

    limits: dict[float, dict[str, None]] = {}
    for cell in cells:
        settings = cell.settings
        if settings["algorithm"] != "sgd" or settings["initialisation"] != "ntk":
            continue
        limit = stability_limit(settings["width"], settings["dim"])
        if cell.learning_rate > limit:
            rate = parameter("eta", float(f"{cell.learning_rate:.3g}"))
            limits.setdefault(limit, {})[rate] = None
    return "; ".join(
        f"{' and '.join(rates)} {'is' if len(rates) == 1 else 'are'} above the stability limit "
        f"2/((d + m)(1 + 2/d)) = {limit:.3g} of the start"
        for limit, rates in limits.items()
    )


def loss_floor(losses: np.ndarray, top: float) -> float:
    """The power of ten, from 1e-10 to 1e-3, where an axis of losses up to `top` starts.

    Room for a note is left under the smallest of `losses`.
    """
    seen = losses[losses > 0]
    least = np.log10(seen.min()) if seen.size else 0.0
    room = 0.2 * (np.log10(top) - least)
    return float(10.0 ** np.clip(np.floor(least - room), -10, -3))


def trace_of(shown: Shown, neurons: int, steps: int) -> pd.DataFrame:
    """The second layer's first neurons at every step, as rows of the table; empty if not traced."""
    import pandas as pd

    run = shown.cell.runs(shown.seed)
    if "a_trace" not in run:
        return pd.DataFrame(columns=COLUMNS)
    trace = run["a_trace"].sel(trace_step=slice(0, steps)).isel(trace_neuron=slice(0, neurons))
    frame = trace.to_dataframe(name="value").reset_index()
    frame = frame.rename(columns={"trace_step": "step", "trace_neuron": "neuron"})
    return frame.assign(panel="oscillation", cell=shown.look.label, seed=shown.seed, quantity="a")


def say_not_traced(axes: Axes) -> None:
    """Fill a panel for which no second-layer weight was recorded at every step."""
    text = "not recorded\n(trace_steps: 0)"
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, color="0.4")


def seeds(count: int) -> str:
    """`8 seeds`."""
    return f"{count} seed{'s' if count != 1 else ''}"


def spread(values: np.ndarray, digits: str = ",.0f") -> str:
    """`median (least–most)` of the finite values; `never` if there are none."""
    found = values[np.isfinite(values)]
    if not found.size:
        return "never"
    low, middle, high = (format(f(found), digits) for f in (np.min, np.median, np.max))
    return f"{middle} ({low}–{high})" if found.size > 1 else middle

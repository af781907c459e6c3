"""The runs of many cells as one table, whichever way their grid is laid out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .style import CellData

if TYPE_CHECKING:
    import pandas as pd

SETTINGS = ("algorithm", "width", "dim", "eta", "sigma", "rho", "steps")
"""Settings that the table holds of every run."""

Experiment = tuple[str, list[CellData]]


def by_experiment(cells: Sequence[CellData]) -> list[Experiment]:
    """The cells of each experiment, in the order of the experiments."""
    found: dict[str, list[CellData]] = {}
    for cell in cells:
        found.setdefault(cell.experiment, []).append(cell)
    return list(found.items())


def varied(cells: Sequence[CellData]) -> list[str]:
    """The settings that the grid of these cells (of one experiment) is over."""
    return list(dict.fromkeys(name for cell in cells for name in (*cell.grid, *cell.together)))


def run_table(cells: Sequence[CellData], variables: Sequence[str]) -> pd.DataFrame:
    """One row a run: experiment, `SETTINGS`, seed and these variables of its analysis.

    A setting is the run's own, whether it varies from cell to cell or (`together`) within one;
    `eta` is the learning rate, in whatever unit it was written.
    """
    import pandas as pd

    frames = []
    for cell in cells:
        analysis = cell.analysis[list(variables)]
        for name in cell.together:
            analysis = analysis.assign_coords({name: cell.values(name)})
        frame = analysis.to_dataframe().reset_index()
        own = {name: cell.value(name) for name in (*SETTINGS, *cell.grid)}
        own = {name: value for name, value in own.items() if name not in frame}
        frames.append(frame.assign(experiment=cell.experiment, **own))
    return pd.concat(frames, ignore_index=True)

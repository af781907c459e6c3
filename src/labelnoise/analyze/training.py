"""From the trainings of a cell to its curves and its few telling numbers."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from labelnoise.train.settings import TrainSettings

FINAL = ("train_loss", "test_loss", "train_accuracy", "test_accuracy", "distance")
NORMS = ("w_norm_mean", "norm_change_mean", "norm_change_std")


def analyze(
    settings: TrainSettings, blocks: Sequence[xr.Dataset]
) -> tuple[xr.Dataset, dict[str, float]]:
    """Everything that is said of one cell: its curves, and its few telling numbers.

    Args:
        settings: of the cell.
        blocks: its trainings, as `labelnoise.train.run.train` returns them; a block of seeds each.
    """
    runs = xr.concat(blocks, "seed", data_vars="minimal", coords="minimal", compat="override")
    summary = summarize(runs).compute()
    return summary, headline(summary)


def summarize(runs: xr.Dataset) -> xr.Dataset:
    """The curves over (seed, step) of a cell's trainings, as they are; those by neuron left out.

    Args:
        runs: as `labelnoise.train.run.train` returns them.
    """
    return runs.drop_dims("neuron")


def headline(summary: xr.Dataset) -> dict[str, float]:
    """The numbers a person would sort runs by: means over the runs that did not diverge."""
    alive = np.isnan(summary["diverged_step"])
    last = summary.isel(step=-1)
    names = [*FINAL, *NORMS, *(["ntk_drift"] if "ntk_drift" in summary else [])]
    numbers = {f"final_{name}": last[name] for name in names}
    found = {name: float(value.where(alive).mean()) for name, value in numbers.items()}
    finite = {name: value for name, value in found.items() if np.isfinite(value)}
    return finite | {"runs": float(alive.size), "runs_diverged": float((~alive).sum())}

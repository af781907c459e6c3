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
    """The numbers a person would sort runs by, over the runs that did not diverge.

    `final_…` is the mean over seeds at the last step, `sd_…` its standard deviation over them.
    """
    alive = np.isnan(summary["diverged_step"])
    last = summary.isel(step=-1)
    names = [*FINAL, *NORMS, *(["ntk_drift"] if "ntk_drift" in summary else [])]
    living = last[names].where(alive)
    found = {f"final_{name}": float(living[name].mean()) for name in names}
    if int(alive.sum()) > 1:
        found |= {f"sd_{name}": float(living[name].std(ddof=1)) for name in names}
    finite = {name: value for name, value in found.items() if np.isfinite(value)}
    return finite | {"runs": float(alive.size), "runs_diverged": float((~alive).sum())}

"""The curves of an artifact as MLflow metrics with steps, thinned to what a chart can show."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from mlflow.entities import Metric

from labelnoise.analyze import summary, training
from labelnoise.artifacts.store import open_dataset

if TYPE_CHECKING:
    import xarray as xr

POINTS = 51
"""A mean curve has at most so many points."""

SEED_POINTS = 21
"""A seed's has at most so many: there are many seeds, and each point costs about 0.1 ms."""

MAIN = tuple(dict.fromkeys(summary.FINAL + training.FINAL))
"""A seed's run has these curves; the run of the mean, and the file, have all."""


def _thin(steps: np.ndarray, points: int) -> np.ndarray:
    return np.unique(np.linspace(0, len(steps) - 1, points).round().astype(int))


def _points(name: str, steps: np.ndarray, values: np.ndarray, time: int) -> list[Metric]:
    """A curve without what is not finite."""
    good = np.isfinite(values)
    pairs = zip(steps[good].tolist(), values[good].tolist(), strict=True)
    return [Metric(name, value, time, step) for step, value in pairs]


def _read(data: "xr.Dataset", only: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """The variables over (seed, step), or some of them; what is per neuron is left out."""
    return {
        str(name): variable.values
        for name, variable in data.data_vars.items()
        if variable.dims == ("seed", "step") and (not only or name in only)
    }


def by_seed(path: Path, time: int) -> Iterator[tuple[int, list[Metric]]]:
    """The seeds of a trajectory file, each with its main curves and their last values."""
    with open_dataset(path) as data:
        curves = _read(data, MAIN)
        steps, seeds = data["step"].values, data["seed"].values
        diverged = data["diverged_step"].values
    kept = _thin(steps, SEED_POINTS)
    for index, seed in enumerate(seeds.tolist()):
        metrics = []
        for name, values in curves.items():
            metrics += _points(name, steps[kept], values[index, kept], time)
            metrics += _points(f"final_{name}", np.zeros(1, int), values[index, -1:], time)
        metrics += _points("diverged_step", np.zeros(1, int), diverged[[index]], time)
        yield seed, metrics


def mean(path: Path, time: int) -> list[Metric]:
    """The curves of an analysis, averaged over the seeds that did not diverge."""
    with open_dataset(path) as data:
        curves = _read(data)
        steps = data["step"].values
        alive = np.isnan(data["diverged_step"].values)
    kept = _thin(steps, POINTS)
    if not alive.any():
        return []
    return [
        metric
        for name, values in curves.items()
        for metric in _points(name, steps[kept], values[alive][:, kept].mean(0), time)
    ]

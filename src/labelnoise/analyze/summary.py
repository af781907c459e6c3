"""From the trajectories of a cell to its curves and its few telling numbers."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from labelnoise.simulate.settings import Settings

from .phases import escape_step, onset_step, small_weights_step
from .regimes import REGIMES, regime

FINAL = ("train_loss", "test_loss", "theta_error", "w_norm_mean", "alignment_mean")
PHASES = ("escape_step", "alignment_step", "small_weights_step")


def _label(data: xr.DataArray, long_name: str, symbol: str, units: str = "1") -> xr.DataArray:
    return data.assign_attrs(long_name=long_name, symbol=symbol, units=units)


def analyze(
    settings: Settings,
    blocks: Sequence[xr.Dataset],
    *,
    lazy_threshold: float,
    alignment_onset: float,
) -> tuple[xr.Dataset, dict[str, float]]:
    """Everything that is said of one cell: its curves and phases, and its few telling numbers.

    Args:
        settings: of the cell.
        blocks: its runs, as `labelnoise.simulate.run.simulate_cell` returns them; a block of seeds
            each.
        lazy_threshold: as for `summarize`.
        alignment_onset: as for `summarize`.

    Returns:
        What `summarize` returns, in memory, and its `headline`.
    """
    runs = xr.concat(blocks, "seed", data_vars="minimal", coords="minimal", compat="override")
    along = "eta" in runs.dims
    eta = settings.as_learning_rate(runs["eta"]) if along else settings.learning_rate
    thresholds = {"lazy_threshold": lazy_threshold, "alignment_onset": alignment_onset}
    summary = summarize(runs, eta=eta, **thresholds).compute()
    return summary, headline(summary)


def summarize(
    runs: xr.Dataset,
    *,
    eta: float | xr.DataArray,
    lazy_threshold: float,
    alignment_onset: float,
) -> xr.Dataset:
    """The curves over (…, seed, step) and the phases over (…, seed) of one cell's runs.

    Args:
        runs: trajectories as `labelnoise.simulate.run.simulate` (or `simulate_along`, which has
            one dimension more) returns them.
        eta: learning rate η.
        lazy_threshold: displacement at which a neuron has left the lazy regime.
        alignment_onset: share of the way to 1 that the mean alignment goes before Phase II.

    Returns:
        What the trajectories hold of whole networks, as it is; `escape_step` (out of a fixed
        radius), `alignment_step`, `small_weights_step`, `diverged_step` and `regime` over the runs.
    """
    escape = _label(
        escape_step(runs["displacement_min"], lazy_threshold),
        f"step by which every neuron's displacement exceeds {lazy_threshold} (NaN: never)",
        "T₁",
        "step",
    )
    curves = runs.drop_dims(["neuron", "trace_step"], errors="ignore")
    return curves.assign(
        escape_step=escape.assign_attrs(threshold=lazy_threshold),
        alignment_step=_label(
            onset_step(runs["alignment_mean"], alignment_onset),
            f"step by which the mean alignment has gone {alignment_onset} of its way to 1 "
            "(NaN: never)",
            "T_II",
            "step",
        ),
        small_weights_step=_label(
            small_weights_step(runs["w_norm_max"], runs["a_max"], eta),
            "step by which every ‖w_i‖ and |a_i| is at most √η (NaN: never)",
            "T_√η",
            "step",
        ),
        regime=regime(runs, lazy_threshold),
    )


def headline(summary: xr.Dataset) -> dict[str, float]:
    """The numbers a person would sort runs by, over the runs that did not diverge.

    `final_…` is the mean over seeds at the last step (one snapshot, not a mean over steps) and
    `sd_…` its standard deviation over seeds. A phase's time is the mean over the runs, and is left
    out where some run never got there: the mean of the others would be early. `reached_…` counts
    those that did. Where the cell holds several points of a grid, nothing is averaged over them:
    there are the counts alone, with the number of runs in each regime.
    """
    alive = np.isnan(summary["diverged_step"])
    last = summary.isel(step=-1)
    finals = {f"final_{name}": last[name].where(alive) for name in FINAL}
    phases = {name: summary[name].where(alive) for name in PHASES}
    counts = {f"reached_{name}": float(value.notnull().sum()) for name, value in phases.items()}
    counts |= {"runs": float(alive.size), "runs_diverged": float((~alive).sum())}
    if alive.ndim > 1:
        codes = summary["regime"].values
        return counts | {f"runs_{n}": float((codes == k).sum()) for k, n in enumerate(REGIMES)}
    living = int(alive.sum())
    whole = {name: value for name, value in phases.items() if value.notnull().sum() == living}
    found: dict[str, float] = {}
    for name, value in (finals | whole).items() if living else ():
        found[name] = float(value.mean())
        if living > 1:
            found[f"sd_{name.removeprefix('final_')}"] = float(value.std(ddof=1))
    return found | counts

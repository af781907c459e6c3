"""From the trajectories of a cell to its curves and its few telling numbers."""

import numpy as np
import xarray as xr

from .phases import alignment_step, escape_step, small_weights_step

CURVES = (
    "train_loss",
    "test_loss",
    "theta_error",
    "theta_norm",
    "layer_displacement",
    "participation_ratio",
)
QUANTILES = (0.1, 0.5, 0.9)


def _label(data: xr.DataArray, long_name: str, symbol: str, units: str = "1") -> xr.DataArray:
    return data.assign_attrs(long_name=long_name, symbol=symbol, units=units)


def summarize(
    runs: xr.Dataset, *, eta: float, lazy_threshold: float, alignment_onset: float
) -> xr.Dataset:
    """The curves over (seed, step) and the phases over (seed) of one cell's runs.

    Args:
        runs: trajectories as `labelnoise.simulate.run.simulate` returns them.
        eta: learning rate η.
        lazy_threshold: displacement at which a neuron has left the lazy regime.
        alignment_onset: share of the way to 1 that the mean alignment goes before Phase II.

    Returns:
        The per-network curves as they are; mean, root mean square and quantiles over neurons;
        `escape_step`, `alignment_step`, `small_weights_step` and `diverged_step` over (seed).
    """
    w_norm, alignment = runs["w_norm"].astype("f8"), runs["alignment"].astype("f8")
    displacement = runs["displacement"].astype("f8")
    # a diverged run keeps NaN: skipna=False
    squared_a = (runs["a"].astype("f8") ** 2).mean("neuron", skipna=False)

    def quantiles(values: xr.DataArray) -> xr.DataArray:
        found = np.quantile(values.values, QUANTILES, axis=values.get_axis_num("neuron"))
        return xr.DataArray(np.moveaxis(found, 0, -1), dims=("seed", "step", "quantile"))

    return xr.Dataset(
        {name: runs[name] for name in CURVES}
        | {
            "w_norm_mean": _label(
                w_norm.mean("neuron", skipna=False), "mean first-layer norm", "mean ‖w_i‖"
            ),
            "w_norm_quantile": _label(
                quantiles(w_norm), "quantiles of the first-layer norm over neurons", "‖w_i‖"
            ),
            "alignment_mean": _label(
                alignment.mean("neuron", skipna=False),
                "mean alignment with the ground truth",
                "mean |⟨w_i, θ*⟩|/(‖w_i‖‖θ*‖)",
            ),
            "alignment_quantile": _label(
                quantiles(alignment), "quantiles of the alignment over neurons", "alignment_i"
            ),
            "a_rms": _label(squared_a**0.5, "root mean square second-layer weight", "√(mean a_i²)"),
            "displacement_min": _label(
                displacement.min("neuron", skipna=False),
                "relative distance from initialisation of the laziest neuron",
                "min_i ‖w_i(t) − w_i(0)‖/‖w_i(0)‖",
            ),
            "displacement_max": _label(
                displacement.max("neuron", skipna=False),
                "relative distance from initialisation of the least lazy neuron",
                "max_i ‖w_i(t) − w_i(0)‖/‖w_i(0)‖",
            ),
            "escape_step": _label(
                escape_step(runs["displacement"], lazy_threshold),
                f"step by which every neuron's displacement exceeds {lazy_threshold} (NaN: never)",
                "T₁",
                "step",
            ),
            "alignment_step": _label(
                alignment_step(runs["alignment"], alignment_onset),
                f"step by which the mean alignment has gone {alignment_onset} of its way to 1 "
                "(NaN: never)",
                "T_II",
                "step",
            ),
            "small_weights_step": _label(
                small_weights_step(runs["w_norm"], runs["a"], eta),
                "step by which every ‖w_i‖ and |a_i| is at most √η (NaN: never)",
                "T_√η",
                "step",
            ),
            "diverged_step": runs["diverged_step"],
        },
        coords={"quantile": ("quantile", list(QUANTILES), {"long_name": "quantile", "units": "1"})},
    )


def headline(summary: xr.Dataset) -> dict[str, float]:
    """The numbers a person would sort runs by: means over the seeds that did not diverge.

    A number that no seed has (a phase that none reached) is left out.
    """
    alive = summary.isel(seed=np.isnan(summary["diverged_step"].values))
    last = alive.isel(step=-1)
    numbers = {
        f"final_{name}": last[name].mean()
        for name in ("train_loss", "test_loss", "theta_error", "w_norm_mean", "alignment_mean")
    }
    numbers |= {
        name: alive[name].mean() for name in ("escape_step", "alignment_step", "small_weights_step")
    }
    found = {name: float(value) for name, value in numbers.items() if np.isfinite(value)}
    diverged = summary.sizes["seed"] - alive.sizes["seed"]
    return found | {"seeds": float(summary.sizes["seed"]), "seeds_diverged": float(diverged)}

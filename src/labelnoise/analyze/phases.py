"""The phases of a run: when the lazy regime ends, when alignment starts (paper §4.2–4.4)."""

import numpy as np
import xarray as xr
from jaxtyping import Float64, Num


def _crossing_of_one(
    values: Float64[np.ndarray, "step"], steps: Num[np.ndarray, "step"], level: float
) -> float:
    finite = np.isfinite(values)
    above = np.flatnonzero(finite & (values > level))
    if not len(above):
        return float("nan")
    after = above[0]
    if after == 0 or not finite[after - 1]:
        return float(steps[after])
    share = (level - values[after - 1]) / (values[after] - values[after - 1])
    return float(steps[after - 1] + share * (steps[after] - steps[after - 1]))


def first_crossing(curve: xr.DataArray, level: float | xr.DataArray) -> xr.DataArray:
    """The step at which a curve over `step` first exceeds `level`.

    Interpolated linearly between snapshots; the first step if the curve starts above; NaN if it
    never gets there. NaNs of the curve (a diverged run) count as never.
    """
    crossing: xr.DataArray = xr.apply_ufunc(
        _crossing_of_one,
        curve.astype("float64"),
        curve["step"],
        level,
        input_core_dims=[["step"], ["step"], []],
        vectorize=True,
    )
    return crossing.assign_attrs(units="step")


def escape_step(displacement: xr.DataArray, threshold: float) -> xr.DataArray:
    """T₁: the step by which every neuron has left the lazy regime (Definition 4.1, Theorem 4.2).

    Args:
        displacement: ‖w_i(t) − w_i(0)‖/‖w_i(0)‖ over (…, step, neuron).
        threshold: the displacement that counts as leaving.

    Returns:
        Steps over the remaining dims; NaN where some neuron never leaves.
    """
    return first_crossing(displacement.min("neuron"), threshold)


def alignment_step(alignment: xr.DataArray, onset: float) -> xr.DataArray:
    """The start of Phase II as the runs show it: when the rows have begun to turn towards θ*.

    Args:
        alignment: alignment of every neuron over (…, step, neuron).
        onset: the share of its way from its initial value to 1 that the mean alignment must go.

    Returns:
        Steps over the remaining dims; NaN where the alignment never gets there.
    """
    mean = alignment.mean("neuron").astype("float64")
    start = mean.isel(step=0, drop=True)
    return first_crossing(mean, start + onset * (1 - start))


def small_weights_step(w_norm: xr.DataArray, a: xr.DataArray, eta: float) -> xr.DataArray:
    """The start of Phase II as the theory has it: all ‖w_i‖ and |a_i| at most √η.

    Args:
        w_norm: ‖w_i‖ over (…, step, neuron).
        a: a_i over (…, step, neuron).
        eta: learning rate η.

    Returns:
        The step at which it first holds, over the remaining dims; NaN where it never does.
    """
    largest: xr.DataArray = xr.apply_ufunc(np.maximum, w_norm, abs(a)).max("neuron", skipna=False)
    return first_crossing(-largest.astype("float64"), -np.sqrt(eta))

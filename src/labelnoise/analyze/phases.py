"""The phases of a run: when the lazy regime ends, when alignment starts (paper §4.2–4.4)."""

import numpy as np
import xarray as xr
from jaxtyping import Float64, Num


def _crossing_of_one(
    values: Float64[np.ndarray, "step"], steps: Num[np.ndarray, "step"], level: float
) -> float:
    reached = np.flatnonzero(values >= level)  # never for NaN
    if not len(reached):
        return float("nan")
    after = reached[0]
    if after == 0 or not np.isfinite(values[after - 1]):
        return float(steps[after])
    share = (level - values[after - 1]) / (values[after] - values[after - 1])
    return float(steps[after - 1] + share * (steps[after] - steps[after - 1]))


def first_crossing(
    curve: xr.DataArray, level: float | xr.DataArray, *, below: bool = False
) -> xr.DataArray:
    """The step at which a curve over `step` first reaches a level, from below or (`below`) above.

    Interpolated linearly between snapshots; the first step if the curve starts there; NaN if it
    never gets there. NaNs of the curve (a diverged run) count as never.
    """
    sign = -1.0 if below else 1.0
    crossing: xr.DataArray = xr.apply_ufunc(
        _crossing_of_one,
        sign * curve.astype("float64"),
        curve["step"],
        sign * level,
        input_core_dims=[["step"], ["step"], []],
        vectorize=True,
    )
    return crossing.assign_attrs(units="step")


def escape_step(displacement_min: xr.DataArray, threshold: float) -> xr.DataArray:
    """T₁: the step by which every neuron has left the lazy regime (Definition 4.1, Theorem 4.2).

    Args:
        displacement_min: the least ‖w_i(t) − w_i(0)‖/‖w_i(0)‖ of all neurons over (…, step).
        threshold: the displacement that counts as leaving.

    Returns:
        Steps over the remaining dims; NaN where some neuron never leaves.
    """
    return first_crossing(displacement_min, threshold)


def onset_step(alignment_mean: xr.DataArray, onset: float) -> xr.DataArray:
    """The start of Phase II as the runs show it: when the rows have begun to turn towards θ*.

    Args:
        alignment_mean: mean alignment of all neurons over (…, step).
        onset: the share of its way from its initial value to 1 that the mean alignment must go.

    Returns:
        Steps over the remaining dims; NaN where the alignment never gets there.
    """
    start = alignment_mean.isel(step=0, drop=True)
    return first_crossing(alignment_mean, start + onset * (1 - start))


def small_weights_step(
    w_norm_max: xr.DataArray, a_max: xr.DataArray, eta: float | xr.DataArray
) -> xr.DataArray:
    """The start of Phase II as the theory has it: all ‖w_i‖ and |a_i| at most √η.

    Args:
        w_norm_max: largest ‖w_i‖ over (…, step).
        a_max: largest |a_i| over (…, step).
        eta: learning rate η.

    Returns:
        The step at which it first holds, over the remaining dims; NaN where it never does.
    """
    largest: xr.DataArray = xr.apply_ufunc(np.maximum, w_norm_max, a_max)
    # √η is where `initialisation: small` starts, up to rounding
    return first_crossing(largest, eta**0.5 * (1 + 1e-9), below=True)

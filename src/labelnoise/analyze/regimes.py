"""Where a run ends up: lazy, rich, noisy, collapsed or diverged."""

import numpy as np
import xarray as xr

REGIMES = ("lazy", "rich", "collapsed", "diverged", "noisy")
"""Names of the codes 0, 1, 2, 3, 4."""

TAIL = 0.25
"""The share of the steps, from the end, over which a noisy run is averaged."""

COLLAPSED = 0.2
"""A network whose effective predictor is shorter than this share of θ* predicts nothing."""


def step_mean(curve: xr.DataArray, share: float) -> xr.DataArray:
    """The mean of a curve over the last share of the run's steps, each step counted once.

    Only snapshots of that span are looked at. Between them the curve is taken to be straight, and
    before the first of them as high as there; so each has a weight in steps, whatever the spacing.

    Args:
        curve: over (…, step), the last snapshot being the run's last step.
        share: of the run's steps, in [0, 1]; 0 is the last snapshot.

    Returns:
        The mean over the remaining dims; NaN where a snapshot of the span is NaN.
    """
    steps = curve["step"].values.astype(np.float64)
    start = steps[-1] - share * (steps[-1] - steps[0])
    tail = np.flatnonzero(steps >= start)
    inside = steps[tail]
    # each snapshot stands for the steps half-way to its neighbours
    edges = np.concatenate([[start], (inside[1:] + inside[:-1]) / 2, [inside[-1]]])
    weights = np.diff(edges) if edges[-1] > edges[0] else np.ones(1)
    weighed = curve.isel(step=tail) * xr.DataArray(weights / weights.sum(), dims="step")
    return weighed.sum("step", skipna=False)


def regime(runs: xr.Dataset, lazy_threshold: float) -> xr.DataArray:
    """Classify runs by where they end.

    The first of these that holds:

    1. *diverged*: it did.
    2. *collapsed*: ‖Wᵀa‖ is under `COLLAPSED` of ‖θ*‖.
    3. *lazy*: the first layer moved less than `lazy_threshold` relative to its initial norm.
    4. *noisy*: it moved, and predicts no better than the zero predictor: the test loss
       ½‖Wᵀa − θ*‖² is at least ½‖θ*‖². The label noise throws θ about, far from θ*.
    5. *rich*: it moved, and predicts.

    ‖Wᵀa‖ and ½‖Wᵀa − θ*‖² are means over the last quarter of the steps (`step_mean`), whatever the
    spacing of the snapshots. The test loss meant is that of the whole distribution of inputs,
    N(0, I): the measured `test_loss` is that of a few inputs, whose scatter (10 % and more) would
    decide near the border.

    Args:
        runs: `theta_norm`, `theta_error`, `layer_displacement` over (…, step), `theta_star` over
            (…, dim) and `diverged_step` over (…).
        lazy_threshold: relative displacement of the first layer that counts as moved.

    Returns:
        Codes 0 … 4 over the runs, in the order of `REGIMES`.
    """
    zero_predictor = 0.5 * (runs["theta_star"] ** 2).sum("dim")
    predictor = step_mean(runs["theta_norm"], TAIL) / np.sqrt(2 * zero_predictor)
    loss = 0.5 * step_mean(runs["theta_error"] ** 2, TAIL)
    moved = runs["layer_displacement"].isel(step=-1, drop=True)
    # each line overrules the ones above it
    code = xr.ones_like(loss).where(loss < zero_predictor, 4)
    code = code.where(moved >= lazy_threshold, 0)
    code = code.where(predictor >= COLLAPSED, 2)
    code = code.where(runs["diverged_step"].isnull(), 3)
    return code.astype("i1").assign_attrs(
        long_name="regime at the end of the run",
        symbol="",
        units="1",
        flag_values=list(range(len(REGIMES))),
        flag_meanings=" ".join(REGIMES),
    )

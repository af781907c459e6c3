"""Where a run ends up: lazy, rich, noisy, collapsed or diverged."""

import numpy as np
import xarray as xr

REGIMES = ("lazy", "rich", "collapsed", "diverged", "noisy")
"""Names of the codes 0, 1, 2, 3, 4."""

TAIL = 0.25
"""The share of the snapshots, from the end, over which a noisy run is averaged."""

COLLAPSED = 0.2
"""A network whose effective predictor is shorter than this share of θ* predicts nothing."""


def regime(runs: xr.Dataset, lazy_threshold: float) -> xr.DataArray:
    """Classify runs by where they end.

    The first of these that holds:

    1. *diverged*: it did.
    2. *collapsed*: ‖Wᵀa‖ is under `COLLAPSED` of ‖θ*‖.
    3. *lazy*: the first layer moved less than `lazy_threshold` relative to its initial norm.
    4. *noisy*: it moved, and predicts no better than the zero predictor: the test loss
       ½‖Wᵀa − θ*‖² is at least ½‖θ*‖². The label noise throws θ about, far from θ*.
    5. *rich*: it moved, and predicts.

    ‖Wᵀa‖ and ½‖Wᵀa − θ*‖² are means over the last quarter of the snapshots. The test loss meant
    is that of the whole distribution of inputs, N(0, I): the measured `test_loss` is that of a
    few inputs, whose scatter (10 % and more) would decide near the border.

    Args:
        runs: `theta_norm`, `theta_error`, `layer_displacement` over (…, step), `theta_star` over
            (…, dim) and `diverged_step` over (…).
        lazy_threshold: relative displacement of the first layer that counts as moved.

    Returns:
        Codes 0 … 4 over the runs, in the order of `REGIMES`.
    """
    tail = runs.isel(step=slice(-max(1, round(TAIL * runs.sizes["step"])), None))
    zero_predictor = 0.5 * (runs["theta_star"] ** 2).sum("dim")
    predictor = tail["theta_norm"].mean("step") / np.sqrt(2 * zero_predictor)
    loss = 0.5 * (tail["theta_error"] ** 2).mean("step")
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

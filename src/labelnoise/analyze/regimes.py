"""Where a run ends up: lazy, rich, collapsed or diverged."""

import numpy as np
import xarray as xr

REGIMES = ("lazy", "rich", "collapsed", "diverged")
"""Names of the codes 0, 1, 2, 3."""

TAIL = 0.25
"""The share of the snapshots, from the end, over which a noisy run is averaged."""

COLLAPSED = 0.2
"""A network whose effective predictor is shorter than this share of θ* predicts nothing."""


def regime(runs: xr.Dataset, lazy_threshold: float) -> xr.DataArray:
    """Classify runs by where they end.

    *diverged*: it did; *collapsed*: ‖Wᵀa‖ (mean of the last quarter of the snapshots) is under
    `COLLAPSED` of ‖θ*‖; *lazy*: the first layer moved less than `lazy_threshold` relative to its
    initial norm; *rich*: it moved, and predicts.

    Args:
        runs: `theta_norm`, `layer_displacement` over (…, step), `theta_star` over (…, dim) and
            `diverged_step`.
        lazy_threshold: relative displacement of the first layer that counts as moved.

    Returns:
        Codes 0 … 3 over the runs, in the order of `REGIMES`.
    """
    tail = runs.isel(step=slice(-max(1, round(TAIL * runs.sizes["step"])), None))
    predictor = tail["theta_norm"].mean("step") / np.sqrt((runs["theta_star"] ** 2).sum("dim"))
    moved = runs["layer_displacement"].isel(step=-1, drop=True)
    code = (moved >= lazy_threshold).astype("i1")
    code = code.where(predictor >= COLLAPSED, 2)
    code = code.where(runs["diverged_step"].isnull(), 3)
    return code.astype("i1").assign_attrs(
        long_name="regime at the end of the run",
        symbol="",
        units="1",
        flag_values=list(range(len(REGIMES))),
        flag_meanings=" ".join(REGIMES),
    )

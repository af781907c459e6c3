"""The regimes of constructed and of simulated runs."""

import numpy as np
import pytest
import xarray as xr

from labelnoise.analyze.regimes import COLLAPSED, REGIMES, regime
from labelnoise.simulate.run import simulate, simulate_along
from labelnoise.simulate.settings import Settings

STEPS = 8
LENGTH = 2.0  # of θ*


def run(norm=LENGTH, error=0.1, moved=0.5, diverged=np.nan):
    """A run that ends like this; before its last quarter it was otherwise."""
    tail = np.arange(STEPS) >= STEPS - STEPS // 4
    curves = {
        "theta_norm": np.where(tail, norm, LENGTH),
        "theta_error": np.where(tail, error, 10 * LENGTH),
        "layer_displacement": np.where(np.arange(STEPS) == STEPS - 1, moved, 0.0),
    }
    if np.isfinite(diverged):
        for values in curves.values():
            values[np.arange(STEPS) >= diverged] = np.nan
    data = {name: (("seed", "step"), values[None]) for name, values in curves.items()}
    data["theta_star"] = (("seed", "dim"), np.array([[0.0, -LENGTH, 0.0]]))
    data["diverged_step"] = ("seed", np.array([diverged]))
    return xr.Dataset(data, coords={"seed": [0], "step": np.arange(STEPS)})


CASES = [
    ("lazy", {"moved": 0.09}),
    ("lazy", {"moved": 0.0, "error": 3 * LENGTH}),  # thrown about, but its weights hardly moved
    ("rich", {"moved": 0.1}),
    ("rich", {"error": 0.99 * LENGTH}),
    ("rich", {"norm": 1.01 * COLLAPSED * LENGTH}),
    ("noisy", {"error": LENGTH}),  # as bad as 0
    ("noisy", {"error": 5 * LENGTH, "norm": 5 * LENGTH}),
    ("collapsed", {"norm": 0.99 * COLLAPSED * LENGTH, "error": 0.99 * LENGTH}),
    ("collapsed", {"norm": 0.0, "error": LENGTH}),
    ("collapsed", {"norm": 0.0, "error": LENGTH, "moved": 0.0}),
    ("diverged", {"diverged": 0.0}),
    ("diverged", {"diverged": 3.0}),
    ("diverged", {"diverged": 7.0}),  # just before the end: one NaN
    ("diverged", {"diverged": 7.5}),  # after the last snapshot: none
]


@pytest.mark.parametrize(("expected", "ends"), CASES)
def test_a_run_that_ends_like_this_is(expected, ends):
    found = regime(run(**ends), 0.1)
    assert found.dims == ("seed",)
    assert found.dtype == np.int8
    assert REGIMES[found.item()] == expected


def test_the_loss_is_averaged_and_not_the_distance():
    """Half the time at θ*, half the time 1.6 ‖θ*‖ away: mean loss over, mean distance under."""
    data = run()
    data["theta_error"][0, -2:] = [0.0, 1.6 * LENGTH]
    assert REGIMES[regime(data, 0.1).item()] == "noisy"


def test_runs_along_more_dimensions_are_as_they_are_alone():
    runs = [run(**ends) for _, ends in CASES]
    rows = [xr.concat(runs[i : i + 7], "eta") for i in (0, 7)]
    found = regime(xr.concat(rows, "sigma"), 0.1)
    assert dict(found.sizes) == {"sigma": 2, "eta": 7, "seed": 1}
    names = [REGIMES[code] for code in found.values.ravel()]
    assert names == [expected for expected, _ in CASES]


def test_the_codes_say_what_they_mean():
    attributes = regime(run(), 0.1).attrs
    meanings = attributes["flag_meanings"].split()
    assert dict(zip(attributes["flag_values"], meanings, strict=True)) == dict(enumerate(REGIMES))
    assert {"long_name", "symbol", "units"} <= set(attributes)


SMALL = {"width": 30, "dim": 5, "samples": 20, "snapshots": 21, "neurons": 1}


@pytest.mark.parametrize(
    ("expected", "settings"),
    [
        ("lazy", {"sigma": 0.0, "width": 3000, "eta": 1e-4, "steps": 5000}),
        ("noisy", {"sigma": 20.0, "eta": 0.005, "steps": 5000}),
        ("rich", {"algorithm": "sam", "sigma": 0.0, "rho": 0.2, "eta": 0.01, "steps": 50_000}),
        (
            "collapsed",
            {"algorithm": "sam", "sigma": 0.0, "rho": 2.0, "eta": 0.002, "steps": 50_000},
        ),
        ("diverged", {"sigma": 0.0, "eta": 0.5, "steps": 5000}),
    ],
)
def test_simulated_runs_end_up_where_they_should(expected, settings):
    found = regime(simulate(Settings(**SMALL | settings), [0, 1]), 0.1)
    assert [REGIMES[code] for code in found.values] == [expected] * 2


def test_runs_in_one_batch_are_as_they_are_alone():
    points = [Settings(**SMALL, sigma=4.0, eta=eta, steps=2000) for eta in (1e-4, 0.005, 0.5)]
    together = regime(simulate_along("eta", points, [0, 1]), 0.1)
    for number, settings in enumerate(points):
        alone = regime(simulate(settings, [0, 1]), 0.1)
        np.testing.assert_array_equal(together.isel(eta=number), alone)
    assert len(np.unique(together)) > 1

"""The regimes of constructed and of simulated runs."""

import numpy as np
import pytest
import xarray as xr

from labelnoise.analyze.regimes import COLLAPSED, REGIMES, TAIL, regime, step_mean
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


def curve_at(steps, values):
    return xr.DataArray(np.asarray(values, float), coords={"step": np.asarray(steps)}, dims="step")


def test_the_mean_over_a_span_counts_steps_and_not_snapshots():
    """1 in steps 750 … 1000, 10 before: 1 wherever the snapshots are; and of a line."""
    log = np.append(0, np.geomspace(1, 1000, 40))
    for steps in (np.linspace(0, 1000, 41), log, [0, 900, 1000]):
        falls = curve_at(steps, np.where(np.asarray(steps) >= 750, 1.0, 10.0))
        assert step_mean(falls, 0.25).item() == pytest.approx(1)
    dense_at_its_start = np.concatenate([[0], np.linspace(750, 760, 50), [1000]])
    rising = curve_at(dense_at_its_start, dense_at_its_start)
    assert step_mean(rising, 0.25).item() == pytest.approx(875)
    assert step_mean(rising, 0.0).item() == 1000


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
    """Mostly 1.3 ‖θ*‖ away, else at θ*: the mean loss is over ½‖θ*‖², the mean distance under."""
    data = run()
    data["theta_error"][0, -2:] = [1.3 * LENGTH, 0.0]
    assert step_mean(data["theta_error"], TAIL).item() < LENGTH
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


@pytest.fixture(scope="module")
def of_figure_2():
    """Figure 2's network and noise for 40 % of its steps."""
    common = {"sigma": 4.0, "steps": 400_000, "neurons": 1, "test_samples": 1}
    return {
        spacing: simulate(Settings(**common, spacing=spacing, snapshots=41), [0, 1])
        for spacing in ("log", "linear")
    }


@pytest.mark.parametrize("spacing", ["log", "linear"])
def test_the_setting_of_figure_2_is_rich_whatever_the_spacing(spacing, of_figure_2):
    found = regime(of_figure_2[spacing], 0.1)
    assert [REGIMES[code] for code in found.values] == ["rich", "rich"]


def test_runs_in_one_batch_are_as_they_are_alone():
    points = [Settings(**SMALL, sigma=4.0, eta=eta, steps=2000) for eta in (1e-4, 0.005, 0.5)]
    together = regime(simulate_along("eta", points, [0, 1]), 0.1)
    for number, settings in enumerate(points):
        alone = regime(simulate(settings, [0, 1]), 0.1)
        np.testing.assert_array_equal(together.isel(eta=number), alone)
    assert len(np.unique(together)) > 1

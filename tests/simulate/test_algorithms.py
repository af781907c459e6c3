"""Every algorithm: the backends agree, reduction is exact, batches and threads change no bit."""

import numpy as np
import pytest
import xarray as xr

from labelnoise.simulate.chain import chain_levels
from labelnoise.simulate.run import simulate, simulate_along
from labelnoise.simulate.settings import Settings

MIXED = [[0.1, 0.6, 0.3], [0.25, 0.5, 0.25], [0.7, 0.2, 0.1]]
PAUSED = {"period": 300, "duty": 0.4, "start": 120}
BRIEF = {"period": 60, "duty": 0.4, "start": 20}
SMALL = {
    **{"width": 30, "dim": 5, "samples": 40, "eta": 0.003, "steps": 1000, "snapshots": 4},
    **{"trace_steps": 40, "test_samples": 50},
}
CASES = {
    "sgd": {"sigma": 2.0},
    "sgd, scheduled gaussian": {"sigma": 2.0, "noise": "gaussian", "schedule": PAUSED},
    "sgd, small": {"sigma": 0.5, "initialisation": "small"},
    "sam": {"algorithm": "sam", "sigma": 0.0, "rho": 0.3},
    "sam, scheduled gaussian": {
        **{"algorithm": "sam", "sigma": 2.0, "noise": "gaussian", "rho": 0.05},
        "schedule": {"intervals": [[0, 70], [300, 900]]},
    },
    "gd": {"algorithm": "gd", "sigma": 0.0, "eta": 0.02},
    "gd, small": {"algorithm": "gd", "sigma": 0.0, "initialisation": "small", "spacing": "log"},
    "oscillation": {"algorithm": "oscillation", "sigma": 0.0, "delta": 0.2},
    "oscillation, paused": {
        **{"algorithm": "oscillation", "sigma": 0.0, "delta": 0.2, "eta": 0.01},
        **{"transition": MIXED, "schedule": BRIEF, "trace_steps": 150},
    },
}
FEW = ["sgd", "sam, scheduled gaussian", "gd", "oscillation, paused"]
"""One case of each algorithm."""


def settings(case, **more):
    return Settings(**(SMALL | CASES[case] | more))


def assert_same_bits(found: xr.Dataset, expected: xr.Dataset) -> None:
    assert found.identical(expected)
    for name, variable in expected.variables.items():
        assert found[name].dtype == variable.dtype
        assert found[name].values.tobytes() == variable.values.tobytes(), name


def assert_close(found: xr.Dataset, expected: xr.Dataset) -> None:
    assert set(found.variables) == set(expected.variables)
    for name, variable in expected.data_vars.items():
        tolerance = 1e-10 if variable.dtype == np.float64 else 1e-6
        np.testing.assert_allclose(
            found[name], variable, rtol=tolerance, atol=tolerance * 1e-2, err_msg=str(name)
        )


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("reduce", [True, False])
def test_compiled_equals_torch(case, reduce):
    compiled = simulate(settings(case, reduce=reduce), [0, 7])
    assert (compiled["layer_displacement"].isel(step=-1) > 1e-3).all()
    assert_close(compiled, simulate(settings(case, reduce=reduce, backend="torch"), [0, 7]))


@pytest.mark.parametrize("shape", [(30, 5, 40), (30, 12, 5), (4, 12, 5)])
@pytest.mark.parametrize("case", CASES)
def test_reduced_equals_full(case, shape):
    """With more inputs than samples (d > n) the inputs are rotated; the chain's width is kept."""
    given = dict(zip(("width", "dim", "samples"), shape, strict=True))
    reduced, full = (simulate(settings(case, **given, reduce=r), [0, 7]) for r in (True, False))
    assert_close(reduced, full)


@pytest.mark.parametrize("case", FEW)
def test_batch_axis_and_threads_change_no_bit(case):
    """A run alone, among other seeds, along a dimension beside one that diverges, on 2 threads."""
    seeds, etas = [3, 0], [0.003, 20.0, 0.001]
    points = [settings(case, eta=eta) for eta in etas]
    along = simulate_along("eta", points, seeds)
    assert along.sizes["eta"] == 3
    np.testing.assert_array_equal(along["eta"], etas)
    assert_same_bits(simulate_along("eta", points, seeds, threads=2), along)
    assert np.isfinite(along["diverged_step"].sel(eta=20.0)).all()
    assert np.isnan(along["diverged_step"].sel(eta=[0.003, 0.001])).all()
    for eta, point in zip(etas, points, strict=True):
        batch = simulate(point, seeds)
        assert_same_bits(batch, along.sel(eta=eta, drop=True))
        for seed in seeds:
            assert_same_bits(simulate(point, [seed]), batch.sel(seed=[seed]))


@pytest.mark.parametrize(
    ("case", "axis", "values"),
    [
        ("sgd, scheduled gaussian", "sigma", [0.0, 1.0, 2.0]),
        ("sam", "rho", [0.0, 0.1, 0.3]),
        ("oscillation, paused", "delta", [0.1, 0.2]),
        ("gd", "theta_star_norm", [0.5, 1.0]),
        ("gd, small", "eta", [0.001, 0.003]),
    ],
)
@pytest.mark.parametrize("backend", ["compiled", "torch"])
def test_along_a_dimension_is_point_by_point(case, axis, values, backend):
    more = {"backend": backend, "steps": 500, "schedule": None, "trace_steps": 20}
    points = [settings(case, **(more | {axis: value})) for value in values]
    along = simulate_along(axis, points, [5, 1])
    assert along["theta"].dims == (axis, "seed", "step", "dim")
    last = along["theta"].isel(step=-1)
    assert (abs(last.diff(axis)).max("dim") > 1e-9).all()
    for value, point in zip(values, points, strict=True):
        assert_same_bits(along.sel({axis: value}, drop=True), simulate(point, [5, 1]))


@pytest.mark.parametrize("case", FEW)
@pytest.mark.parametrize("backend", ["compiled", "torch"])
def test_what_is_recorded_does_not_change_the_run(case, backend):
    given = {"backend": backend, "steps": 300}
    sparse = simulate(settings(case, **given, snapshots=2, trace_steps=0, neurons=1), [0])
    dense = simulate(settings(case, **given, snapshots=151, trace_steps=100), [0])
    traced = {"a_trace", "identity_error", "trace_step", "trace_neuron"}
    kept = dense.isel(step=-1, neuron=[0]).drop_vars(traced, errors="ignore")
    assert_same_bits(sparse.isel(step=-1), kept)


@pytest.mark.parametrize("case", ["sam", "gd", "oscillation"])
def test_bad_points_are_refused(case):
    with pytest.raises(ValueError, match="at least one"):
        simulate_along("eta", [settings(case)], [])


def test_the_traced_second_layer_is_the_chain_and_holds_while_paused():
    given = settings("oscillation, paused")
    runs = simulate(given, [2])
    active = given.schedule.is_on(0, 151)
    levels = chain_levels(2, np.array(MIXED), 30, 0, 151, active=active.astype(np.uint8))
    trace = runs["a_trace"].sel(seed=2)
    np.testing.assert_array_equal(trace, np.float32(0.2 * levels[:, :4]))
    moved = (np.diff(levels, axis=0) != 0).any(1)
    assert not moved[~active[:-1]].any()
    assert moved[active[:-1]].all()
    last = simulate(given.model_copy(update={"steps": 150, "snapshots": 2}), [2]).isel(step=-1)
    np.testing.assert_array_equal(last["a"].sel(seed=2), np.float32(0.2 * levels[-1]))
    assert last["a_max"].item() == pytest.approx(0.2)


def test_gd_knows_no_sample_order_and_no_noise_law():
    quiet = simulate(settings("gd"), [0])
    assert_same_bits(quiet, simulate(settings("gd", noise="gaussian"), [0]))
    one = simulate(settings("sgd", sigma=0.0, eta=1e-5, samples=1, trace_steps=0), [0])
    whole = simulate(settings("gd", eta=1e-5, samples=1, trace_steps=0), [0])
    # with one sample SGD without noise is gradient descent
    assert_close(one, whole)

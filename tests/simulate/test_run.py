"""A run is a pure function of settings and seed, whatever computes it and whatever is recorded."""

import doctest
import importlib

import numpy as np
import pytest
import xarray as xr

from labelnoise.simulate import engines
from labelnoise.simulate.problem import draw_problem
from labelnoise.simulate.run import simulate, snapshot_steps
from labelnoise.simulate.settings import Settings

SMALL = Settings(
    width=30, dim=5, samples=40, eta=0.003, sigma=2.0, steps=3000, snapshots=4, trace_steps=50
)


def change(**settings):
    return Settings(**(SMALL.model_dump() | settings))


def assert_same_bits(found: xr.Dataset, expected: xr.Dataset) -> None:
    assert found.identical(expected)
    for name, variable in expected.variables.items():
        assert found[name].dtype == variable.dtype
        assert found[name].values.tobytes() == variable.values.tobytes(), name


@pytest.mark.parametrize("noise", ["sign", "gaussian"])
@pytest.mark.parametrize("reduce", [True, False])
def test_compiled_equals_torch(noise, reduce):
    settings = {"noise": noise, "reduce": reduce}
    compiled = simulate(change(**settings), [0, 7])
    reference = simulate(change(**settings, backend="torch"), [0, 7])
    for name, variable in compiled.data_vars.items():
        tolerance = 1e-10 if variable.dtype == np.float64 else 1e-6
        np.testing.assert_allclose(
            variable, reference[name], rtol=tolerance, atol=tolerance * 1e-2, err_msg=str(name)
        )


@pytest.mark.parametrize("backend", ["compiled", "torch"])
def test_a_run_has_the_same_bits_alone_and_in_a_batch(backend):
    settings = change(backend=backend, steps=1000)
    batch = simulate(settings, [3, 0, 2**32 - 1])
    for seed in (3, 0, 2**32 - 1):
        assert_same_bits(simulate(settings, [seed]), batch.sel(seed=[seed]))


@pytest.mark.parametrize("reduce", [True, False])
def test_threads_change_no_bit(reduce):
    settings = change(reduce=reduce)
    assert_same_bits(
        simulate(settings, [0, 1, 2], threads=2), simulate(settings, [0, 1, 2], threads=1)
    )


@pytest.mark.parametrize("backend", ["compiled", "torch"])
def test_what_is_recorded_does_not_change_the_run(backend):
    few = change(backend=backend, steps=1000, snapshots=2, trace_steps=0)
    many = change(backend=backend, steps=1000, snapshots=11, trace_steps=500)
    sparse, dense = simulate(few, [0, 1]), simulate(many, [0, 1])
    assert_same_bits(
        sparse.isel(step=-1).drop_dims("trace_step"), dense.isel(step=-1).drop_dims("trace_step")
    )


def test_the_split_into_chunks_does_not_change_the_run(monkeypatch):
    run = importlib.import_module("labelnoise.simulate.run")
    whole = simulate(SMALL, [0])
    monkeypatch.setattr(run, "CHUNK", 17)
    assert_same_bits(simulate(SMALL, [0]), whole)


def test_snapshots_are_even_and_hold_both_ends():
    assert snapshot_steps(change(steps=10, snapshots=3, trace_steps=0)).tolist() == [0, 5, 10]
    every = change(steps=10, snapshots=11, trace_steps=0)
    assert snapshot_steps(every).tolist() == list(range(11))


def test_progress_counts_up_to_the_last_step():
    seen: list[int] = []
    simulate(SMALL, [0], progress=seen.append)
    assert seen == sorted(set(seen))
    assert seen[-1] == SMALL.steps


def test_sigma_and_eta_change_neither_data_nor_order_nor_signs(monkeypatch):
    """Runs over σ and η are paired: their noise is proportional, all else the same."""
    fed: list[tuple[np.ndarray, np.ndarray]] = []

    class Spy(engines.CompiledEngine):
        def advance(self, order, noise):
            fed.append((order, noise))
            super().advance(order, noise)

    monkeypatch.setattr(importlib.import_module("labelnoise.simulate.run"), "CompiledEngine", Spy)
    streams = []
    for settings in (change(sigma=1.0), change(sigma=3.0, eta=1e-4), change(sigma=0.0)):
        fed.clear()
        simulate(settings, [4, 5])
        streams.append([np.concatenate(part, axis=1) for part in zip(*fed, strict=True)])
    (order, noise), (other_order, other_noise), (quiet_order, quiet_noise) = streams
    assert order.shape == (2, SMALL.steps)
    np.testing.assert_array_equal(order, other_order)
    np.testing.assert_array_equal(order, quiet_order)
    np.testing.assert_array_equal(other_noise, 3 * noise)
    np.testing.assert_array_equal(quiet_noise, 0)
    one, other = draw_problem(change(sigma=1.0), 4), draw_problem(change(sigma=0.0, eta=0.1), 4)
    for name, array in vars(one).items():
        np.testing.assert_array_equal(array, vars(other)[name])


def test_seeds_give_different_runs():
    runs = simulate(change(steps=100), [0, 1])
    for name in ("theta_star", "theta", "w_norm", "a", "train_loss"):
        first, second = runs[name].values
        assert not np.isclose(first, second, rtol=1e-6).any(), name


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ([], r"at least one, got \[\]"),
        ([1, 1], r"distinct .* got \[1, 1\]"),
        ([-1], "seed must be in .* got -1"),
        ([0, 2**32], f"seed must be in .* got {2**32}"),
    ],
)
def test_bad_seeds_are_refused(seeds, message):
    with pytest.raises(ValueError, match=message):
        simulate(change(steps=100), seeds)


def test_every_variable_says_what_it_is():
    runs = simulate(change(steps=100), [0])
    for name, variable in runs.variables.items():
        assert variable.attrs["long_name"], name
        assert variable.attrs["units"], name


def test_the_docstring_example_runs():
    result = doctest.testmod(importlib.import_module("labelnoise.simulate.run"))
    assert result.attempted >= 4
    assert result.failed == 0

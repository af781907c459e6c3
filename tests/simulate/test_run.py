"""A run is a pure function of settings and seed, whatever computes it and whatever is recorded."""

import doctest
import importlib

import numpy as np
import pytest
import xarray as xr

from labelnoise.config.fields import snapshot_steps
from labelnoise.simulate.engines import Run
from labelnoise.simulate.problem import draw_problem
from labelnoise.simulate.run import simulate
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
    assert not {"a_trace", "identity_error", "trace_step"} & set(sparse.variables)
    traced = {"a_trace", "identity_error", "trace_step", "trace_neuron"}
    assert_same_bits(sparse.isel(step=-1), dense.isel(step=-1).drop_vars(traced))


def test_the_split_into_chunks_does_not_change_the_run(monkeypatch):
    run = importlib.import_module("labelnoise.simulate.run")
    whole = simulate(SMALL, [0])
    monkeypatch.setattr(run, "CHUNK", 17)
    assert_same_bits(simulate(SMALL, [0]), whole)


def test_snapshots_are_even_and_hold_both_ends():
    assert snapshot_steps(change(steps=10, snapshots=3, trace_steps=0)).tolist() == [0, 5, 10]
    every = change(steps=10, snapshots=11, trace_steps=0)
    assert snapshot_steps(every).tolist() == list(range(11))


@pytest.mark.parametrize(
    ("steps", "snapshots"), [(100_000, 60), (400_000, 301), (50, 40), (7, 3), (1, 2), (1000, 2)]
)
def test_snapshots_in_the_logarithm_are_geometric_and_hold_both_ends(steps, snapshots):
    found = snapshot_steps(change(steps=steps, snapshots=snapshots, trace_steps=0, spacing="log"))
    assert found[0] == 0
    assert found[-1] == steps
    assert (np.diff(found) > 0).all()
    assert len(found) <= snapshots
    if snapshots == 2:
        return
    assert found[1] == 1
    # every one is the nearest whole number to a term of the progression from 1 to the last
    ratio = steps ** (1 / (snapshots - 2))
    terms = [ratio**k for k in range(snapshots - 1)]
    assert max(min(abs(step - term) for term in terms) for step in found[1:]) <= 0.5 + 1e-6
    assert max(min(abs(step - term) for step in found[1:]) for term in terms) <= 0.5 + 1e-6


def test_what_is_recorded_follows_the_spacing():
    even = simulate(change(snapshots=3001), [0])
    spaced = change(snapshots=20, spacing="log")
    runs = simulate(spaced, [0])
    np.testing.assert_array_equal(runs["step"], snapshot_steps(spaced))
    assert_same_bits(runs, even.sel(step=runs["step"]))


def test_the_learning_rate_is_eta_in_its_unit():
    width = SMALL.width
    by_width = simulate(change(eta=width / 512, eta_unit="1/m"), [0])
    assert change(eta=width / 512, eta_unit="1/m").learning_rate == 1 / 512
    assert_same_bits(by_width, simulate(change(eta=1 / 512), [0]))


def test_progress_counts_up_to_the_last_step():
    seen: list[int] = []
    simulate(SMALL, [0], progress=seen.append)
    assert seen == sorted(set(seen))
    assert seen[-1] == SMALL.steps


def test_sigma_and_eta_change_neither_data_nor_order_nor_signs(monkeypatch):
    """Runs over σ and η are paired: their noise is proportional, all else the same."""
    fed: dict[str, dict[int, list[np.ndarray]]] = {}

    class Spy(Run):
        def order(self, start, count):
            found = super().order(start, count)
            fed.setdefault("order", {}).setdefault(self.seed, []).append(found)
            return found

        def noise(self, start, count):
            found = super().noise(start, count)
            fed.setdefault("noise", {}).setdefault(self.seed, []).append(found)
            return found

    monkeypatch.setattr(importlib.import_module("labelnoise.simulate.run"), "Run", Spy)
    streams = []
    for more in ({"sigma": 1.0}, {"sigma": 3.0, "eta": 1e-4}, {"sigma": 0.0}):
        fed.clear()
        # no trace: what is looked at for it would be counted twice
        simulate(change(**more, trace_steps=0), [4, 5])
        streams.append(
            [
                np.stack([np.concatenate(fed[part][seed]) for seed in (4, 5)])
                for part in ("order", "noise")
            ]
        )
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


@pytest.mark.parametrize("algorithm", ["sgd", "gd", "oscillation"])
def test_every_variable_says_what_it_is(algorithm):
    sigma = {"sgd": 2.0}.get(algorithm, 0.0)
    runs = simulate(change(steps=100, algorithm=algorithm, sigma=sigma), [0])
    assert ("identity_error" in runs) == (algorithm == "sgd")
    for name, variable in runs.variables.items():
        assert variable.attrs["long_name"], name
        assert variable.attrs["units"], name


def test_the_docstring_example_runs():
    result = doctest.testmod(importlib.import_module("labelnoise.simulate.run"))
    assert result.attempted >= 4
    assert result.failed == 0

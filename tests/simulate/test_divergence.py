"""A run that diverges is a result: its step is recorded and it touches no other run."""

import numpy as np
import pytest

from labelnoise.simulate.compiled_engine import CompiledEngine
from labelnoise.simulate.problem import draw_problem, sample_order
from labelnoise.simulate.run import prepare, simulate
from labelnoise.simulate.settings import Settings
from labelnoise.simulate.torch_engine import TorchEngine

SEEDS = range(8)


def settings(**more):
    """Some of `SEEDS` diverge and some do not."""
    given = {"eta": 0.06, "sigma": 0.0, "snapshots": 101, "steps": 100, "trace_steps": 60} | more
    return Settings(width=30, dim=5, samples=20, **given)


@pytest.fixture(scope="module")
def mixed():
    runs = simulate(settings(), SEEDS)
    assert 0 < np.isfinite(runs["diverged_step"]).sum() < len(SEEDS)
    return runs


def test_all_is_finite_until_a_run_diverges_and_nan_from_then_on(mixed):
    for seed in SEEDS:
        run = mixed.sel(seed=seed)
        step = float(run["diverged_step"])
        last = np.inf if np.isnan(step) else step
        for name, variable in run.data_vars.items():
            for axis in {"step", "trace_step"} & set(variable.dims):
                finite = np.isfinite(variable.transpose(axis, ...).values)
                finite = finite.reshape(len(finite), -1)
                taken = variable[axis].values <= last
                assert finite[taken].all(), name
                assert not finite[~taken].any(), name


OTHERS = [
    {"algorithm": "sam", "rho": 0.5},
    {"algorithm": "sam", "sigma": 4.0, "eta": 0.3},
    {"algorithm": "gd", "eta": 0.3},
    {"algorithm": "oscillation", "delta": 6.0, "eta": 0.1, "snapshots": 11, "trace_steps": 0},
]


@pytest.mark.parametrize("more", [{}, {"sigma": 4.0}, {"eta": 0.3}, *OTHERS])
@pytest.mark.parametrize("reduce", [True, False])
def test_both_backends_diverge_at_the_same_step(more, reduce):
    compiled = simulate(settings(**more, reduce=reduce), SEEDS)
    torch = simulate(settings(**more, reduce=reduce, backend="torch"), SEEDS)
    assert np.isfinite(compiled["diverged_step"]).any()
    np.testing.assert_array_equal(compiled["diverged_step"], torch["diverged_step"])


@pytest.mark.parametrize("backend", ["compiled", "torch"])
def test_the_other_runs_of_a_batch_are_untouched(backend):
    given = settings(backend=backend)
    batch = simulate(given, SEEDS)
    for seed in batch["seed"].values[np.isnan(batch["diverged_step"])]:
        alone = simulate(given, [int(seed)])
        assert alone.identical(batch.sel(seed=[seed]))


def test_what_is_recorded_does_not_change_where_a_run_diverges(mixed):
    sparse = simulate(settings(snapshots=2, trace_steps=0), SEEDS)
    np.testing.assert_array_equal(sparse["diverged_step"], mixed["diverged_step"])


def test_a_run_diverges_when_the_naive_residual_explodes(mixed):
    """The last recorded state predicts its own label by more than any finite run would."""
    for seed in mixed["seed"].values[np.isfinite(mixed["diverged_step"])]:
        run = mixed.sel(seed=seed)
        problem = draw_problem(settings(), int(seed))
        order = sample_order(int(seed), 20, 0, 100)
        theta = run["theta"].values  # snapshots are at every step
        residuals = [problem.x[i] @ theta[t] - problem.y[i] for t, i in enumerate(order)]
        assert int(run["diverged_step"]) == np.flatnonzero(~(np.abs(residuals) <= 1e10))[0]


@pytest.mark.parametrize("engine", [CompiledEngine, TorchEngine])
def test_a_run_that_is_too_fast_stops_and_its_neighbour_goes_on(engine):
    def states(etas, chunks):
        runs = [prepare(settings(eta=eta, sigma=1.0, reduce=False), 0) for eta in etas]
        runner = engine(runs)
        for size in chunks:
            runner.advance(size)
        return [runner.core(run) for run in range(len(etas))], runner.diverged_step

    both, diverged = states([0.001, 5.0], [50, 50])
    alone, _ = states([0.001], [100])
    np.testing.assert_array_equal(both[0], alone[0])
    assert np.isnan(diverged[0])
    assert 0 < diverged[1] < 50
    stopped, _ = states([5.0], [int(diverged[1])])
    np.testing.assert_array_equal(both[1], stopped[0])


@pytest.mark.parametrize("more", OTHERS)
def test_other_algorithms_are_finite_until_they_diverge_too(more):
    runs = simulate(settings(**more), SEEDS)
    diverged = runs["diverged_step"]
    assert np.isfinite(diverged).any()
    taken = runs["step"] <= diverged.fillna(np.inf)
    for name in ("train_loss", "w_norm_max", "a_rms"):
        found = np.isfinite(runs[name]).transpose(*taken.dims)
        np.testing.assert_array_equal(found, taken, err_msg=name)


@pytest.mark.parametrize("engine", [CompiledEngine, TorchEngine])
def test_a_state_that_was_looked_at_is_not_changed_by_later_steps(engine):
    for algorithm in ("sgd", "sam", "gd", "oscillation"):
        for reduce in (True, False):
            runner = engine([prepare(settings(algorithm=algorithm, eta=0.01, reduce=reduce), 0)])
            before = runner.core(0)
            copy = before.copy()
            runner.advance(5)
            np.testing.assert_array_equal(before, copy)
            assert np.abs(runner.core(0) - copy).max() > 1e-6


@pytest.mark.filterwarnings("error")
def test_a_run_that_diverges_at_once_says_so_without_a_warning():
    runs = simulate(settings(theta_star_norm=1e12), [0])
    assert runs["diverged_step"].item() == 0
    assert np.isnan(runs["identity_error"]).all()

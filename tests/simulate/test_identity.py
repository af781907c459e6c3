"""Lemma 4.3's identity, (a_i(t+1) − a_i(t))² = η²r²(x·w_i)², as it is watched in a run."""

import numpy as np
import pytest

from labelnoise.simulate.compiled_engine import CompiledEngine
from labelnoise.simulate.engines import Run
from labelnoise.simulate.run import _ExpectedMoves, prepare, simulate
from labelnoise.simulate.settings import Settings

TRACED = 60
CASES = [
    {},
    {"noise": "gaussian", "schedule": {"period": 20, "duty": 0.3}},
    {"dim": 12, "samples": 5},
    {"width": 3, "trace_neurons": 2},
    {"sigma": 0.0},
    {"eta_unit": "1/m", "eta": 0.1},
]


def settings(**more):
    given = {"width": 30, "dim": 5, "samples": 20, "eta": 0.004, "sigma": 2.0} | more
    return Settings(steps=200, snapshots=3, trace_steps=TRACED, test_samples=10, **given)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("reduce", [True, False])
@pytest.mark.parametrize("backend", ["compiled", "torch"])
def test_it_holds_to_rounding(case, reduce, backend):
    runs = simulate(settings(**case, reduce=reduce, backend=backend), [0, 1])
    assert runs["identity_error"].dims == ("seed",)
    assert (runs["identity_error"] < 1e-10).all()


@pytest.mark.parametrize("case", CASES)
def test_the_traced_moves_are_those_of_the_identity(case):
    """Independently, from the snapshots of every step: nothing but the recorded data is used."""
    given = settings(**case).model_copy(update={"snapshots": 201})
    runs = simulate(given, [0]).sel(seed=0)
    run = prepare(given, 0)
    moves = np.diff(runs["a_trace"].astype("f8"), axis=0) ** 2
    order, noise = run.order(0, TRACED), run.noise(0, TRACED)
    x, y = run.problem.x[order], run.problem.y[order]
    residual = (runs["theta"].values[:TRACED] * x).sum(1) - y - noise
    # w_i is not recorded; (x·w_i)² of the first step is that of the initial network
    hidden = run.problem.w[: given.trace_neurons] @ x[0]
    expected = (given.learning_rate * residual[0] * hidden) ** 2
    np.testing.assert_allclose(moves[0], expected, rtol=2e-2, atol=1e-9)


def watched(run, believed, spoil=lambda core: core):
    """The relative error that the watch finds in a run that it believes to be another."""
    engine, watch = CompiledEngine([run]), _ExpectedMoves([believed], slice(0, 4))
    for step in range(TRACED + 1):
        core = spoil(engine.core(0))
        watch.look(0, core, run.reduction.lift_a(engine.core(0), slice(0, 4)), step)
        engine.advance(1)
    return float(watch.relative_error()[0])


@pytest.mark.parametrize("reduce", [True, False])
def test_it_is_sensitive_to_the_learning_rate(reduce):
    """Believed to be k times what it is, the squares are 1/k² of what is expected."""
    run = prepare(settings(reduce=reduce), 0)
    assert watched(run, run) < 1e-10
    for factor in (2.0, 1.001):
        believed = prepare(settings(reduce=reduce, eta=0.004 * factor), 0)
        found = watched(run, believed)
        assert found == pytest.approx(1 - factor**-2, rel=1e-6)


@pytest.mark.parametrize("reduce", [True, False])
def test_it_is_sensitive_to_the_state_the_order_and_the_noise(reduce):
    run = prepare(settings(reduce=reduce), 0)
    assert watched(run, run, lambda core: core * [*[1.01] * 5, 1.0]) > 1e-3
    assert watched(run, run, lambda core: core * [*[1.0] * 5, 1.5]) > 1e-3
    louder = prepare(settings(reduce=reduce, sigma=2.01), 0)
    assert watched(run, louder) > 1e-3
    unscheduled = prepare(settings(reduce=reduce, schedule={"period": 7}), 0)
    assert watched(unscheduled, unscheduled) < 1e-10
    assert watched(run, unscheduled) > 0.5
    other_order = Run(run.settings, 1, run.problem, run.reduction)
    assert watched(run, other_order) > 0.5


def test_only_traced_sgd_has_it():
    assert "identity_error" in simulate(settings(), [0])
    assert "identity_error" not in simulate(settings().model_copy(update={"trace_steps": 0}), [0])
    assert "identity_error" not in simulate(settings(algorithm="sam"), [0])

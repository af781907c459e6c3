"""The exact reduction: the core's run, lifted, is the full network's run."""

import numpy as np
import pytest

from labelnoise.simulate.compiled_engine import CompiledEngine
from labelnoise.simulate.engines import Run
from labelnoise.simulate.problem import draw_problem
from labelnoise.simulate.reduction import no_reduction, reduce
from labelnoise.simulate.run import prepare
from labelnoise.simulate.settings import Settings
from labelnoise.simulate.torch_engine import TorchEngine

SHAPES = [  # width, dim, samples
    (60, 5, 30),
    (300, 20, 200),
    (50, 12, 5),  # more inputs than samples
    (4, 12, 5),  # ... and fewer neurons than inputs
    (3, 6, 20),  # m < d + 1
    (7, 6, 20),  # m = d + 1
    (1, 4, 10),
    (40, 1, 10),
    (1, 1, 1),
    (30, 3, 1),
]
STEPS = 10_000


def settings(width, dim, samples, **more):
    eta = 0.02 / (dim + 1)
    given = {"eta": eta, "sigma": 1.0, "trace_neurons": 1, "test_samples": 1} | more
    return Settings(width=width, dim=dim, samples=samples, **given)


def final_state(shrink, engine, run_settings, seed, steps=STEPS):
    """[W | a] of the full network after a run."""
    problem = draw_problem(run_settings, seed)
    reduction = shrink(problem.w, problem.a, problem.x)
    runner = engine([Run(run_settings, seed, problem, reduction)])
    runner.advance(steps)
    assert np.isnan(runner.diverged_step).all()
    return np.column_stack(reduction.lift(runner.core(0)))


def distance(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_reduced_equals_full_compiled(shape):
    run_settings = settings(*shape)
    for seed in (0, 1):
        full = final_state(no_reduction, CompiledEngine, run_settings, seed)
        reduced = final_state(reduce, CompiledEngine, run_settings, seed)
        assert distance(reduced, full) < 1e-12


@pytest.mark.parametrize("shape", [(60, 5, 30), (50, 12, 5)])
def test_reduced_equals_full_torch(shape):
    run_settings = settings(*shape)
    full = final_state(no_reduction, TorchEngine, run_settings, 0)
    reduced = final_state(reduce, TorchEngine, run_settings, 0)
    assert distance(reduced, full) < 1e-12


def test_reduced_equals_full_at_the_papers_setting():
    run_settings = settings(1000, 20, 200, eta=1e-3, sigma=4.0)
    full = final_state(no_reduction, CompiledEngine, run_settings, 0)
    reduced = final_state(reduce, CompiledEngine, run_settings, 0)
    assert distance(reduced, full) < 1e-12


@pytest.mark.parametrize("shape", SHAPES)
def test_the_core_lifts_back_to_the_network(shape):
    problem = draw_problem(settings(*shape), 3)
    reduction = reduce(problem.w, problem.a, problem.x)
    w, a = reduction.lift(reduction.core)
    np.testing.assert_allclose(w, problem.w, rtol=0, atol=1e-13)
    np.testing.assert_allclose(a, problem.a, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(reduction.lift_a(reduction.core), a)
    few = slice(0, min(2, len(a)))
    np.testing.assert_allclose(reduction.lift_a(reduction.core, few), a[few], rtol=0, atol=1e-15)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_core_is_as_small_as_it_can_be_and_its_bases_orthonormal(shape):
    width, dim, samples = shape
    problem = draw_problem(settings(*shape), 3)
    reduction = reduce(problem.w, problem.a, problem.x)
    inputs = min(dim, samples)
    assert reduction.core.shape == (min(width, inputs + 1), inputs + 1)
    assert reduction.inputs.shape == (samples, inputs)
    for basis in (reduction.neuron_basis, reduction.input_basis):
        if basis is not None:
            identity = np.eye(basis.shape[1])
            np.testing.assert_allclose(basis.T @ basis, identity, rtol=0, atol=1e-13)


def test_the_rest_is_what_the_inputs_do_not_see():
    problem = draw_problem(settings(50, 12, 5), 0)
    reduction = reduce(problem.w, problem.a, problem.x)
    np.testing.assert_allclose(reduction.rest @ problem.x.T, 0, atol=1e-13)
    np.testing.assert_allclose(
        reduction.inputs @ reduction.input_basis.T, problem.x, rtol=0, atol=1e-13
    )


def test_no_reduction_is_the_network_itself():
    problem = draw_problem(settings(50, 12, 5), 0)
    reduction = no_reduction(problem.w, problem.a, problem.x)
    w, a = reduction.lift(reduction.core)
    np.testing.assert_array_equal(w, problem.w)
    np.testing.assert_array_equal(a, problem.a)


@pytest.mark.parametrize("shape", [(50, 12, 5), (60, 5, 30)])
def test_without_the_width_only_the_inputs_are_rotated(shape):
    width, dim, samples = shape
    problem = draw_problem(settings(*shape), 0)
    reduction = reduce(problem.w, problem.a, problem.x, width=False)
    assert reduction.neuron_basis is None
    assert reduction.core.shape == (width, min(dim, samples) + 1)
    w, a = reduction.lift(reduction.core)
    np.testing.assert_allclose(w, problem.w, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(a, problem.a)


@pytest.mark.parametrize("algorithm", ["sgd", "sam", "gd", "oscillation"])
def test_a_run_is_reduced_as_far_as_its_rule_allows(algorithm):
    given = {"algorithm": algorithm, "sigma": 0.0}
    reduced = prepare(settings(50, 12, 5, **given), 0).reduction
    assert reduced.core.shape == ((50 if algorithm == "oscillation" else 6), 6)
    assert prepare(settings(50, 12, 5, reduce=False, **given), 0).reduction.core.shape == (50, 13)

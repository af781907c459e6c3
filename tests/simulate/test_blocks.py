"""SGD and SAM in blocks: the plain loops' steps, and the same bits however they are split."""

import numpy as np
import pytest

from labelnoise.simulate import blocks, compiled
from labelnoise.simulate.compiled_engine import CompiledEngine
from labelnoise.simulate.problem import draw_problem, label_noise, sample_order
from labelnoise.simulate.run import prepare
from labelnoise.simulate.settings import Settings

LIMIT = 1e10
# width, dim, samples: one vector of neurons, two, three, four, and three and one; odd dims
SHAPES = [(1, 1, 1), (6, 5, 30), (16, 12, 5), (21, 20, 200), (30, 7, 40), (100, 3, 8)]


def problem_of(shape, steps, sigma=1.0):
    width, dim, samples = shape
    settings = Settings(width=width, dim=dim, samples=samples, trace_neurons=1, test_samples=1)
    problem = draw_problem(settings, 3)
    order = sample_order(3, samples, 0, steps)
    return problem, order, sigma * label_noise(3, "sign", 0, steps)


def in_blocks(problem, order, noise, eta, *radius, gram=None):
    """[W | a] after these steps, and how many were taken."""
    core = np.column_stack([problem.w, problem.a])
    state, late = blocks.pack(core), np.zeros(blocks.BLOCK, np.int64)
    gram = blocks.products(problem.x) if gram is None else gram
    kernel = blocks.sam if radius else blocks.sgd
    taken = kernel(state, late, problem.x, problem.y, gram, order, noise, eta, *radius, LIMIT)
    blocks.settle(state, late, problem.x)
    state = state[: core.shape[1]]
    assert (state[:, len(core) :] == 0).all()  # the padding
    return state[:, : len(core)].T, taken


def one_by_one(problem, order, noise, eta, *radius):
    """The same by the plain loop."""
    core = np.column_stack([problem.w, problem.a])
    state = compiled.pack(core)
    kernel = compiled.sam if radius else compiled.sgd
    taken = kernel(state, problem.x, problem.y, order, noise, eta, *radius, LIMIT)
    return state[:, : len(core)].T, taken


@pytest.mark.parametrize("radius", [(), (0.1,)])
@pytest.mark.parametrize("shape", SHAPES)
def test_blocks_take_the_plain_loops_steps(shape, radius):
    for steps in (0, 1, 2, 3, 4, 5, 11, 1000):
        problem, order, noise = problem_of(shape, steps)
        found, taken = in_blocks(problem, order, noise, 0.02 / shape[1], *radius)
        expected, _ = one_by_one(problem, order, noise, 0.02 / shape[1], *radius)
        assert taken == steps
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("shape", SHAPES)
def test_products_found_on_the_way_have_the_bits_of_those_looked_up(shape):
    problem, order, noise = problem_of(shape, 50)
    looked_up, _ = in_blocks(problem, order, noise, 0.02 / shape[1], 0.1)
    found, _ = in_blocks(problem, order, noise, 0.02 / shape[1], 0.1, gram=np.empty((0, 0)))
    np.testing.assert_array_equal(found, looked_up)


def test_products_are_the_gram_matrix_unless_that_is_large(monkeypatch):
    x = np.random.default_rng(0).standard_normal((30, 7))
    np.testing.assert_allclose(blocks.products(x), x @ x.T, rtol=0, atol=1e-13)
    monkeypatch.setattr(blocks, "_MOST_SAMPLES", 29)
    assert blocks.products(x).size == 0


@pytest.mark.parametrize("radius", [(), (0.1,)])
def test_a_run_that_diverges_stops_before_the_step_that_it_does_not_take(radius):
    """At each place in a block, as the noise that ends the run is moved by a step."""
    problem, order, noise = problem_of((30, 7, 40), 60)
    for place in range(20, 25):
        burst = noise.copy()
        burst[place] = 1e11
        found, taken = in_blocks(problem, order, burst, 0.003, *radius)
        assert taken == place
        stopped, _ = in_blocks(problem, order[:place], noise[:place], 0.003, *radius)
        np.testing.assert_array_equal(found, stopped)


@pytest.mark.parametrize("algorithm", ["sgd", "sam"])
@pytest.mark.parametrize("reduce", [True, False])
def test_the_split_into_calls_changes_no_bit(algorithm, reduce):
    settings = Settings(algorithm=algorithm, width=30, dim=5, samples=40, sigma=1.0, reduce=reduce)

    def core(*counts):
        engine = CompiledEngine([prepare(settings, 0)])
        for count in counts:
            engine.advance(count)
            engine.core(0)
        return engine.core(0)

    for steps in (7, 8, 1000):
        whole = core(steps)
        np.testing.assert_array_equal(core(1, 2, 0, 1, steps - 4), whole)
        np.testing.assert_array_equal(core(*[1] * 7, steps - 7), whole)
        np.testing.assert_array_equal(core(*[steps // 4] * 4, steps % 4), whole)

"""Full-batch gradient descent against autograd, SGD's mean, its own limits and the reduction."""

import numpy as np
import pytest
import torch

from labelnoise.simulate.compiled import gd, pack
from labelnoise.simulate.problem import draw_problem
from labelnoise.simulate.reduction import no_reduction, reduce
from labelnoise.simulate.rules import gd_step, sgd_step
from labelnoise.simulate.settings import Settings

STEPS, LIMIT = 5000, 1e10
SHAPES = [  # width, dim, samples
    (60, 5, 30),
    (300, 20, 200),
    (50, 12, 5),  # more inputs than samples
    (4, 12, 5),
    (1, 1, 1),
]


def draw(shape, seed=0):
    width, dim, samples = shape
    settings = Settings(width=width, dim=dim, samples=samples, trace_neurons=1, test_samples=1)
    return draw_problem(settings, seed)


def moments(x, y):
    """Σ̂ and ĉ."""
    return x.T @ x / len(x), x.T @ y / len(x)


def final_network(shrink, problem, eta, steps):
    """[W | a] of the full network after a compiled run."""
    reduction = shrink(problem.w, problem.a, problem.x)
    state = pack(reduction.core)
    assert gd(state, *moments(reduction.inputs, problem.y), steps, eta, LIMIT) == steps
    neurons = len(reduction.core)
    assert (state[:, neurons:] == 0).all()  # the padding
    return np.column_stack(reduction.lift(state[:, :neurons].T))


def distance(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def tensors(*arrays):
    return [torch.as_tensor(array, dtype=torch.float64)[None] for array in arrays]


def test_a_step_is_autograd_on_the_whole_training_set():
    problem = draw((6, 4, 9))
    w, a = (torch.tensor(array, requires_grad=True) for array in (problem.w, problem.a))
    x, y = torch.tensor(problem.x), torch.tensor(problem.y)
    (0.5 * (x @ w.T @ a - y) ** 2).mean().backward()
    batch = tensors(problem.w, problem.a, *moments(problem.x, problem.y), 0.1)
    next_w, next_a, g = gd_step(*batch)
    torch.testing.assert_close(next_w[0], (w - 0.1 * w.grad).detach(), rtol=0, atol=1e-14)
    torch.testing.assert_close(next_a[0], (a - 0.1 * a.grad).detach(), rtol=0, atol=1e-14)
    expected = (x.T @ (x @ w.T @ a - y) / len(x)).detach()
    torch.testing.assert_close(g[0], expected, rtol=0, atol=1e-14)


def test_a_step_is_the_mean_of_the_steps_of_sgd():
    problem = draw((6, 4, 9))
    samples = len(problem.y)
    w, a, eta = tensors(problem.w, problem.a, 0.1)
    steps = sgd_step(
        w.expand(samples, -1, -1),
        a.expand(samples, -1),
        torch.tensor(problem.x),
        torch.tensor(problem.y),
        eta.expand(samples),
    )
    next_w, next_a, _ = gd_step(w, a, *tensors(*moments(problem.x, problem.y)), eta)
    torch.testing.assert_close(next_w[0], steps[0].mean(0), rtol=0, atol=1e-14)
    torch.testing.assert_close(next_a[0], steps[1].mean(0), rtol=0, atol=1e-14)


@pytest.mark.parametrize("shape", [(60, 5, 30), (7, 12, 5)])
def test_compiled_equals_torch(shape):
    problem, eta = draw(shape), 0.01
    w, a, covariance, correlation = tensors(problem.w, problem.a, *moments(problem.x, problem.y))
    for _ in range(2000):
        w, a, _ = gd_step(w, a, covariance, correlation, torch.tensor([eta], dtype=w.dtype))
    found = final_network(no_reduction, problem, eta, 2000)
    assert distance(found, np.column_stack([w[0], a[0]])) < 1e-12


@pytest.mark.parametrize("shape", SHAPES)
def test_reduced_equals_full(shape):
    problem = draw(shape)
    full = final_network(no_reduction, problem, 0.01, STEPS)
    assert distance(final_network(reduce, problem, 0.01, STEPS), full) < 1e-12
    assert distance(full, np.column_stack([problem.w, problem.a])) > 1e-3


def test_it_fits_the_labels():
    problem = draw((60, 5, 30))
    network = final_network(reduce, problem, 0.05, STEPS)
    theta = network[:, :-1].T @ network[:, -1]
    np.testing.assert_allclose(theta, problem.theta_star, rtol=0, atol=1e-12)


def conserved(network):
    """WWᵀ − aaᵀ, which gradient flow conserves."""
    w, a = network[:, :-1], network[:, -1]
    return w @ w.T - np.outer(a, a)


def test_the_conserved_quantity_drifts_at_order_eta():
    """A step changes it by η²(‖g‖² aaᵀ − Wg(Wg)ᵀ), all steps of a fixed time by order η."""
    problem, time = draw((8, 3, 5)), 2.0
    start = np.column_stack([problem.w, problem.a])
    drifts = [
        np.linalg.norm(
            conserved(final_network(no_reduction, problem, time / steps, steps)) - conserved(start)
        )
        for steps in (500, 1000, 2000, 4000)
    ]
    orders = np.log2(np.divide(drifts[:-1], drifts[1:]))
    np.testing.assert_allclose(orders, 1, atol=0.02)
    assert abs(orders[2] - 1) < abs(orders[0] - 1)


def test_a_step_changes_the_conserved_quantity_at_second_order_only():
    problem, eta = draw((8, 3, 5)), 0.1
    covariance, correlation = moments(problem.x, problem.y)
    g = covariance @ problem.w.T @ problem.a - correlation
    projected = problem.w @ g
    start = np.column_stack([problem.w, problem.a])
    change = conserved(final_network(no_reduction, problem, eta, 1)) - conserved(start)
    expected = g @ g * np.outer(problem.a, problem.a) - np.outer(projected, projected)
    np.testing.assert_allclose(change, eta**2 * expected, rtol=0, atol=1e-14)


def test_the_split_into_calls_changes_no_bit():
    problem = draw((60, 5, 30))
    core = np.column_stack([problem.w, problem.a])
    whole, parts = pack(core), pack(core)
    gd(whole, *moments(problem.x, problem.y), 1000, 0.01, LIMIT)
    for steps in (1, 0, 499, 500):
        gd(parts, *moments(problem.x, problem.y), steps, 0.01, LIMIT)
    np.testing.assert_array_equal(parts, whole)


def test_a_run_that_diverges_stops_before_the_step_that_it_does_not_take():
    problem = draw((60, 5, 30))
    covariance, correlation = moments(problem.x, problem.y)
    core = np.column_stack([problem.w, problem.a])
    state, again = pack(core), pack(core)
    taken = gd(state, covariance, correlation, STEPS, 2.0, LIMIT)
    assert 0 < taken < STEPS
    gd(again, covariance, correlation, taken, 2.0, LIMIT)
    np.testing.assert_array_equal(state, again)
    g = covariance @ (state[:-1] @ state[-1]) - correlation
    assert not (abs(g) <= LIMIT).all()

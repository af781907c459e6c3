"""SAM: the closed form against autograd's two passes, the compiled kernel, and the reduction."""

import numpy as np
import pytest
import torch

from labelnoise.simulate.compiled import pack, sam, sgd
from labelnoise.simulate.problem import draw_problem, label_noise, sample_order
from labelnoise.simulate.reduction import no_reduction, reduce
from labelnoise.simulate.rules import sam_step, sgd_step
from labelnoise.simulate.settings import Settings

RUNS, NEURONS, DIM = 3, 6, 4
STEPS, LIMIT = 5000, 1e10


def batch(neurons=NEURONS):
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    eta, rho = torch.tensor([[0.01, 0.1, 0.3], [0.5, 0.1, 2.0]], dtype=torch.float64)
    return (normal(RUNS, neurons, DIM), normal(RUNS, neurons), normal(RUNS, DIM), normal(RUNS)), (
        eta,
        rho,
    )


def run_inputs(shape, sigma, seed=0, steps=STEPS):
    """A problem, its learning rate, and the order and noise of its steps."""
    width, dim, samples = shape
    settings = Settings(width=width, dim=dim, samples=samples, trace_neurons=1, test_samples=1)
    order = sample_order(seed, samples, 0, steps)
    noise = sigma * label_noise(seed, "sign", 0, steps)
    return draw_problem(settings, seed), 0.02 / (dim + 1), order, noise


def final_network(shrink, shape, sigma, rho, kernel=sam):
    """[W | a] of the full network after a compiled run."""
    problem, eta, order, noise = run_inputs(shape, sigma)
    reduction = shrink(problem.w, problem.a, problem.x)
    state = pack(reduction.core)
    radius = (rho,) if kernel is sam else ()
    taken = kernel(state, reduction.inputs, problem.y, order, noise, eta, *radius, LIMIT)
    assert taken == STEPS
    neurons = len(reduction.core)
    assert (state[:, neurons:] == 0).all()  # the padding
    return np.column_stack(reduction.lift(state[:, :neurons].T))


def distance(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def test_a_step_is_two_passes_of_autograd():
    tensors, (eta, rho) = batch()
    next_w, next_a, residuals = sam_step(*tensors, eta, rho)
    for run in range(RUNS):
        w, a, x, target = (tensor[run] for tensor in tensors)
        parameters = torch.cat([w.flatten(), a])

        def loss(p, x=x, target=target):
            output = p[-NEURONS:] @ p[:-NEURONS].reshape(NEURONS, DIM) @ x
            return 0.5 * (output - target) ** 2

        gradient = torch.func.grad(loss)
        slope = gradient(parameters)
        there = gradient(parameters + rho[run] * slope / slope.norm())
        expected = parameters - eta[run] * there
        found = torch.cat([next_w[run].flatten(), next_a[run]])
        torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)
        assert residuals[run] == sgd_step(*tensors, eta)[2][run]


@pytest.mark.parametrize("vanishing", ["residual", "weights", "input"])
def test_a_step_where_the_gradient_vanishes_is_none(vanishing):
    (w, a, x, target), (eta, rho) = batch()
    if vanishing == "residual":
        w, a, x, target = w.round(), a.round(), x.round(), torch.zeros_like(target)
        target = sgd_step(w, a, x, target, eta)[2]
    elif vanishing == "weights":
        w, a = torch.zeros_like(w), torch.zeros_like(a)
    else:
        x = torch.zeros_like(x)
    next_w, next_a, _ = sam_step(w, a, x, target, eta, rho)
    assert torch.equal(next_w, w)
    assert torch.equal(next_a, a)
    for run in range(RUNS):
        state = pack(np.column_stack([w[run], a[run]]))
        before, y = state.copy(), target[run : run + 1].numpy()
        order, noise = np.zeros(3, np.int32), np.zeros(3)
        assert sam(state, x[run : run + 1].numpy(), y, order, noise, 0.1, 1.0, LIMIT) == 3
        np.testing.assert_array_equal(state, before)


@pytest.mark.parametrize("sigma", [0.0, 1.0])
@pytest.mark.parametrize("shape", [(60, 5, 30), (7, 12, 5)])
def test_compiled_equals_torch(shape, sigma):
    problem, eta, order, noise = run_inputs(shape, sigma)
    eta_, rho = torch.tensor([[eta], [0.1]], dtype=torch.float64)
    w, a, x = (torch.as_tensor(array)[None] for array in (problem.w, problem.a, problem.x))
    for i, target in zip(order, problem.y[order] + noise, strict=True):
        w, a, _ = sam_step(w, a, x[:, i], torch.tensor([target]), eta_, rho)
    found = final_network(no_reduction, shape, sigma, 0.1)
    assert distance(found, np.column_stack([w[0], a[0]])) < 1e-10


@pytest.mark.parametrize("sigma", [0.0, 1.0])
@pytest.mark.parametrize(
    "shape", [(60, 5, 30), (300, 20, 200), (50, 12, 5), (4, 12, 5), (1, 4, 10), (30, 3, 1)]
)
def test_reduced_equals_full(shape, sigma):
    full = final_network(no_reduction, shape, sigma, 0.1)
    assert distance(final_network(reduce, shape, sigma, 0.1), full) < 1e-10


def test_radius_0_is_sgd_to_the_bit():
    shape = (60, 5, 30)
    found = final_network(reduce, shape, 1.0, 0.0)
    np.testing.assert_array_equal(found, final_network(reduce, shape, 1.0, None, sgd))
    tensors, (eta, rho) = batch()
    for tensor, expected in zip(
        sam_step(*tensors, eta, 0 * rho), sgd_step(*tensors, eta), strict=True
    ):
        torch.testing.assert_close(tensor, expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("width", [NEURONS, 50])
def test_a_step_commutes_with_orthonormal_columns(width):
    (w, a, x, target), (eta, rho) = batch()
    matrix = np.random.default_rng(1).standard_normal((RUNS, width, NEURONS))
    q = torch.as_tensor(np.linalg.qr(matrix)[0])
    small_w, small_a, small_r = sam_step(w, a, x, target, eta, rho)
    large_w, large_a, large_r = sam_step(q @ w, (q @ a[..., None])[..., 0], x, target, eta, rho)
    torch.testing.assert_close(large_w, q @ small_w, rtol=0, atol=1e-13)
    torch.testing.assert_close(large_a, (q @ small_a[..., None])[..., 0], rtol=0, atol=1e-13)
    torch.testing.assert_close(large_r, small_r, rtol=0, atol=1e-13)


def test_the_split_into_calls_changes_no_bit():
    problem, eta, order, noise = run_inputs((60, 5, 30), 1.0)
    core = np.column_stack([problem.w, problem.a])
    whole, parts = pack(core), pack(core)
    sam(whole, problem.x, problem.y, order, noise, eta, 0.1, LIMIT)
    for cut in np.split(np.arange(STEPS), [1, 2, 2, 1000]):
        sam(parts, problem.x, problem.y, order[cut], noise[cut], eta, 0.1, LIMIT)
    np.testing.assert_array_equal(parts, whole)


def test_a_run_that_diverges_stops_before_the_step_that_it_does_not_take():
    problem, _, order, noise = run_inputs((60, 5, 30), 1.0)
    core = np.column_stack([problem.w, problem.a])
    state, again = pack(core), pack(core)
    taken = sam(state, problem.x, problem.y, order, noise, 2.0, 0.1, LIMIT)
    assert 0 < taken < STEPS
    sam(again, problem.x, problem.y, order[:taken], noise[:taken], 2.0, 0.1, LIMIT)
    np.testing.assert_array_equal(state, again)
    theta = state[:-1] @ state[-1]
    i = order[taken]
    assert not abs(problem.x[i] @ theta - problem.y[i] - noise[taken]) <= LIMIT

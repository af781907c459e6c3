"""The model linearised at t = 0 against its explicit Taylor expansion, and the wide network."""

import numpy as np
import pytest
import torch

from labelnoise.simulate.compiled import gd, linear, linear_gd, pack, sgd
from labelnoise.simulate.problem import draw_problem, label_noise, sample_order
from labelnoise.simulate.settings import Settings

from .linear_rules import linear_gd_step, linear_step, linearise

# torch's own forward mode still calls it
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")

ETA, STEPS, LIMIT = 0.01, 400, 1e10


def draw(width=12, dim=4, samples=9, seed=0):
    settings = Settings(width=width, dim=dim, samples=samples, trace_neurons=1, test_samples=1)
    return draw_problem(settings, seed)


def moments(problem):
    """Σ̂ and ĉ."""
    n = len(problem.y)
    return problem.x.T @ problem.x / n, problem.x.T @ problem.y / n


def start(problem):
    """θ_lin(0) and M."""
    metric = problem.a @ problem.a * np.eye(problem.w.shape[1]) + problem.w.T @ problem.w
    return problem.w.T @ problem.a, metric


def drawn_steps(problem, sigma, steps=STEPS):
    order = sample_order(0, len(problem.y), 0, steps)
    return order, sigma * label_noise(0, "gaussian", 0, steps)


class Taylor:
    """f(x; p(0)) + ∂f/∂p (p − p(0)) in all parameters of the network, trained by autograd."""

    def __init__(self, problem):
        self.width, self.dim = problem.w.shape
        self.origin = torch.tensor(np.concatenate([problem.w.ravel(), problem.a]))
        self.parameters = self.origin.clone()
        self.x, self.y = torch.tensor(problem.x), torch.tensor(problem.y)

    def network(self, parameters, x):
        w = parameters[: -self.width].reshape(self.width, self.dim)
        return x @ w.T @ parameters[-self.width :]

    def outputs(self, parameters, x):
        change = (parameters - self.origin,)
        value, slope = torch.func.jvp(lambda p: self.network(p, x), (self.origin,), change)
        return value + slope

    def step(self, x, targets):
        def loss(p):
            return (0.5 * (self.outputs(p, x) - targets) ** 2).mean()

        self.parameters = self.parameters - ETA * torch.func.grad(loss)(self.parameters)

    def predictor(self):
        return self.outputs(self.parameters, torch.eye(self.dim, dtype=torch.float64)).numpy()


@pytest.mark.parametrize("shape", [(12, 4, 9), (6, 7, 3), (1, 1, 2)])
@pytest.mark.parametrize("sigma", [0.0, 2.0])
def test_sgd_is_that_of_the_taylor_expansion(shape, sigma):
    problem = draw(*shape)
    order, noise = drawn_steps(problem, sigma)
    taylor = Taylor(problem)
    theta, metric = start(problem)
    batch, eta = torch.tensor(theta)[None], torch.tensor([ETA], dtype=torch.float64)
    for i, epsilon in zip(order, noise, strict=True):
        target = taylor.y[i] + epsilon
        taylor.step(taylor.x[i], target)
        args = (taylor.x[i][None], target[None], torch.tensor(metric)[None], eta)
        batch, _ = linear_step(batch, *args)
    mx = problem.x @ metric
    assert linear(theta, problem.x, problem.y, mx, order, noise, ETA, LIMIT) == STEPS
    expected = taylor.predictor()
    np.testing.assert_allclose(batch[0], expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(theta, expected, rtol=1e-12, atol=1e-12)
    assert np.linalg.norm(theta - start(problem)[0]) > 0.1


@pytest.mark.parametrize("shape", [(12, 4, 9), (6, 7, 3), (1, 1, 2)])
def test_gd_is_that_of_the_taylor_expansion(shape):
    problem = draw(*shape)
    taylor = Taylor(problem)
    theta, metric = start(problem)
    given = [torch.tensor(array)[None] for array in (*moments(problem), metric)]
    batch, eta = torch.tensor(theta)[None], torch.tensor([ETA], dtype=torch.float64)
    for _ in range(STEPS):
        taylor.step(taylor.x, taylor.y)
        batch, _ = linear_gd_step(batch, *given, eta)
    assert linear_gd(theta, *moments(problem), metric, STEPS, ETA, LIMIT) == STEPS
    expected = taylor.predictor()
    np.testing.assert_allclose(batch[0], expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(theta, expected, rtol=1e-12, atol=1e-12)
    assert np.linalg.norm(theta - start(problem)[0]) > 0.1


def test_the_residuals_are_those_before_the_step():
    problem = draw()
    (theta, metric), (covariance, correlation) = start(problem), moments(problem)
    tensors = [torch.tensor(array)[None] for array in (theta, problem.x[0], metric)]
    target, eta = torch.tensor([0.7], dtype=torch.float64), torch.tensor([ETA])
    _, r = linear_step(tensors[0], tensors[1], target, tensors[2], eta)
    assert r.item() == pytest.approx(problem.a @ problem.w @ problem.x[0] - 0.7, abs=1e-14)
    given = [torch.tensor(array)[None] for array in (covariance, correlation)]
    _, g = linear_gd_step(tensors[0], *given, tensors[2], eta)
    np.testing.assert_allclose(g[0], covariance @ theta - correlation, rtol=0, atol=1e-14)


def test_the_metric_is_the_tangent_kernel():
    """xᵀMx' is the product of the parameter gradients at x and x'."""
    problem = draw()
    taylor = Taylor(problem)
    jacobian = torch.func.jacrev(lambda p: taylor.network(p, taylor.x))(taylor.origin)
    theta, metric = linearise(torch.tensor(problem.w)[None], torch.tensor(problem.a)[None])
    kernel = taylor.x @ metric[0] @ taylor.x.T
    torch.testing.assert_close(kernel, jacobian @ jacobian.T, rtol=1e-13, atol=1e-13)
    outputs = taylor.network(taylor.origin, taylor.x)
    torch.testing.assert_close(taylor.x @ theta[0], outputs, rtol=0, atol=1e-13)


def test_a_wider_network_stays_nearer_to_it():
    """Without noise, at the same time η·steps·m: the lazy regime."""
    steps, errors = 4000, []
    for width in (64, 256, 1024):
        problem = draw(width, 5, 20)
        order, noise = drawn_steps(problem, 0.0, steps)
        (theta, metric), eta = start(problem), 0.05 / width
        rest = (order, noise, eta, LIMIT)
        linear(theta, problem.x, problem.y, problem.x @ metric, *rest)
        state = pack(np.column_stack([problem.w, problem.a]))
        sgd(state, problem.x, problem.y, *rest)
        moved = np.linalg.norm(theta - problem.w.T @ problem.a)
        errors.append(np.linalg.norm(state[:-1] @ state[-1] - theta) / moved)
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert errors[2] < 1e-2


def test_a_small_step_of_the_network_is_one_of_it():
    """They differ at second order in η: the network's step also has the term ΔWᵀΔa."""
    problem = draw()
    errors = []
    for eta in (1e-2, 5e-3, 2.5e-3):
        theta, metric = start(problem)
        state = pack(np.column_stack([problem.w, problem.a]))
        gd(state, *moments(problem), 1, eta, LIMIT)
        linear_gd(theta, *moments(problem), metric, 1, eta, LIMIT)
        errors.append(np.linalg.norm(state[:-1] @ state[-1] - theta))
    np.testing.assert_allclose(np.log2(np.divide(errors[:-1], errors[1:])), 2, atol=1e-6)


@pytest.mark.parametrize("kernel", [linear, linear_gd])
def test_the_split_into_calls_changes_no_bit_and_divergence_stops(kernel):
    problem = draw()
    order, noise = drawn_steps(problem, 1.0)

    def run(theta, first, last, eta):
        metric = start(problem)[1]
        if kernel is linear_gd:
            return linear_gd(theta, *moments(problem), metric, last - first, eta, LIMIT)
        steps = slice(first, last)
        given = (problem.x, problem.y, problem.x @ metric, order[steps], noise[steps])
        return linear(theta, *given, eta, LIMIT)

    for eta in (ETA, 5.0):
        whole, parts = start(problem)[0], start(problem)[0]
        taken = run(whole, 0, STEPS, eta)
        assert (taken == STEPS) == (eta == ETA)
        cut = min(taken // 2, 150)
        assert run(parts, 0, cut, eta) + run(parts, cut, taken, eta) == taken
        np.testing.assert_array_equal(parts, whole)
        assert np.isfinite(whole).all()

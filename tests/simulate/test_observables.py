"""A whole experiment against a naive float64 loop of a few lines, and the law of the data."""

import numpy as np
import pytest
from scipy import stats

from labelnoise.simulate.observe import observe
from labelnoise.simulate.problem import Problem, draw_problem, label_noise, sample_order
from labelnoise.simulate.run import simulate, snapshot_steps
from labelnoise.simulate.settings import Settings

CASES = [
    {"width": 30, "dim": 5, "samples": 40, "noise": "sign"},
    {"width": 30, "dim": 5, "samples": 40, "noise": "gaussian", "theta_star_norm": 2.5},
    {"width": 20, "dim": 9, "samples": 4, "noise": "sign"},
    {"width": 1, "dim": 1, "samples": 1, "noise": "sign", "trace_neurons": 1},
]


def naive(settings: Settings, seed: int) -> dict[str, np.ndarray]:
    """All that is recorded of a run, as the paper defines it, neuron by neuron."""
    problem = draw_problem(settings, seed)
    order = sample_order(seed, settings.samples, 0, settings.steps)
    noise = settings.sigma * label_noise(seed, settings.noise, 0, settings.steps)
    w, a = problem.w.copy(), problem.a.copy()
    star = problem.theta_star
    recorded: dict[str, list] = {}

    def record(name, value):
        recorded.setdefault(name, []).append(value)

    wanted = set(snapshot_steps(settings).tolist())
    for t in range(settings.steps + 1):
        if t <= settings.trace_steps:
            record("a_trace", a[: settings.trace_neurons].copy())
        if t in wanted:
            norms = np.array([np.linalg.norm(row) for row in w])
            theta = sum(a[i] * w[i] for i in range(len(a)))
            record("w_norm", norms)
            record("alignment", np.abs([row @ star for row in w]) / norms / np.linalg.norm(star))
            record("a", a.copy())
            moved = [np.linalg.norm(row - start) for row, start in zip(w, problem.w, strict=True)]
            record("displacement", np.array(moved) / [np.linalg.norm(row) for row in problem.w])
            record("layer_displacement", np.linalg.norm(w - problem.w) / np.linalg.norm(problem.w))
            record("train_loss", 0.5 * np.mean((problem.x @ w.T @ a - problem.y) ** 2))
            clean = problem.x_test @ star
            record("test_loss", 0.5 * np.mean((problem.x_test @ w.T @ a - clean) ** 2))
            record("theta", theta)
            record("theta_norm", np.linalg.norm(theta))
            record("theta_error", np.linalg.norm(theta - star))
            record("participation_ratio", sum(norms**2) ** 2 / (len(a) * sum(norms**4)))
        if t < settings.steps:
            x = problem.x[order[t]]
            hidden = w @ x
            r = a @ hidden - problem.y[order[t]] - noise[t]
            w, a = w - settings.eta * r * np.outer(a, x), a - settings.eta * r * hidden
    return {name: np.array(values) for name, values in recorded.items()}


@pytest.mark.parametrize("case", CASES)
def test_a_run_is_the_naive_loop(case):
    settings = Settings(eta=0.004, sigma=2.0, steps=2000, snapshots=5, trace_steps=30, **case)
    runs = simulate(settings, [0, 9])
    assert np.isnan(runs["diverged_step"]).all()
    for seed in (0, 9):
        for name, expected in naive(settings, seed).items():
            found = runs[name].sel(seed=seed)
            tolerance = 1e-9 if found.dtype == np.float64 else 1e-6
            np.testing.assert_allclose(
                found, expected, rtol=tolerance, atol=tolerance * 1e-2, err_msg=name
            )


def problem_of(w, a, theta_star):
    x = np.eye(len(theta_star))
    return Problem(theta_star=theta_star, x=x, y=x @ theta_star, x_test=x, w=w, a=a)


def test_a_known_network_is_measured_right():
    star = np.array([0.0, 2.0])
    start = np.array([[3.0, 4.0], [0.0, 5.0]])
    seen = observe(problem_of(start, np.zeros(2), star), 2 * start, np.array([1.0, -1.0]))
    np.testing.assert_allclose(seen.per_neuron["w_norm"], [10, 10])
    np.testing.assert_allclose(seen.per_neuron["alignment"], [0.8, 1])
    np.testing.assert_allclose(seen.per_neuron["displacement"], [1, 1])
    # θ = (6, 8) − (0, 10) = (6, −2), θ − θ* = (6, −4), x the identity
    assert seen.per_network["theta_error"] == pytest.approx(np.sqrt(52))
    assert seen.per_network["train_loss"] == pytest.approx(0.5 * (36 + 16) / 2)
    assert seen.per_network["layer_displacement"] == pytest.approx(1)
    assert seen.per_network["participation_ratio"] == pytest.approx(1)


def test_one_neuron_that_carries_all_and_dead_ones_are_measured_without_nan():
    star = np.array([1.0, 0.0])
    w = np.array([[2.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    seen = observe(problem_of(w, np.zeros(4), star), w, np.zeros(4))
    np.testing.assert_allclose(seen.per_neuron["alignment"], [1, 0, 0, 0])
    np.testing.assert_allclose(seen.per_neuron["displacement"], 0)
    assert seen.per_network["participation_ratio"] == pytest.approx(0.25)


def test_data_and_initialisation_follow_the_papers_law():
    """The inputs are N(0, 1), W ~ N(0, 1/d), a ~ N(0, 1/m), y = ⟨θ*, x⟩; level 1e-3."""
    settings = Settings(samples=2000, width=5000, dim=20, theta_star_norm=3.0)
    problem = draw_problem(settings, 0)
    for array, scale in (
        (problem.x, 1),
        (problem.x_test, 1),
        (problem.w, 20**-0.5),
        (problem.a, 5000**-0.5),
    ):
        assert stats.kstest(array.ravel() / scale, "norm").pvalue > 1e-3
    assert np.linalg.norm(problem.theta_star) == pytest.approx(3)
    np.testing.assert_allclose(problem.y, (problem.x * problem.theta_star).sum(1), atol=1e-12)


def test_the_ground_truths_direction_is_uniform_on_the_sphere():
    """Archimedes: on the sphere in three dimensions each coordinate is uniform; level 1e-3."""
    settings = Settings(samples=1, width=1, dim=3, trace_neurons=1, test_samples=1)
    directions = np.array([draw_problem(settings, seed).theta_star for seed in range(2000)])
    for coordinate in directions.T:
        assert stats.kstest((coordinate + 1) / 2, "uniform").pvalue > 1e-3

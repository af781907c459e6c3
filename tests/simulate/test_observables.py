"""A whole experiment against a naive float64 loop of a few lines, and the law of the data."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from labelnoise.config.fields import snapshot_steps
from labelnoise.simulate.observe import observe
from labelnoise.simulate.problem import Problem, draw_problem, label_noise, sample_order
from labelnoise.simulate.run import simulate
from labelnoise.simulate.settings import Settings

CASES = [
    {"width": 30, "dim": 5, "samples": 40, "noise": "sign"},
    {"width": 30, "dim": 5, "samples": 40, "noise": "gaussian", "theta_star_norm": 2.5},
    {"width": 20, "dim": 9, "samples": 4, "noise": "sign"},
    {"width": 1, "dim": 1, "samples": 1, "noise": "sign", "trace_neurons": 1},
    {"width": 130, "dim": 3, "samples": 8, "noise": "sign", "neurons": 7},
]


def quantile(values, q):
    """Linear between the order statistics."""
    ordered, place = sorted(values), q * (len(values) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def drift_shares(problem, w, a):
    """Shares of (neuron, sample) pairs of a negative and a clearly negative bracket (Lemma 4.3)."""
    brackets, halves = [], []
    for row, second in zip(w, a, strict=True):
        for x in problem.x:
            brackets.append((x @ row) ** 2 - second**2 * (x @ x))
            halves.append(0.5 * (row @ row))
    negative = sum(bracket > 0 for bracket in brackets)
    clear = sum(bracket > half for bracket, half in zip(brackets, halves, strict=True))
    return negative / len(brackets), clear / len(brackets)


def naive(settings: Settings, seed: int) -> dict[str, np.ndarray]:
    """All that is recorded of a run, as the paper defines it, neuron by neuron."""
    problem = draw_problem(settings, seed)
    order = sample_order(seed, settings.samples, 0, settings.steps)
    noise = settings.sigma * label_noise(seed, settings.noise, 0, settings.steps)
    w, a = problem.w.copy(), problem.a.copy()
    star = problem.theta_star
    few = settings.neurons
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
            aligned = np.abs([row @ star for row in w]) / norms / np.linalg.norm(star)
            moved = [np.linalg.norm(row - start) for row, start in zip(w, problem.w, strict=True)]
            displaced = np.array(moved) / [np.linalg.norm(row) for row in problem.w]
            record("w_norm", norms[:few])
            record("alignment", aligned[:few])
            record("a", a[:few].copy())
            record("displacement", displaced[:few])
            record("w_norm_mean", sum(norms) / len(norms))
            record("w_norm_max", max(norms))
            record("alignment_mean", sum(aligned) / len(aligned))
            record("alignment_min", min(aligned))
            record("a_rms", np.sqrt(sum(a**2) / len(a)))
            record("a_max", max(abs(a)))
            record("displacement_min", min(displaced))
            record("displacement_max", max(displaced))
            record("w_norm_quantile", [quantile(norms, q) for q in (0.1, 0.5, 0.9)])
            record("alignment_quantile", [quantile(aligned, q) for q in (0.1, 0.5, 0.9)])
            negative, clear = drift_shares(problem, w[:100], a[:100])
            record("drift_negative_share", negative)
            record("drift_clear_share", clear)
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
        expected_of = naive(settings, seed)
        rest = {"theta_star", "diverged_step", "identity_error"}
        assert expected_of.keys() == set(runs.data_vars) - rest
        for name, expected in expected_of.items():
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
    seen = observe(problem_of(start, np.zeros(2), star), 2 * start, np.array([1.0, -1.0]), 2)
    np.testing.assert_allclose(seen["w_norm"], [10, 10])
    np.testing.assert_allclose(seen["alignment"], [0.8, 1])
    np.testing.assert_allclose(seen["displacement"], [1, 1])
    # θ = (6, 8) − (0, 10) = (6, −2), θ − θ* = (6, −4), x the identity
    assert seen["theta_error"] == pytest.approx(np.sqrt(52))
    assert seen["train_loss"] == pytest.approx(0.5 * (36 + 16) / 2)
    assert seen["layer_displacement"] == pytest.approx(1)
    assert seen["participation_ratio"] == pytest.approx(1)
    # brackets (x·w_i)² − a_i²‖x‖²: 36 − 1, 64 − 1; 0 − 1, 100 − 1; half of ‖w_i‖² is 50
    assert seen["drift_negative_share"] == pytest.approx(3 / 4)
    assert seen["drift_clear_share"] == pytest.approx(2 / 4)


def test_one_neuron_that_carries_all_and_dead_ones_are_measured_without_nan():
    star = np.array([1.0, 0.0])
    w = np.array([[2.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    seen = observe(problem_of(w, np.zeros(4), star), w, np.zeros(4), 4)
    np.testing.assert_allclose(seen["alignment"], [1, 0, 0, 0])
    np.testing.assert_allclose(seen["displacement"], 0)
    assert seen["participation_ratio"] == pytest.approx(0.25)
    assert {name for name, value in seen.items() if not np.isfinite(value).all()} == set()


def test_the_bracket_decides_the_drift_of_the_norm_in_a_step():
    """‖w_i‖² − a_i² changes by −η²r²((x·w_i)² − a_i²‖x‖²): what `drift_…_share` counts."""
    problem = draw_problem(Settings(width=6, dim=3, samples=10), 0)
    w, a, x, eta = problem.w, problem.a, problem.x[2], 0.1
    r = a @ w @ x - problem.y[2] - 4.0
    next_w, next_a = w - eta * r * np.outer(a, x), a - eta * r * (w @ x)
    found = (next_w**2).sum(1) - next_a**2 - (w**2).sum(1) + a**2
    bracket = (w @ x) ** 2 - a**2 * (x @ x)
    np.testing.assert_allclose(found, -((eta * r) ** 2) * bracket, rtol=0, atol=1e-14)
    only = dataclasses.replace(problem, x=x[None], y=problem.y[2:3])
    assert observe(only, w, a, 6)["drift_negative_share"] == (bracket > 0).mean()


def test_few_recorded_neurons_are_the_first_of_all_and_summaries_are_of_all():
    given = {"width": 25, "dim": 4, "samples": 12, "eta": 0.004, "steps": 3000, "snapshots": 7}
    full = simulate(Settings(**given), [0, 1])
    few = simulate(Settings(**given, neurons=3), [0, 1])
    assert few.sizes["neuron"] == 3
    assert few.identical(full.isel(neuron=slice(3)))
    neurons = full[["w_norm", "alignment", "a", "displacement"]].astype("f8")
    expected = {
        "w_norm_mean": neurons["w_norm"].mean("neuron"),
        "w_norm_max": neurons["w_norm"].max("neuron"),
        "alignment_mean": neurons["alignment"].mean("neuron"),
        "a_rms": np.sqrt((neurons["a"] ** 2).mean("neuron")),
        "a_max": abs(neurons["a"]).max("neuron"),
        "displacement_min": neurons["displacement"].min("neuron"),
        "displacement_max": neurons["displacement"].max("neuron"),
        "w_norm_quantile": neurons["w_norm"].quantile(few["quantile"].values, "neuron"),
        "alignment_quantile": neurons["alignment"].quantile(few["quantile"].values, "neuron"),
    }
    for name, values in expected.items():
        values = values.transpose(*few[name].dims)
        np.testing.assert_allclose(few[name], values, rtol=1e-6, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("more", [{}, {"width": 3000, "dim": 2}, {"eta": 0.1}])
def test_the_small_initialisation_is_scaled_to_the_root_of_the_learning_rate(more):
    given = {"width": 40, "dim": 5, "eta": 1e-3} | more
    small = draw_problem(Settings(**given, initialisation="small"), 3)
    usual = draw_problem(Settings(**given), 3)
    largest = max([np.linalg.norm(row) for row in small.w] + [abs(a) for a in small.a])
    assert largest == pytest.approx(np.sqrt(given["eta"]), rel=1e-14)
    shrink = small.a[0] / usual.a[0]
    np.testing.assert_allclose(small.w, shrink * usual.w, rtol=1e-13)
    np.testing.assert_allclose(small.a, shrink * usual.a, rtol=1e-13)
    for name in ("theta_star", "x", "y", "x_test"):
        np.testing.assert_array_equal(getattr(small, name), getattr(usual, name))


def test_the_small_initialisation_is_where_a_run_starts():
    settings = Settings(width=40, dim=5, steps=10, snapshots=2, initialisation="small")
    runs = simulate(settings, [0, 1]).isel(step=0)
    largest = np.maximum(runs["w_norm_max"], runs["a_max"])
    np.testing.assert_allclose(largest, np.sqrt(settings.eta), rtol=1e-12)
    by_width = settings.model_copy(update={"eta_unit": "1/m"})
    first = draw_problem(by_width, 0)
    found = max(np.linalg.norm(first.w, axis=1).max(), abs(first.a).max())
    assert found == pytest.approx(np.sqrt(settings.eta / 40), rel=1e-12)


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


def test_the_aligned_initialisation_has_every_row_along_the_ground_truth():
    settings = Settings(width=50, dim=6, theta_star_norm=3.0, initialisation="aligned")
    problem = draw_problem(settings, 3)
    usual = draw_problem(settings.model_copy(update={"initialisation": "ntk"}), 3)
    np.testing.assert_allclose(problem.w @ problem.theta_star / 3.0, problem.a, rtol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(problem.w, axis=1), abs(problem.a), rtol=1e-12)
    np.testing.assert_allclose(problem.w.T @ problem.a, problem.theta_star / 2, rtol=1e-12)
    np.testing.assert_allclose(problem.a / usual.a, (problem.a / usual.a)[0], rtol=1e-12)

"""The linearised run against the explicit linear model in all its parameters, and the network."""

import numpy as np
import pytest

from labelnoise.config.fields import snapshot_steps
from labelnoise.linearize.two_layer import linearize
from labelnoise.simulate.algorithms import ALGORITHMS
from labelnoise.simulate.problem import draw_problem, label_noise, sample_order
from labelnoise.simulate.run import simulate
from labelnoise.simulate.settings import Settings

LINEARIZED = [name for name, algorithm in ALGORITHMS.items() if algorithm.linear_kernel]
NAMES = ("train_loss", "test_loss", "theta_error", "theta_norm")
SMALL = {
    **{"width": 9, "dim": 4, "samples": 7, "eta": 0.01, "sigma": 1.5, "steps": 600},
    **{"snapshots": 7, "test_samples": 30},
}
CASES = {
    "sign": {},
    "gaussian": {"noise": "gaussian"},
    "quiet": {"sigma": 0.0},
    "periodic": {"schedule": {"period": 100, "duty": 0.3, "start": 50}},
    "intervals": {"schedule": {"intervals": [[20, 40], [300, 500]]}},
    "wide inputs": {"dim": 9, "samples": 4},
    "one of each": {"width": 1, "dim": 1, "samples": 1, "trace_neurons": 1},
    "log": {"spacing": "log", "snapshots": 12},
    "small": {"initialisation": "small", "theta_star_norm": 2.0},
    "gd": {"algorithm": "gd", "sigma": 0.0},
    "gd, wide inputs": {"algorithm": "gd", "sigma": 0.0, "dim": 9, "samples": 4},
    "by width": {"eta_unit": "1/m", "eta": 0.09},
}


def settings(case, **more):
    return Settings(**(SMALL | CASES[case] | more))


def is_on(schedule, step):
    """Whether the noise is on, from what the configuration says."""
    if schedule is None:
        return True
    if "intervals" in schedule:
        return any(first <= step < end for first, end in schedule["intervals"])
    phase = (step - schedule["start"]) % schedule["period"]
    return step >= schedule["start"] and phase < round(schedule["duty"] * schedule["period"])


def explicit(given: Settings, seed: int, schedule=None) -> tuple[dict[str, np.ndarray], float]:
    """Curves of the model f(0) + ∂f/∂p · (p − p(0)), trained in its m·d + m parameters."""
    problem = draw_problem(given, seed)
    m, d = problem.w.shape
    eta = given.eta / (m if given.eta_unit == "1/m" else 1)

    def slope(x):
        """∂f/∂p of f = aᵀWx at the start: row i of W by a_i x, a by Wx."""
        return np.concatenate([np.outer(problem.a, x).ravel(), problem.w @ x])

    change = np.zeros(m * d + m)

    def output(x):
        return problem.a @ problem.w @ x + slope(x) @ change

    order = sample_order(seed, given.samples, 0, given.steps)
    noise = given.sigma * label_noise(seed, given.noise, 0, given.steps)
    steps = snapshot_steps(given).tolist()
    curves = {name: np.full(len(steps), np.nan) for name in NAMES}
    for t in range(given.steps + 1):
        if t in steps:
            theta = np.array([output(unit) for unit in np.eye(d)])
            outputs = np.array([output(x) for x in problem.x])
            tested = np.array([output(x) for x in problem.x_test])
            star = problem.x_test @ problem.theta_star
            values = (
                0.5 * np.mean((outputs - problem.y) ** 2),
                0.5 * np.mean((tested - star) ** 2),
                np.linalg.norm(theta - problem.theta_star),
                np.linalg.norm(theta),
            )
            for name, value in zip(NAMES, values, strict=True):
                curves[name][steps.index(t)] = value
        if t == given.steps:
            break
        if given.algorithm == "gd":
            seen, noisy = range(given.samples), problem.y
        else:
            seen, noisy = [order[t]], problem.y + noise[t] * is_on(schedule, t)
        residuals = np.array([output(problem.x[i]) - noisy[i] for i in seen])
        size = abs(residuals[0])
        if given.algorithm == "gd":
            size = abs(residuals @ problem.x / given.samples).max()
        if not size <= 1e10:
            return curves, t
        gradients = [r * slope(problem.x[i]) for r, i in zip(residuals, seen, strict=True)]
        change = change - eta * np.mean(gradients, axis=0)
    return curves, np.nan


@pytest.mark.parametrize("case", CASES)
def test_it_is_the_explicit_linear_model(case):
    given = settings(case)
    runs = linearize(given, [0, 9])
    np.testing.assert_array_equal(runs["step"], snapshot_steps(given))
    for seed in (0, 9):
        curves, diverged = explicit(given, seed, CASES[case].get("schedule"))
        assert np.isnan(diverged)
        for name, expected in curves.items():
            found = runs[name].sel(seed=seed)
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12, err_msg=name)
        assert abs(curves["theta_error"] - curves["theta_error"][0]).max() > 1e-2
    assert np.isnan(runs["diverged_step"]).all()


@pytest.mark.parametrize("case", ["sign", "gd"])
def test_a_run_that_diverges_is_nan_from_then_on(case):
    given = settings(case, eta=1.5 if case == "sign" else 3.0, snapshots=601)
    runs = linearize(given, [0, 1])
    for seed in (0, 1):
        curves, diverged = explicit(given, seed)
        assert 0 < diverged < given.steps
        assert float(runs["diverged_step"].sel(seed=seed)) == diverged
        for name, expected in curves.items():
            found = runs[name].sel(seed=seed)
            np.testing.assert_array_equal(np.isfinite(found), np.arange(601) <= diverged)
            np.testing.assert_allclose(found, expected, rtol=1e-6, err_msg=name)


def test_a_neighbour_of_a_run_that_diverges_is_untouched():
    given = settings("sign", eta=0.16)
    runs = linearize(given, range(12))
    diverged = np.isfinite(runs["diverged_step"])
    assert 0 < diverged.sum() < 12
    for seed in runs["seed"].values[~diverged]:
        assert linearize(given, [int(seed)]).identical(runs.sel(seed=[seed]))


@pytest.mark.parametrize("algorithm", LINEARIZED)
def test_a_wide_network_without_noise_is_close_to_it(algorithm):
    """Where the network is lazy the two agree, the better the wider."""
    errors = []
    for width in (64, 512, 4096):
        given = Settings(
            **{"algorithm": algorithm, "width": width, "dim": 5, "samples": 30, "sigma": 0.0},
            **{"eta": 0.1, "eta_unit": "1/m", "steps": 300, "snapshots": 11, "neurons": 1},
        )
        network, linear = simulate(given, [0, 1]), linearize(given, [0, 1])
        np.testing.assert_array_equal(network["step"], linear["step"])
        first, last = network.isel(step=0), network.isel(step=-1)
        for name in NAMES:
            np.testing.assert_allclose(linear[name].isel(step=0), first[name], rtol=1e-10)
        assert (last["theta_error"] < 0.1 * first["theta_error"]).all()
        difference = abs(network["theta_error"] - linear["theta_error"]).max("step")
        errors.append(float((difference / first["theta_error"]).max()))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-3


def test_noise_drives_a_network_from_it():
    given = {"width": 256, "dim": 5, "samples": 30, "eta": 1e-3, "steps": 40_000, "snapshots": 5}
    apart = {}
    for sigma in (0.0, 4.0):
        noisy = Settings(**given, sigma=sigma)
        network, linear = simulate(noisy, [0]), linearize(noisy, [0])
        apart[sigma] = abs(network["theta_norm"] - linear["theta_norm"]).max()
    assert apart[4.0] > 10 * apart[0.0]


def test_the_split_into_chunks_does_not_change_the_run(monkeypatch):
    for case in ("periodic", "gd"):
        whole = linearize(settings(case), [0])
        with monkeypatch.context() as patch:
            patch.setattr("labelnoise.linearize.two_layer.CHUNK", 17)
            assert linearize(settings(case), [0]).identical(whole)


def test_progress_counts_up_to_the_last_step():
    seen: list[int] = []
    linearize(settings("sign"), [0], progress=seen.append)
    assert seen == sorted(set(seen))
    assert seen[-1] == 600


@pytest.mark.parametrize("algorithm", ["sam", "oscillation"])
def test_an_algorithm_without_a_linearised_run_is_refused(algorithm):
    assert algorithm not in LINEARIZED
    given = settings("quiet", algorithm=algorithm)
    with pytest.raises(ValueError, match=rf"{algorithm} has no linearised run; sgd and gd have"):
        linearize(given, [0])


def test_a_bad_seed_is_refused():
    with pytest.raises(ValueError, match=r"seed must be in .* got -1"):
        linearize(settings("sign"), [-1])


def test_every_variable_says_what_it_is():
    for name, variable in linearize(settings("sign"), [0]).variables.items():
        assert variable.attrs["long_name"], name
        assert variable.attrs["units"], name

"""Predicted numbers, against the kernel and the runs they stand for."""

import numpy as np
import pytest

from labelnoise.analyze.theory import (
    escape_constant,
    escape_time,
    residual_inflation,
    stability_limit,
)
from labelnoise.simulate.problem import draw_problem
from labelnoise.simulate.run import simulate
from labelnoise.simulate.settings import Settings


def test_the_limit_is_that_of_the_kernel_at_a_typical_input():
    """η k(x, x) = 2 with k = ‖a‖²‖x‖² + ‖Wx‖² of a drawn network, at ‖x‖² = d."""
    settings = Settings(width=2000, dim=20)
    problem = draw_problem(settings, 0)
    squares = (problem.x**2).sum(axis=1)
    kernel = (problem.a**2).sum() * squares + ((problem.x @ problem.w.T) ** 2).sum(axis=1)
    typical = 2 / np.median(kernel / squares * settings.dim)
    assert stability_limit(2000, 20) == pytest.approx(typical, rel=0.03)


def test_runs_diverge_above_the_limit_and_not_below_it():
    limit = stability_limit(200, 10)
    common = {"width": 200, "dim": 10, "sigma": 0.0, "steps": 20_000, "snapshots": 2}
    below, above = (
        simulate(Settings(eta=share * limit, **common), [0, 1, 2])["diverged_step"]
        for share in (0.6, 2.0)
    )
    assert np.isnan(below).all()
    assert np.isfinite(above).all()


def test_the_escape_time_of_the_authors_setting():
    np.testing.assert_allclose(escape_time(4.0, 1e-3, 1000), 1 / (16 * 1e-6 * np.sqrt(1000)))
    assert escape_time(0.0, 1e-3, 1000) == np.inf
    assert escape_time(np.full((3, 1), 2.0), np.ones(2), 4.0).shape == (3, 2)


@pytest.mark.parametrize(
    ("setting", "factor", "change"), [("sigma", 2, 1 / 4), ("eta", 3, 1 / 9), ("width", 4, 1 / 2)]
)
def test_the_exponents_of_the_escape_time(setting, factor, change):
    at = {"sigma": 4.0, "eta": 1e-3, "width": 1000.0}
    ratio = escape_time(**at | {setting: factor * at[setting]}) / escape_time(**at)
    np.testing.assert_allclose(ratio, change)


def test_the_constant_is_the_median_of_the_runs_that_left():
    sigma, eta, width = np.full(4, 2.0), np.array([1e-3, 2e-3, 5e-4, 1e-3]), np.full(4, 100.0)
    measured = escape_time(sigma, eta, width) * np.array([5.0, 7.0, 90.0, np.nan])
    assert escape_constant(measured, sigma, eta, width) == pytest.approx(7)
    assert np.isnan(escape_constant(np.full(4, np.nan), sigma, eta, width))


def test_the_residual_inflation_is_that_of_a_simulated_one_dimensional_sgd():
    """θ ← θ − ηk(θ − ε) with unit noise: E (θ − ε)² in the stationary state."""
    rng = np.random.default_rng(0)
    for share in (0.1, 0.4):  # η(d + m)/2
        rate, theta, squares = 2 * share, np.zeros(20_000), []
        for step in range(200):
            residual = theta - rng.standard_normal(theta.size)
            theta = theta - rate * residual
            if step >= 100:
                squares.append((residual**2).mean())
        found = residual_inflation(eta=share * 2 / 120, width=100, dim=20)
        assert found == pytest.approx(np.mean(squares), rel=0.01)


def test_the_residual_inflation_ends_at_the_stability_limit():
    limit = stability_limit(100, 20)
    assert residual_inflation(0.0, 100, 20) == 1
    assert residual_inflation(np.array([limit, 2 * limit]), 100, 20).tolist() == [np.inf, np.inf]

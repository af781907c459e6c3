"""Theorem 4.2 in numbers."""

import numpy as np
import pytest

from labelnoise.analyze.theory import escape_constant, escape_time


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

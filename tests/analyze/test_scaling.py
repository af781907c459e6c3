"""Fitted exponents are those of the data, and the interval covers as often as it says."""

import numpy as np
import pytest

from labelnoise.analyze.scaling import fit_power_law, fit_product_law

X = np.array([0.5, 1.0, 2.0, 4.0, 8.0])
NAN = float("nan")


@pytest.mark.parametrize("exponent", [-2.0, -0.5, 0.0, 1.7])
@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_an_exact_power_law_is_found_exactly(exponent, order):
    y = np.repeat(3.0 * X[:, None] ** exponent, 4, axis=1)
    law = fit_power_law(X[order], y[order])
    np.testing.assert_allclose(law.exponent, exponent, atol=1e-12)
    np.testing.assert_allclose([law.low, law.high], exponent, atol=1e-6)
    np.testing.assert_allclose(law.prefactor, 3.0)
    np.testing.assert_allclose(law(X), y[:, 0])
    assert (law.used, law.left_out) == (20, 0)


def test_the_interval_is_the_textbook_one():
    """Against scipy's regression of the means over seeds."""
    from scipy.stats import linregress, t

    y = X[:, None] ** -2 * np.exp(np.random.default_rng(0).normal(0, 0.2, (5, 3)))
    law = fit_power_law(X, y, 0.9)
    line = linregress(np.log(X), np.log(y).mean(axis=1))
    half = t.ppf(0.95, 3) * line.stderr
    expected = [line.slope, line.slope - half, line.slope + half]
    np.testing.assert_allclose([law.exponent, law.low, law.high], expected)
    np.testing.assert_allclose(law.prefactor, np.exp(line.intercept))


def test_what_a_seed_does_at_every_x_alike_is_no_uncertainty():
    """Seeds are shared by all x: a seed that is slow everywhere says nothing of the slope."""
    y = X[:, None] ** -2 * np.array([1.0, 1.4, 0.5])
    law = fit_power_law(X, y)
    np.testing.assert_allclose([law.low, law.exponent, law.high], -2, atol=1e-6)


def test_a_bend_widens_the_interval_however_many_seeds_there_are():
    bent = X**-2 * np.exp(0.3 * np.log(X) ** 2)
    few, many = (fit_power_law(X, np.repeat(bent[:, None], seeds, axis=1)) for seeds in (2, 200))
    assert few.high - few.low > 0.3
    np.testing.assert_allclose(many.high - many.low, few.high - few.low)


@pytest.mark.parametrize(("values", "confidence"), [(3, 0.95), (5, 0.95), (5, 0.5), (9, 0.95)])
def test_the_interval_covers_as_often_as_it_says(values, confidence):
    """Runs scatter by themselves, and by what their seed does at every x alike."""
    generator = np.random.default_rng(1)
    x, trials, covered = np.geomspace(1, 10, values), 2000, 0
    for _ in range(trials):
        noise = generator.normal(0, 0.3, (values, 4)) + generator.normal(0, 0.5, (1, 4))
        law = fit_power_law(x, 7 * x[:, None] ** -1.5 * np.exp(noise), confidence)
        covered += law.low <= -1.5 <= law.high
    # 4 standard errors of a share
    error = 4 * np.sqrt(confidence * (1 - confidence) / trials)
    assert covered / trials == pytest.approx(confidence, abs=error)


def test_runs_that_never_got_there_are_left_out_and_counted():
    y = np.repeat(X[:, None] ** -2, 3, axis=1)
    y[0] = NAN  # none of this x
    y[1, 2] = NAN
    law = fit_power_law(X, y)
    np.testing.assert_allclose(law.exponent, -2)
    assert (law.used, law.left_out) == (11, 4)


def test_too_few_values_give_no_interval_and_then_no_exponent():
    two = fit_power_law(np.array([1.0, 2.0]), np.array([[1.0], [4.0]]))
    assert two.exponent == pytest.approx(2)
    assert np.isnan([two.low, two.high]).all()
    for y in (np.full((5, 2), NAN), np.where(X[:, None] == 2, 1.0, NAN)):
        law = fit_power_law(X, y)
        assert np.isnan([law.exponent, law.low, law.high, law.prefactor]).all()
        assert law.used + law.left_out == y.size


@pytest.mark.parametrize(("x", "y"), [(0.0, 1.0), (-1.0, 1.0), (1.0, 0.0)])
def test_what_has_no_logarithm_is_refused(x, y):
    with pytest.raises(ValueError, match="positive"):
        fit_power_law(np.array([x, 2.0]), np.array([[y], [1.0]]))


def test_a_product_law_is_found():
    generator = np.random.default_rng(2)
    rho, eta = generator.uniform(0.1, 3, (2, 40))
    y = 5 * rho**-2 * eta**-1.25
    y[3] = NAN
    law = fit_product_law({"rho": rho, "eta": eta}, y)
    np.testing.assert_allclose([law.exponents["rho"], law.exponents["eta"]], [-2, -1.25])
    np.testing.assert_allclose([law.prefactor, law.scatter], [5, 0], atol=1e-9)
    assert law.used == 39
    np.testing.assert_allclose(law(eta=0.5, rho=2.0), 5 / 4 * 0.5**-1.25)


def test_the_scatter_of_a_product_law_is_in_decades():
    x = np.array([1.0, 1.0, 10.0, 10.0])
    law = fit_product_law({"x": x}, x * np.array([10, 0.1, 10, 0.1]))
    np.testing.assert_allclose([law.exponents["x"], law.scatter], [1, 1])


@pytest.mark.parametrize("y", [[NAN] * 4, [1.0, 2.0, NAN, NAN], [1.0, NAN, 2.0, NAN]])
def test_a_product_law_that_the_runs_do_not_determine_is_none(y):
    x = {"rho": np.array([1.0, 1.0, 2.0, 2.0]), "eta": np.array([1.0, 2.0, 1.0, 2.0])}
    assert fit_product_law(x, np.array(y)) is None

"""Verdicts of Table 1 on constructed runs whose answer is known."""

import numpy as np
import pytest
import xarray as xr

from labelnoise.analyze import claims
from labelnoise.analyze.scaling import PowerLaw


def summary(steps: list[float], **variables: object) -> xr.Dataset:
    """An analysis over two seeds: a curve is given once, or once a seed."""
    data = xr.Dataset(coords={"seed": [0, 1], "step": np.asarray(steps, float)})
    for name, values in variables.items():
        array = np.asarray(values, float)
        if array.ndim == 1 and len(array) == len(steps):
            array = np.tile(array, (2, 1))
        data[name] = (("seed", "step")[: array.ndim], array)
    if "escape_step" in data:
        data["escape_step"].attrs["threshold"] = 0.1
    return data


@pytest.mark.parametrize(("largest", "verdict"), [(0.05, "holds"), (0.2, "does not hold")])
def test_a_network_is_lazy_while_its_largest_displacement_is_small(largest, verdict):
    runs = summary([0, 1], displacement_max=[[0, 0.01], [0, largest]], escape_step=[np.nan, np.nan])
    row = claims.lazy_without_noise(runs)
    assert row.verdict == verdict
    assert row.values["displacement_max"] == largest


@pytest.mark.parametrize(("error", "verdict"), [(1e-14, "holds"), (1e-6, "does not hold")])
def test_the_identity_holds_to_rounding_only(error, verdict):
    assert claims.step_identity(summary([0], identity_error=[0, error])).verdict == verdict


@pytest.mark.parametrize(
    ("shares", "verdict"),
    [
        ([0.911, 0.9, 0.4], "holds"),
        ([0.911, 0.7, 0.4], "holds in part"),  # as predicted at the start, but not up to T₁
        ([0.6, 0.6, 0.6], "does not hold"),
    ],
)
def test_the_sign_of_the_drift_is_held_against_the_law_of_the_start(shares, verdict):
    runs = summary([0, 10, 20], drift_negative_share=shares, escape_step=[10, 10])
    row = claims.drift_sign(runs, width=1000, dim=20)
    assert row.verdict == verdict
    assert row.values["escape"] == pytest.approx(shares[1])
    assert row.values["predicted"] == pytest.approx(0.9106, abs=1e-4)


def test_the_predicted_probability_is_that_of_normals():
    """P(|z| > √(d/m)|z'|) by simulation."""
    z = np.random.default_rng(0).standard_normal((2, 400_000))
    share = (abs(z[0]) > np.sqrt(20 / 300) * abs(z[1])).mean()
    runs = summary([0, 1], drift_negative_share=[share, share], escape_step=[1, 1])
    assert claims.drift_sign(runs, 300, 20).values["predicted"] == pytest.approx(share, abs=0.003)


def test_a_clear_drift_is_asked_for_in_phase_one_only():
    runs = summary([0, 10, 20], drift_clear_share=[0.48, 0.3, 0.01], alignment_step=[10, 10])
    assert claims.clear_drift(runs).verdict == "holds"
    late = runs.assign(alignment_step=("seed", [20.0, 20.0]))
    assert claims.clear_drift(late).verdict == "does not hold"


@pytest.mark.parametrize(
    ("steps", "verdict"),
    [([10, 12], "holds"), ([10, np.nan], "holds in part"), ([np.nan, np.nan], "not reached")],
)
def test_escape_counts_the_runs_that_left(steps, verdict):
    assert claims.escape_time(summary([0], escape_step=steps)).verdict == verdict


@pytest.mark.parametrize(
    ("exponent", "in_limit", "verdict", "words"),
    [
        (-2.05, -2.0, "holds", ""),
        (-2.4, -2.01, "holds in part", "the exponent is -2.01"),
        (-2.4, -2.5, "does not hold", "does not follow"),
        (-1.5, -1.5, "does not hold", "does not follow"),
    ],
)
def test_the_exponent_is_held_against_the_theorem(exponent, in_limit, verdict, words):
    laws = [PowerLaw(p, p - 0.02, p + 0.02, 1.0, 40, 0) for p in (exponent, in_limit)]
    row = claims.escape_exponent("η", "a fixed radius", -2.0, *laws)
    assert row.verdict == verdict
    assert words in row.note


def test_a_wide_interval_around_the_prediction_holds():
    law = PowerLaw(-1.7, -2.1, -1.3, 1.0, 40, 3)
    row = claims.escape_exponent("σ", "a fixed radius", -2.0, law, law)
    assert row.verdict == "holds"
    assert "3 runs never left" in row.measured


@pytest.mark.parametrize(
    ("last", "verdict"), [(0.05, "holds"), (0.4, "holds in part"), (0.9, "does not hold")]
)
def test_the_chain_must_bring_the_mean_norm_under_the_threshold(last, verdict):
    row = claims.chain_decay(summary([0, 5], w_norm_mean=[1.0, last]), eta=0.01, delta=0.1)
    assert row.verdict == verdict


def test_the_start_of_phase_two_counts_runs():
    curves = {"w_norm_max": [1, 0.2], "a_max": [0.1, 0.05], "alignment_step": [3.0, 3.0]}
    reached = summary([0, 5], small_weights_step=[4, np.nan], **curves)
    assert claims.small_weights(reached, 0.001, 1000, 1.0).verdict == "holds in part"
    never = summary([0, 5], small_weights_step=[np.nan, np.nan], **curves)
    assert claims.small_weights(never, 0.001, 1000, 1.0).verdict == "not reached"


def descents(constant):
    """GD runs whose gap and error are `constant(η)` times the bounds, read at T₂ and T₂ + T₃."""
    found = {}
    for eta in (0.01, 0.003, 0.001, 0.0003, 0.0001):
        end = 2 * np.log(1 / eta) / eta
        gap = constant(eta) * np.sqrt(eta) * np.log(1 / eta)
        error = constant(eta) * eta * np.log(1 / eta)
        found[eta] = summary([0, end], alignment_mean=[1 - gap] * 2, theta_error=[error] * 2)
    return found


def test_a_constant_that_stays_is_a_bound_and_one_that_grows_is_not():
    for claim in (claims.gd_alignment, claims.gd_convergence):
        assert claim(descents(lambda _: 0.2), 1.0).verdict == "holds"
        assert claim(descents(lambda eta: 0.2 * eta**0.2), 1.0).verdict == "holds"  # falls: loose
        assert claim(descents(lambda eta: 0.05 * eta**-0.2), 1.0).verdict == "does not hold"


def test_the_alignment_is_read_at_the_time_of_the_lemma():
    eta, norm = 0.01, 2.0
    time = np.log(1 / eta) / (eta * norm)
    runs = summary([0, time, 2 * time], alignment_mean=[0, 0.7, 1.0])
    row = claims.gd_alignment({eta: runs}, norm)
    assert row.values["gap_eta=0.01"] == pytest.approx(0.3)

"""Verdicts on the paper's figures, on constructed runs whose answer is known."""

import numpy as np
import pytest
import xarray as xr

from labelnoise.analyze import figure_claims
from labelnoise.analyze.regimes import REGIMES

NAN = float("nan")


def training(loss, norm=(0.0, 0.0), accuracy=(0.0, 0.0), gone=(NAN, NAN), moved=(0.2, 0.2)):
    """A training of two seeds: what it ends at, and where it diverged."""
    ends = {"test_loss": loss, "norm_change_mean": norm, "test_accuracy": accuracy}
    ends["distance"] = moved
    data = {name: (("seed", "step"), np.array([[9.0, x] for x in v])) for name, v in ends.items()}
    data["diverged_step"] = ("seed", np.array(gone))
    return xr.Dataset(data, coords={"seed": [0, 1], "step": [0, 5]})


@pytest.mark.parametrize(
    ("loss", "norm", "verdict"),
    [
        ((0.4, 0.5), (-0.1, -0.1), "holds"),
        ((0.4, 0.5), (0.1, 0.1), "holds in part"),
        ((0.4, 0.7), (-0.1, -0.1), "holds in part"),
        ((0.6, 0.7), (0.1, 0.1), "holds in part"),  # it moved
    ],
)
def test_few_images_are_compared_seed_by_seed(loss, norm, verdict):
    quiet = training((0.5, 0.6), moved=(0.1, 0.1))
    row = figure_claims.few_images(quiet, training(loss, norm), "Figure 3", "noise")
    assert row.verdict == verdict
    assert row.values["test_loss"] == pytest.approx(np.mean(loss) - 0.55)


def test_a_network_that_moved_less_has_not_left_the_lazy_regime():
    """Lower loss and norms, as of a lazy network on smoothed labels."""
    noisy = training((0.4, 0.5), (-0.1, -0.1), moved=(0.05, 0.05))
    row = figure_claims.few_images(training((0.5, 0.6)), noisy, "Figure 3", "noise")
    assert row.verdict == "does not hold" and "moved less" in row.note


def test_ties_are_neither_lower_nor_higher():
    quiet = training((0.5, 0.6))
    row = figure_claims.few_images(quiet, quiet, "Figure 3", "noise")
    assert row.verdict == "does not hold"
    assert "lower in 0 of 2 seeds" in row.measured and "higher in 0 of 2 seeds" in row.measured


def test_a_seed_that_diverged_in_either_is_left_out():
    quiet, noisy = training((0.5, 0.6)), training((0.4, NAN), (-0.1, NAN), gone=(NAN, 3.0))
    row = figure_claims.few_images(quiet, noisy, "Figure 3", "noise")
    assert "lower in 1 of 1 seeds" in row.measured
    both = training((NAN, NAN), gone=(1.0, 3.0))
    assert figure_claims.few_images(quiet, both, "Figure 3", "noise").verdict == "not reached"


@pytest.mark.parametrize(
    ("accuracy", "verdict"),
    [
        ((0.72, 0.73), "holds"),
        ((0.70, 0.73), "holds in part"),  # one seed gains, one has the same
        ((0.60, 0.81), "holds in part"),
        ((0.60, 0.70), "does not hold"),
    ],
)
def test_the_best_tau_must_be_surely_better(accuracy, verdict):
    runs = {
        0.0: training((1, 1), accuracy=(0.7, 0.7)),
        0.1: training((1, 1), accuracy=accuracy),
        0.2: training((1, 1), accuracy=(0.1, 0.1)),
    }
    row = figure_claims.generalisation(runs, "flipped labels")
    assert row.verdict == verdict
    assert row.values["gain_tau=0.1"] == pytest.approx(np.mean(accuracy) - 0.7)


def simulation(left, aligned, norm=0.1, regime="rich", theta=1.0):
    curves = {"w_norm_mean": [1.0, norm], "alignment_mean": [0.2, 0.9], "theta_norm": [0.0, theta]}
    data = {name: (("seed", "step"), np.array([v, v])) for name, v in curves.items()}
    data |= {"escape_step": ("seed", np.array(left)), "alignment_step": ("seed", np.array(aligned))}
    data["regime"] = ("seed", np.full(2, REGIMES.index(regime), "i1"))
    return xr.Dataset(data, coords={"seed": [0, 1], "step": [0, 5]})


STAYS = simulation([NAN, NAN], [NAN, NAN], 1.0, "lazy")


@pytest.mark.parametrize(
    ("ascent", "verdict"),
    [
        (simulation([3.0, 4.0], [5.0, 6.0]), "holds"),
        (simulation([3.0, 4.0], [5.0, NAN]), "holds in part"),
        (simulation([3.0, 4.0], [5.0, 6.0], norm=0.9), "holds in part"),
        (STAYS, "does not hold"),
    ],
)
def test_sam_must_leave_shrink_and_align(ascent, verdict):
    assert figure_claims.sam(STAYS, ascent).verdict == verdict


def test_sam_that_moves_without_a_radius_shows_nothing():
    moved = simulation([3.0, 4.0], [5.0, 6.0])
    assert figure_claims.sam(moved, moved).verdict == "holds in part"


def test_sam_with_noise_counts_where_runs_end():
    rich = simulation([1.0, 1.0], [2.0, 2.0])
    gone = simulation([1.0, 1.0], [NAN, NAN], regime="collapsed", theta=1e-7)
    row = figure_claims.sam_with_noise({4.0: gone, 1.0: rich}, "ρ = 0.1")
    assert row.verdict == "holds in part"
    assert "σ = 1: 2 rich" in row.measured and "σ = 4: 2 collapsed" in row.measured
    assert figure_claims.sam_with_noise({1.0: rich}, "").verdict == "holds"
    assert figure_claims.sam_with_noise({4.0: gone}, "").verdict == "does not hold"

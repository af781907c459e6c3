"""The curves and numbers of a cell's trainings."""

import numpy as np
import pytest
import xarray as xr

from labelnoise.analyze.training import headline, summarize

from ..train.made import curves, settings

BLOWS_UP = {"eta": 60.0, "steps": 400, "snapshots": 41}


def test_the_summary_is_the_runs_without_the_neurons():
    runs, _ = curves(settings(ntk_drift=True), seeds=[0, 1])
    found = summarize(runs)
    assert "w_norm" not in found and "neuron" not in found.dims
    xr.testing.assert_identical(found, runs.drop_vars("w_norm"))
    assert found.attrs["classes"] == 4


@pytest.mark.parametrize("drift", [True, False])
def test_the_numbers_are_means_over_the_last_snapshot(drift):
    runs, _ = curves(settings(ntk_drift=drift), seeds=[0, 1, 2])
    numbers = headline(summarize(runs))
    for name in ("train_loss", "test_accuracy", "distance", "norm_change_std"):
        ends = [float(runs[name][seed, -1]) for seed in range(3)]
        wanted = np.mean(ends)
        assert numbers[f"sd_{name}"] == pytest.approx(np.std(ends, ddof=1), rel=1e-9)
        assert numbers[f"final_{name}"] == pytest.approx(wanted, rel=1e-12)
    assert ("final_ntk_drift" in numbers) == drift
    assert (numbers["runs"], numbers["runs_diverged"]) == (3, 0)


def test_diverged_runs_are_counted_and_not_in_a_mean():
    runs, _ = curves(settings(steps=400, snapshots=41), seeds=[0, 1])
    blown, _ = curves(settings(**BLOWS_UP), seeds=[2])
    numbers = headline(summarize(xr.concat([runs, blown], "seed")))
    alone = headline(summarize(runs))
    assert numbers == alone | {"runs": 3, "runs_diverged": 1}


def test_where_all_diverged_there_are_no_numbers():
    blown, _ = curves(settings(**BLOWS_UP), seeds=[0, 1])
    assert headline(summarize(blown)) == {"runs": 2, "runs_diverged": 2}

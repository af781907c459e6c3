"""Curves and telling numbers of constructed runs."""

import warnings

import numpy as np
import pytest
import xarray as xr

from labelnoise.analyze.regimes import REGIMES
from labelnoise.analyze.summary import PHASES, headline, summarize
from labelnoise.simulate.observe import PER_NETWORK, PER_QUANTILE, QUANTILES
from labelnoise.simulate.run import simulate, simulate_along
from labelnoise.simulate.settings import Settings

STEPS = np.array([0, 10, 20])
NEURONS = 11


def constructed(seeds=3, diverged=()):
    """Seed s: ‖w_i‖ falls from (1 + i)² to a tenth, alignment rises by 0.8, |a| is s + 0.01."""
    shape = (seeds, len(STEPS), NEURONS)
    fall = np.array([1, 0.5, 0.1])[None, :, None]
    rise = np.array([0.2, 0.6, 1.0])[None, :, None]
    away = np.array([0, 0.2, 0.4])[None, :, None]
    neuron = np.arange(NEURONS)
    number = np.arange(seeds)[:, None, None]
    per_neuron = {
        "w_norm": fall * (1 + neuron) ** 2 * np.ones((seeds, 1, 1)),
        "alignment": (rise - 0.11 * (neuron == 0)) * np.ones(shape),
        "a": (0.01 + number) * (-1.0) ** neuron * np.ones(shape),
        "displacement": away * (1 + neuron) * np.ones(shape),
    }
    known = {
        "w_norm_mean": per_neuron["w_norm"].mean(-1),
        "w_norm_max": per_neuron["w_norm"].max(-1),
        "alignment_mean": per_neuron["alignment"].mean(-1),
        "a_rms": np.sqrt((per_neuron["a"] ** 2).mean(-1)),
        "a_max": abs(per_neuron["a"]).max(-1),
        "displacement_min": per_neuron["displacement"].min(-1),
        "displacement_max": per_neuron["displacement"].max(-1),
    }
    curves = {
        name: known.get(name, (10.0 * k + np.arange(seeds))[:, None] - STEPS)
        for k, name in enumerate(PER_NETWORK)
    }
    quantiles = {
        f"{name}_quantile": np.moveaxis(np.quantile(per_neuron[name], QUANTILES, axis=-1), 0, -1)
        for name in ("w_norm", "alignment")
    }
    assert quantiles.keys() == PER_QUANTILE.keys()
    data = xr.Dataset(
        {k: (("seed", "step", "neuron"), v.astype("f4")) for k, v in per_neuron.items()}
        | {k: (("seed", "step"), v) for k, v in curves.items()}
        | {k: (("seed", "step", "quantile"), v) for k, v in quantiles.items()}
        | {"theta_star": (("seed", "dim"), np.ones((seeds, 4)))}
        | {"a_trace": (("seed", "trace_step", "trace_neuron"), np.ones((seeds, 2, 3), "f4"))}
        | {"diverged_step": ("seed", np.full(seeds, np.nan))},
        coords={"seed": np.arange(seeds), "step": STEPS, "quantile": list(QUANTILES)},
    )
    for seed in diverged:
        data["diverged_step"][seed] = 5.0
        for name in (*per_neuron, *curves, *quantiles):
            data[name][seed, 1:] = np.nan
    return data


def summary_of(data, eta=0.04):
    return summarize(data, eta=eta, lazy_threshold=0.1, alignment_onset=0.25)


def test_curves_are_kept_and_neurons_are_left_out():
    data = constructed()
    summary = summary_of(data)
    for name in (*PER_NETWORK, *PER_QUANTILE, "theta_star", "diverged_step"):
        assert summary[name].identical(data[name]), name
    assert not {"neuron", "trace_step", "trace_neuron"} & set(summary.dims)
    assert not {"w_norm", "alignment", "a", "displacement", "a_trace"} & set(summary.variables)
    np.testing.assert_allclose(summary["w_norm_mean"][0], [46, 23, 4.6], rtol=1e-6)
    np.testing.assert_allclose(summary["alignment_mean"][1], [0.19, 0.59, 0.99], rtol=1e-6)
    np.testing.assert_allclose(summary["a_rms"][:, 0], [0.01, 1.01, 2.01], rtol=1e-6)
    np.testing.assert_allclose(summary["displacement_min"][2], [0, 0.2, 0.4], rtol=1e-6)
    np.testing.assert_allclose(summary["displacement_max"][2], [0, 2.2, 4.4], rtol=1e-6)


def test_quantiles_are_those_of_the_neurons():
    """With norms 1², 2² … 11² the q-quantile is (1 + 10 q)², for whole 10 q."""
    quantiles = summary_of(constructed())["w_norm_quantile"]
    assert quantiles.dims == ("seed", "step", "quantile")
    np.testing.assert_allclose(quantiles["quantile"], QUANTILES)
    np.testing.assert_allclose(quantiles[0, 0], (1 + 10 * np.array(QUANTILES)) ** 2, rtol=1e-6)


def test_phases_of_the_constructed_runs():
    summary = summary_of(constructed())
    # displacement of the laziest: 0 → 0.2 in 10 steps; alignment: 0.19 → 0.59, a quarter of
    # the way from 0.19 to 1 is 0.3925
    np.testing.assert_allclose(summary["escape_step"], 5, rtol=1e-6)
    assert summary["escape_step"].attrs["threshold"] == 0.1
    np.testing.assert_allclose(summary["alignment_step"], 5.0625, rtol=1e-6)
    assert np.isnan(summary["small_weights_step"]).all()  # √η = 0.2, the largest ends at 12.1
    # √η = 36.3 is passed by the largest norm, 60.5 → 12.1, half-way
    small = summary_of(constructed(), eta=36.3**2)["small_weights_step"]
    np.testing.assert_allclose(small, 15, rtol=1e-6)


def test_a_diverged_run_has_nan_and_spoils_no_other():
    clean, spoiled = summary_of(constructed()), summary_of(constructed(diverged=[1]))
    for name, variable in clean.data_vars.items():
        found = spoiled[name].sel(seed=[0, 2])
        np.testing.assert_array_equal(found, variable.sel(seed=[0, 2]), err_msg=name)
        if "step" in variable.dims:
            assert np.isnan(spoiled[name].sel(seed=1).isel(step=slice(1, None))).all(), name
            assert np.isfinite(spoiled[name].sel(seed=1).isel(step=0)).all(), name
    assert float(spoiled["diverged_step"][1]) == 5


def test_headline_is_the_mean_over_the_seeds():
    numbers = headline(summary_of(constructed()))
    assert numbers["final_train_loss"] == pytest.approx(1 - 20)
    assert numbers["sd_train_loss"] == pytest.approx(1)  # seeds 0, 1, 2
    assert numbers["final_theta_error"] == pytest.approx(21 - 20)
    assert numbers["final_w_norm_mean"] == pytest.approx(4.6)
    assert numbers["final_alignment_mean"] == pytest.approx(0.99)
    assert numbers["escape_step"] == pytest.approx(5)
    assert numbers["runs"] == 3
    assert numbers["runs_diverged"] == 0


def test_headline_drops_phases_that_no_seed_reached():
    numbers = headline(summary_of(constructed()))
    assert "small_weights_step" not in numbers
    assert numbers["reached_small_weights_step"] == 0
    assert numbers["reached_escape_step"] == numbers["reached_alignment_step"] == 3
    assert all(np.isfinite(value) for value in numbers.values())


def test_a_phase_that_some_runs_never_reached_has_no_mean_and_the_others_are_counted():
    data = constructed()
    data["displacement_min"][1] = [0, 0.05, 0.15]  # at 15
    data["displacement_min"][2] = 0.05  # never
    numbers = headline(summary_of(data))
    assert numbers["reached_escape_step"] == 2
    assert "escape_step" not in numbers
    data["displacement_min"][2] = [0, 0.05, 0.15]
    numbers = headline(summary_of(data))
    assert numbers["escape_step"] == pytest.approx((5 + 15 + 15) / 3)
    assert numbers["sd_escape_step"] == pytest.approx(np.std([5, 15, 15], ddof=1))


def test_headline_leaves_diverged_seeds_out():
    numbers = headline(summary_of(constructed(diverged=[2])))
    assert numbers["final_train_loss"] == pytest.approx(0.5 - 20)
    assert (numbers["runs"], numbers["runs_diverged"]) == (3, 1)
    # it had escaped before it diverged, and is counted in nothing
    data = constructed()
    data["diverged_step"][2] = 5.0
    numbers = headline(summary_of(data))
    assert numbers["reached_escape_step"] == 2
    assert numbers["final_w_norm_mean"] == pytest.approx(4.6)


def test_headline_of_nothing_but_diverged_runs_says_so_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        numbers = headline(summary_of(constructed(diverged=[0, 1, 2])))
    reached = {name: value for name, value in numbers.items() if name.startswith("reached_")}
    assert len(reached) >= 3
    assert set(reached.values()) == {0}
    assert numbers == reached | {"runs": 3, "runs_diverged": 3}


def test_more_dimensions_are_summarised_point_by_point():
    given = {"width": 20, "dim": 3, "samples": 10, "steps": 400, "snapshots": 9, "neurons": 2}
    etas = [0.01, 0.02, 30.0]
    points = [Settings(**given, eta=eta, trace_steps=5) for eta in etas]
    along = simulate_along("eta", points, [0, 1])
    summary = summarize(along, eta=along["eta"], lazy_threshold=0.1, alignment_onset=0.25)
    assert summary["escape_step"].dims == ("eta", "seed")
    assert np.isfinite(summary["diverged_step"].sel(eta=30.0)).all()
    assert np.isfinite(summary["escape_step"].sel(eta=[0.01, 0.02])).all()
    for eta, point in zip(etas, points, strict=True):
        alone = summarize(
            simulate(point, [0, 1]), eta=eta, lazy_threshold=0.1, alignment_onset=0.25
        )
        xr.testing.assert_identical(summary.sel(eta=eta, drop=True), alone)
    numbers = headline(summary)
    assert (numbers["runs"], numbers["runs_diverged"]) == (6, 2)
    # a mean over η is no number of the cell
    assert not [name for name in numbers if name.startswith(("final_", *PHASES))]
    regimes = summary["regime"].values
    for code, name in enumerate(REGIMES):
        expected = 2 if name == "diverged" else (regimes == code).sum()
        assert numbers[f"runs_{name}"] == expected
    assert set(np.unique(summary["regime"])) <= set(range(len(REGIMES)))
    assert (summary["regime"].sel(eta=30.0) == REGIMES.index("diverged")).all()


def test_every_variable_of_a_real_summary_says_what_it_is():
    settings = Settings(width=20, dim=3, samples=10, steps=200, snapshots=5, trace_steps=5)
    summary = summary_of(simulate(settings, [0, 1]))
    for name, variable in summary.variables.items():
        assert variable.attrs.get("long_name"), name
        assert variable.attrs.get("units"), name
    assert {summary[f"{phase}_step"].attrs["units"] for phase in ("escape", "alignment")} == {
        "step"
    }

"""The figure of Lemma 4.4 shows what the chains did, and says whether the norms got below √η."""

import numpy as np
import pytest

from labelnoise.plot.figures.oscillation import Options, draw

from .cells import (
    alive,
    assert_renders,
    assert_same_bytes,
    assert_simulated,
    assert_tells_of_divergence,
    assert_traced,
    diverged,
    make_cell,
)

SCHEDULE = {"period": 1000, "duty": 0.5}


def moving(seeds, grid=(), **more):
    settings = {"algorithm": "oscillation", "sigma": 0.0, "delta": 0.5, "trace_steps": 40} | more
    return make_cell(seeds, grid=grid, experiment="oscillation", **settings)


def held(seeds, **more):
    settings = {"algorithm": "oscillation", "sigma": 0.0, "delta": 0.5, "schedule": SCHEDULE} | more
    return make_cell(seeds, experiment="oscillation_periodic", **settings)


CASES = {
    "both": lambda: [moving([0, 1, 2]), held([0, 1])],
    "periodic_first": lambda: [held([0, 1]), moving([0])],
    "moving": lambda: [moving([0, 1])],
    "held": lambda: [held([0, 1])],
    "over_delta": lambda: [moving([0, 1], ["delta"], delta=d) for d in (0.1, 0.5)],
    "below": lambda: [moving([0, 1], eta=0.05, steps=4000)],
    "one_diverged": lambda: [moving([0, 1], eta=20.0), held([0, 1])],
    "all_diverged": lambda: [moving([0, 1], eta=20.0), held([0], eta=20.0)],
    "barely_recorded": lambda: [
        moving([0], snapshots=2, trace_steps=0, neurons=1),
        held([0], snapshots=2),
    ],
}


def label(data) -> str:
    return f"δ = {data.grid['delta']:g}" if data.grid else data.experiment


@pytest.fixture(scope="module", params=CASES)
def drawn(request):
    import matplotlib.pyplot as plt

    cells = CASES[request.param]()
    yield cells, draw(cells, Options())
    plt.close("all")


def test_the_table_holds_what_was_simulated(drawn):
    cells, drawing = drawn
    for data in cells:
        names = ["w_norm_mean", "w_norm_max"]
        if data.settings["schedule"]:
            names = ["w_norm_mean", "train_loss"]
        else:
            quantiles = alive(data)["w_norm_quantile"]
            for q in quantiles["quantile"].values:
                name = f"w_norm_quantile_{q:g}"
                assert_simulated(drawing.numbers, label(data), name, quantiles.sel(quantile=q))
        for name in names:
            assert_simulated(drawing.numbers, label(data), name, alive(data)[name])


def test_the_chains_and_the_distribution_are_those_of_one_run(drawn):
    cells, drawing = drawn
    always = [c for c in cells if c.settings["schedule"] is None and not diverged(c).all()]
    rows = drawing.numbers[drawing.numbers["panel"] == "distribution"]
    if not always:
        assert rows.empty
        return
    assert_traced(drawing.numbers, always[0], neurons=3, steps=60)
    run = always[0].runs(int(alive(always[0])["seed"][0]))["w_norm"].isel(step=[0, -1])
    found = rows.pivot(index="step", columns="neuron", values="value")
    np.testing.assert_allclose(found.to_numpy(float), run, rtol=1e-6)


def test_diverged_runs_are_told_of_and_left_out(drawn):
    cells, drawing = drawn
    assert_tells_of_divergence(drawing, cells, map(label, cells))


def test_it_counts_the_runs_whose_mean_norm_gets_below_the_threshold(drawn):
    cells, drawing = drawn
    always = [c for c in cells if c.settings["schedule"] is None and not diverged(c).all()]
    for data in always:
        norms = alive(data)["w_norm_mean"]
        below = (norms <= np.sqrt(data.settings["eta"])).any("step")
        tag = f" delta:{data.settings['delta']}" if len(always) > 1 else ""
        assert drawing.metrics[f"runs_below{tag}"] == int(below.sum())
        assert f"in {int(below.sum())} of {norms.sizes['seed']} runs" in drawing.text


def test_some_case_gets_below_and_some_does_not():
    assert draw(CASES["below"](), Options()).metrics["runs_below"] == 2
    assert draw(CASES["moving"](), Options()).metrics["runs_below"] == 0


def test_it_can_be_rendered_without_a_warning(drawn):
    assert_renders(drawn[1])


@pytest.mark.parametrize("case", ["both", "one_diverged", "all_diverged"])
def test_the_same_cells_give_the_same_bytes(case, tmp_path):
    assert_same_bytes(lambda: draw(CASES[case](), Options()), tmp_path)

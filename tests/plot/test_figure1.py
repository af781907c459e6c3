"""Figure 1 and the spectrum show what was trained, and say of it what is so."""

import dataclasses
from functools import cache

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from labelnoise.analyze.pruning import prune
from labelnoise.analyze.training import summarize
from labelnoise.linearize.images import linearize
from labelnoise.plot.figures import figure1, spectrum
from labelnoise.plot.parts.style import CellData

from ..train.made import curves, images, settings
from .cells import assert_renders, assert_same_bytes, plural

SHARES = {"channels_kept": [1.0, 0.75, 0.5, 0.25], "weights_kept": [1.0, 0.5, 0.1]}
RESNET = {
    **{"network": "resnet", "width": 4, "depth": 10, "loss": "cross_entropy", "batch_size": 6},
    **{"steps": 20, "eta": 0.1},
}


@cache
def made(tau, seeds=(0, 1, 2)):
    chosen = settings(**RESNET, tau=tau)
    data, weights = curves(chosen, seeds=seeds)
    return chosen, data, prune(chosen, images(), weights, seeds, **SHARES)


def cell(tau, gone=()):
    """A cell; the runs of the seeds `gone` are made to have diverged."""
    chosen, data, pruned = made(tau)
    analysis = summarize(data).copy(deep=True)
    for seed in gone:
        analysis["diverged_step"].loc[{"seed": seed}] = 10.0
    blocks = [pruned.isel(seed=slice(0, 2)), pruned.isel(seed=slice(2, 3))]
    kept = chosen.model_dump(mode="json")
    return CellData("resnet", {"tau": tau}, {}, kept, prune=blocks, analyze=[analysis])


@pytest.fixture(params=[(), (1,)], ids=["all", "one_diverged"])
def cells(request):
    yield [cell(0.3, gone=request.param), cell(0.0), cell(0.1)]
    plt.close("all")


def draw(cells):
    return figure1.draw(cells, figure1.Options())


def alive(cells):
    gone = {int(s) for c in cells for s in c.analysis.seed[c.analysis.diverged_step.notnull()]}
    return [seed for seed in (0, 1, 2) if seed not in gone]


def test_it_draws_the_same_bytes_without_warnings(cells, tmp_path):
    assert_renders(draw(cells))
    assert_same_bytes(lambda: draw(cells), tmp_path)


def test_the_lines_are_the_means_over_the_seeds_that_never_diverged(cells):
    drawing, seeds = draw(cells), alive(cells)
    accuracy, loss, merged, magnitude = drawing.figure.axes
    for number, one in enumerate(sorted(cells, key=lambda c: c.settings["tau"])):
        data, pruned = one.analysis.sel(seed=seeds), made(one.settings["tau"])[2].sel(seed=seeds)
        x, y = accuracy.get_lines()[number].get_data()
        np.testing.assert_allclose(x, data["step"] * 6 / 12)
        np.testing.assert_allclose(y, 100 * data["test_accuracy"].mean("seed"))
        np.testing.assert_allclose(
            loss.get_lines()[number].get_ydata(), data["test_loss"].mean("seed")
        )
        for axes, method in ((merged, "merged"), (magnitude, "magnitude")):
            x, y = axes.get_lines()[number].get_data()
            np.testing.assert_allclose(x, 100 * pruned[f"{method}_parameters"].mean("seed"))
            gain = pruned - made(0.0)[2].sel(seed=seeds)
            np.testing.assert_allclose(
                y, 100 * gain[f"{method}_test_accuracy"].mean("seed"), atol=1e-9
            )


def test_the_text_has_each_accuracy_and_counts_the_seeds(cells):
    drawing, seeds = draw(cells), alive(cells)
    assert "12 images" in drawing.text and "for 10 epochs" in drawing.text
    final = {
        c.settings["tau"]: 100 * c.analysis["test_accuracy"].sel(seed=seeds).isel(step=-1).values
        for c in cells
    }
    for tau, values in final.items():
        spread = f"{values.mean():.2f} ± {values.std(ddof=1):.2f}"
        assert f"| {tau:g} | {spread} |" in drawing.text
    better = int((final[0.3] > final[0.0]).sum())
    gain = (final[0.3] - final[0.0]).mean()
    wanted = f"With τ = 0.3 the network is more accurate than without noise in {better} of "
    wanted += f"{plural(seeds)} (by "
    assert f"{wanted}{gain:+.2f} points)".replace("(by -", "(by −") in drawing.text
    assert ("1 of 3 runs diverged" in drawing.text) == (len(seeds) < 3)


def trained(*accuracies, tau=0.0):
    """What was pruned of one seed after another, with these accuracies."""
    dims, seeds = ("seed", "channels_kept"), range(len(accuracies))
    pruned = xr.Dataset(
        {
            "merged_test_accuracy": (dims, list(accuracies)),
            "merged_parameters": (dims, [[1.0, 0.6, 0.3, 0.1]] * len(accuracies)),
        },
        {"channels_kept": SHARES["channels_kept"], "seed": list(seeds)},
    )
    return figure1.Trained(f"τ = {tau}", "", "", {"tau": tau}, xr.Dataset(), pruned)


def test_the_share_at_which_pruning_costs_too_much_is_interpolated():
    shares, reached = trained(
        [0.9, 0.88, 0.4, 0.2],  # two points lost at 60 %, fifty at 30 %
        [0.9, 0.3, 0.9, 0.9],  # what comes back later does not count
        [0.9, 0.9, 0.85, 0.1],  # five points on the share itself
        [0.9, 0.9, 0.9, 0.86],  # never so much
    ).taken("merged")
    between = 60 * 0.5 ** (3 / 48)
    np.testing.assert_allclose(shares, [between, 100 * 0.6 ** (5 / 60), 30, 10])
    assert reached.tolist() == [True, True, True, False]


def test_a_tie_is_not_smaller_and_is_said_to_be_one():
    plain = trained([0.9, 0.8, 0.4, 0.2], [0.9, 0.8, 0.4, 0.2], [0.9, 0.9, 0.9, 0.9])
    noisy = trained([0.9, 0.9, 0.4, 0.2], [0.9, 0.8, 0.4, 0.2], [0.9, 0.9, 0.9, 0.89], tau=0.1)
    said = figure1._smaller(noisy, plain, "merged")
    assert said == "smaller in 1 of 3 seeds (the same in 2)"
    assert figure1._smaller(plain, noisy, "merged") == "smaller in 0 of 3 seeds (the same in 2)"
    assert figure1._taken(plain, "merged").endswith("(1 of 3 seeds: less than 10.0)")


def test_cells_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match="resnet: a cell with tau: 0 is needed"):
        draw([cell(0.1)])
    with pytest.raises(ValueError, match="no seed is left"):
        draw([cell(0.0, gone=(0, 1)), cell(0.1, gone=(2,))])


def mlp(eta=0.3):
    chosen = settings(eta=eta)
    kept = chosen.model_dump(mode="json")
    runs = [linearize(chosen, images(), [seed]) for seed in (0, 1)]
    return CellData("mlp", {}, {}, kept, linearize=runs)


def test_the_spectrum_is_drawn_from_the_largest_on(tmp_path):
    one = mlp()
    drawing = spectrum.draw([one], spectrum.Options())
    values = one.linearized()["eigenvalue"].values
    x, y = drawing.figure.axes[0].get_lines()[0].get_data()
    assert x[0] == 1 and len(x) == 12 * 4
    np.testing.assert_allclose(y, values.mean(0)[::-1])
    learnt = 48 / (0.3 * 20)
    share = (values > learnt).mean()
    assert f"{100 * share:.0f} % of the modes lie above N/(η·steps) = {learnt:.3g}" in drawing.text
    assert "are learnt in the 20 steps" in drawing.text
    axes = drawing.figure.axes[0]
    said = {text.get_text(): text.xy[1] for text in axes.texts if "learnt" in text.get_text()}
    assert said == pytest.approx({"learnt in 20 steps": learnt, "not learnt": learnt})
    (shade,) = axes.patches
    assert shade.get_y() == pytest.approx(learnt)
    assert f"stable up to η = {one.linearized()['eta_max'].min():.3g} (used: 0.3)" in drawing.text
    assert_renders(drawing)
    assert_same_bytes(lambda: spectrum.draw([one], spectrum.Options()), tmp_path)
    with pytest.raises(ValueError, match="no cell has a linearised run"):
        spectrum.draw([cell(0.0)], spectrum.Options())


def test_spectra_of_the_same_network_are_told_apart_by_their_experiments():
    pair = [
        dataclasses.replace(mlp(eta), experiment=name) for name, eta in (("a", 0.3), ("b", 0.1))
    ]
    drawing = spectrum.draw(pair, spectrum.Options())
    assert set(drawing.metrics) == {"a learnt_modes", "b learnt_modes"}
    for one in pair:
        rows = drawing.numbers.query("experiment == @one.experiment")["value"]
        assert sorted(rows) == sorted(one.linearized()["eigenvalue"].values.ravel())
        assert f"**MLP, digits ({one.experiment}).**" in drawing.text
    titles = [axes.get_title(loc="left") for axes in drawing.figure.axes]
    assert titles == ["MLP, digits\n(a)", "MLP, digits\n(b)"]


@pytest.mark.parametrize(("count", "shape"), [(1, (1, 1)), (3, (1, 3)), (4, (2, 2)), (8, (3, 3))])
def test_spectra_have_room_however_many_they_are(count, shape):
    one = mlp()
    many = [dataclasses.replace(one, experiment=f"e{number}") for number in range(count)]
    drawing = spectrum.draw(many, spectrum.Options())
    panels = drawing.figure.axes
    assert len(panels) == count
    assert panels[0].get_subplotspec().get_gridspec().get_geometry() == shape
    assert_renders(drawing)

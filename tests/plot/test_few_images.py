"""Figures 3 and 5 show what was trained, and say of it what is so."""

import re
from functools import cache

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from labelnoise.analyze.training import summarize
from labelnoise.linearize.images import linearize
from labelnoise.plot.figures import figure3, figure5
from labelnoise.plot.parts.few_images import BAND, BANDS, band, envelope
from labelnoise.plot.parts.style import CellData, typeset

from ..train.made import curves, images, settings
from .cells import assert_renders, assert_same_bytes, plural

QUANTITIES = ["train_loss", "test_loss", "norm_change_mean", "norm_change_std"]
ALSO = ["train_accuracy", "test_accuracy", "distance"]
RESNET = {"network": "wide_resnet", "width": 1, "steps": 4, "snapshots": 3}


@cache
def runs(seeds, given, network):
    """Trainings and their linearisation, kept: many cases draw the same."""
    chosen = settings(**dict(network), **dict(given))
    linear = [linearize(chosen, images(), [s]) for s in seeds] if chosen.is_linearized else []
    return chosen, curves(chosen, seeds=seeds)[0], linear


def cell(seeds=(0, 1, 2), experiment="mlp", gone=(), network=(), **given):
    """A cell; the runs of the seeds `gone` are made to have diverged."""
    network = tuple(sorted(dict(network).items()))
    chosen, data, linear = runs(tuple(seeds), tuple(given.items()), network)
    analysis = summarize(data).copy(deep=True)
    for seed in gone:
        analysis["diverged_step"].loc[{"seed": seed}] = 10.0
        for name in QUANTITIES + ALSO:
            analysis[name].loc[{"seed": seed, "step": slice(10, None)}] = np.nan
    return CellData(
        experiment=experiment,
        grid={name: value for name, value in given.items() if name in ("tau", "rho")},
        together={},
        settings=chosen.model_dump(mode="json"),
        linearize=linear,
        analyze=[analysis],
    )


def noise(tau, **given):
    return cell(tau=tau, **given)


def sam(rho, **given):
    return cell(rho=rho, algorithm="sam", **given)


def resnet(make, strength):
    return make(strength, experiment="resnet", seeds=[0, 1], network=RESNET)


CASES = {
    "noise": (figure3, lambda: [noise(0.0), noise(0.5)]),
    "unsorted": (figure3, lambda: [noise(0.5), noise(0.0), noise(0.2)]),
    "one_seed": (figure3, lambda: [noise(0.0, seeds=[4]), noise(0.5, seeds=[4])]),
    "networks": (
        figure3,
        lambda: [noise(0.0), noise(0.5), resnet(noise, 0.0), resnet(noise, 0.5)],
    ),
    "flipped": (figure3, lambda: [noise(t, network={"noise": "flip"}) for t in (0.0, 0.5)]),
    "cross_entropy": (
        figure3,
        lambda: [noise(t, network={"loss": "cross_entropy"}) for t in (0.0, 0.5)],
    ),
    "diverged": (figure3, lambda: [noise(0.0, gone=[1]), noise(0.5, gone=[2])]),
    "sam": (figure5, lambda: [sam(0.0), sam(0.5)]),
    "two_radii": (figure5, lambda: [sam(0.0), sam(0.1), sam(0.5)]),
    "sam_resnet": (figure5, lambda: [resnet(sam, 0.0), resnet(sam, 0.5)]),
    "sam_diverged": (figure5, lambda: [sam(0.0), sam(0.5, gone=[0])]),
}


def draw(case):
    module, make = CASES[case]
    return module.draw(make(), module.Options())


@pytest.fixture(scope="module", params=CASES)
def drawn(request):
    yield CASES[request.param][1](), draw(request.param)
    plt.close("all")


def by(cells):
    return "rho" if cells[0].settings["algorithm"] == "sam" else "tau"


def groups(cells):
    """The cells of each experiment from the least disturbed on, and the seeds all of them have."""
    for name in dict.fromkeys(c.experiment for c in cells):
        group = sorted((c for c in cells if c.experiment == name), key=lambda c: c.grid[by(cells)])
        lost = {int(s) for c in group for s in c.analysis.seed[c.analysis.diverged_step.notnull()]}
        yield group, [int(s) for s in group[0].analysis.seed.values if int(s) not in lost], lost


def lines(group):
    """What must be drawn of an experiment: label, data."""
    what, none = {
        "tau": ("label noise, τ", "no label noise"),
        "rho": ("SAM, ρ", "gradient descent"),
    }[by(group)]
    found = {none: group[0].analysis}
    found |= {f"{what} = {c.grid[by(group)]:g}": c.analysis for c in group[1:]}
    if group[0].linearize:
        found["linearised"] = xr.concat(group[0].linearize, "seed")
        if by(group) == "tau":
            found["linearised, mean noisy label"] = xr.concat(group[-1].linearize, "seed")
    return found


def test_the_table_holds_every_curve_and_nothing_else(drawn):
    cells, drawing = drawn
    wanted = []
    for group, seeds, _ in groups(cells):
        for label, data in lines(group).items():
            for quantity in QUANTITIES + ALSO:
                for seed in seeds:
                    frame = data[quantity].sel(seed=seed).to_pandas().reset_index(name="value")
                    more = {"experiment": group[0].experiment, "line": label, "seed": seed}
                    wanted.append(frame.assign(quantity=quantity, **more))
    keys = ["experiment", "line", "quantity", "seed", "step"]
    wanted = pd.concat(wanted).set_index(keys)["value"].sort_index()
    found = drawing.numbers.set_index(keys)["value"].sort_index()
    pd.testing.assert_series_equal(found, wanted, check_index_type=False)
    assert np.isfinite(found).all()


def panel(data, group, quantity):
    """What is drawn of a quantity: of a loss in Figure 5, the difference to gradient descent."""
    values = data[quantity]
    if by(group) == "rho" and quantity.endswith("loss"):
        return 100 * (values / group[0].analysis[quantity] - 1)
    return values * (100 if quantity.startswith("norm") else 1)


def test_the_panels_show_means_over_the_seeds(drawn):
    cells, drawing = drawn
    panels = np.array(drawing.figure.axes).reshape(-1, len(QUANTITIES))
    for row, (group, seeds, _) in zip(panels, groups(cells), strict=True):
        expected = lines(group)
        for axes, quantity in zip(row, QUANTITIES, strict=True):
            shown = [line for line in axes.get_lines() if len(line.get_xdata()) > 2]
            assert len(shown) == len(expected)
            for line, data in zip(shown, expected.values(), strict=True):
                mean = panel(data, group, quantity).sel(seed=seeds).mean("seed")
                np.testing.assert_allclose(line.get_ydata(), mean, rtol=1e-12)
                np.testing.assert_array_equal(line.get_xdata(), data["step"])
            assert len({(line.get_color(), line.get_linestyle()) for line in shown}) == len(shown)
    labels = [text.get_text() for text in drawing.figure.legends[0].get_texts()]
    wanted = {typeset(label) for group, *_ in groups(cells) for label in lines(group)}
    assert set(labels) == wanted | {f"band: {BAND}"}


def edges(polygon):
    """Lower and upper edge of a filled band, by x."""
    corners = pd.DataFrame(polygon.get_paths()[0].vertices, columns=["x", "y"])
    found = corners.groupby("x")["y"].agg(["min", "max"])
    return found["min"].values, found["max"].values


def test_the_bands_span_the_differences_to_the_undisturbed_runs(drawn):
    cells, drawing = drawn
    panels = np.array(drawing.figure.axes).reshape(-1, len(QUANTITIES))
    for row, (group, seeds, _) in zip(panels, groups(cells), strict=True):
        plain, *others = lines(group).values()
        for axes, quantity in zip(row, QUANTITIES, strict=True):
            base = panel(plain, group, quantity).sel(seed=seeds).values
            own, *bands = map(edges, axes.collections)
            for edge in own:
                np.testing.assert_allclose(edge, base.mean(0), rtol=1e-12)
            for (low, high), data in zip(bands, others, strict=True):
                apart = panel(data, group, quantity).sel(seed=seeds).values - base
                for step, one in enumerate(apart.T):
                    assert low[step] == pytest.approx(base[:, step].mean() + min(one), abs=1e-12)
                    assert high[step] == pytest.approx(base[:, step].mean() + max(one), abs=1e-12)


def ends(data, seeds, quantity):
    return data[quantity].sel(seed=seeds).isel(step=-1).values


def test_the_text_says_what_is_so(drawn):
    cells, drawing = drawn
    *paragraphs, what = drawing.text.split("\n\n")
    assert what.startswith("Drawn are the training loss") and what.endswith(BANDS)
    for text, (group, seeds, lost) in zip(paragraphs, groups(cells), strict=True):
        plain, worst = (ends(c.analysis, seeds, "test_loss") for c in (group[0], group[-1]))
        end = f"{worst.mean():.4f}"
        if len(seeds) > 1:
            end += f" ± {worst.std(ddof=1):.4f}"
        better = (worst - plain).mean() < 0
        count = sum(worst < plain) if better else sum(worst > plain)
        way = "lower" if better else "higher"
        assert f"the test loss is {way} in {count} of {plural(seeds)}: it ends at {end}" in text
        norms = [ends(c.analysis, seeds, "norm_change_mean") for c in (group[0], group[-1])]
        grown = 100 * (norms[1] - norms[0])
        smaller = grown.mean() < 0
        count = sum(grown < 0) if smaller else sum(grown > 0)
        way = "smaller" if smaller else "larger"
        assert f"norm is {way} in {count} of {plural(seeds)} (by {abs(grown.mean()):.2g} %)" in text
        moved = [ends(c.analysis, seeds, "distance").mean() for c in (group[-1], group[0])]
        assert f"moved by {moved[0]:.4f} and {moved[1]:.4f} of their norm" in text
        linear = lines(group).get("linearised")
        assert ("It has no linearised run" in text) == (linear is None)
        if linear is not None:
            gaps = [abs(x - ends(linear, seeds, "test_loss")) for x in (plain, worst)]
            assert f"{gaps[0].mean():.4f} from the one with " in text
            assert f"{gaps[1].mean():.4f} from the one with " in text
            assert f"nearer in {sum(gaps[0] < gaps[1])} of {plural(seeds)}" in text
        assert ("diverged" in text) == bool(lost)
        for c in group:
            gone = int(c.analysis.diverged_step.notnull().sum())
            if gone:
                symbol, value = {"tau": "τ", "rho": "ρ"}[by(group)], c.grid[by(group)]
                assert f"{symbol} = {value:g}: {gone} of 3 runs diverged" in text
    assert "nan" not in drawing.text


def test_figure_3_says_how_much_the_mean_label_explains(drawn):
    cells, drawing = drawn
    shown = by(cells) == "tau" and cells[0].settings["loss"] == "mse"
    flipped = cells[0].settings["noise"] == "flip"
    assert ("½τ²(C − 1)/C²" in drawing.text) == (shown and not flipped)
    assert ("½τ²/(C − 1)" in drawing.text) == (shown and flipped)
    assert ("flipped labels" in drawing.text) == flipped
    if not shown:
        return
    for group, seeds, _ in groups(cells):
        tau, found = group[-1].grid["tau"], lines(group)
        wrong = (1 - np.eye(4)[0]) / 3 if flipped else np.full(4, 1 / 4)
        mean_label = tau * wrong + (1 - tau) * np.eye(4)[0]
        loss = ((mean_label - np.eye(4)[0]) ** 2).mean() / 2
        reached = ends(group[-1].analysis, seeds, "train_loss").mean()
        assert f" = {loss:.4f} (measured: {reached:.4f})" in drawing.text
        linear, lazy = (
            ends(found[name], seeds, "test_loss")
            for name in ("linearised", "linearised, mean noisy label")
        )
        plain, noisy = (ends(c.analysis, seeds, "test_loss") for c in (group[0], group[-1]))
        gained, seen = (linear - lazy).mean(), (plain - noisy).mean()
        what = "gain" if seen > 0 else "harm"
        verdict = f"so much of the {what} needs no leaving of the lazy regime"
        if (gained > 0) != (seen > 0):
            verdict = f"the {what} is not one of the labels' mean"
        goes = [f"{'gains' if x > 0 else 'loses'} {abs(x):.4f}" for x in (gained, seen)]
        assert (
            f"{goes[0]} in test loss where the network {goes[1]}. They end "
            f"{abs(noisy - lazy).mean():.4f} apart: {verdict}."
        ) in drawing.text


def test_an_envelope_is_smooth_and_nowhere_below_its_curve():
    steps = np.arange(201)
    teeth = np.where(steps % 2, 1.0, 0.0) + steps / 100
    smooth = envelope(teeth)
    assert (smooth >= teeth).all()
    assert abs(np.diff(smooth, 2)).max() < 0.1 < abs(np.diff(teeth, 2)).max()
    assert (smooth - teeth).max() < 1.2
    np.testing.assert_array_equal(envelope(teeth[:30]), teeth[:30])  # too few to be smoothed


def test_one_seed_has_no_band():
    one = xr.DataArray(np.random.default_rng(0).normal(size=(1, 201)), dims=("seed", "step"))
    low, high = band(one, 0 * one)
    np.testing.assert_array_equal(low, high)
    np.testing.assert_array_equal(low, one[0])


def test_the_mean_label_is_seen_on_the_noisy_network():
    drawing = draw("noise")
    first = drawing.figure.axes[0]
    plain, noisy, linear, mean_label = first.get_lines()
    assert mean_label.get_color() == noisy.get_color()  # so it needs an edge
    stroke = mean_label.get_path_effects()[0]
    assert stroke._gc["foreground"] == "white"
    assert mean_label.get_zorder() > noisy.get_zorder()
    assert linear.get_linewidth() < plain.get_linewidth()


def test_the_metrics_are_of_each_experiment(drawn):
    cells, drawing = drawn
    wanted = {}
    for group, seeds, _ in groups(cells):
        plain, worst = (ends(c.analysis, seeds, "test_loss") for c in (group[0], group[-1]))
        name = group[0].experiment
        wanted[f"{name} test_loss_gain"] = (plain - worst).mean()
        wanted[f"{name} test_loss_plain"] = plain.mean()
        if "linearised" in lines(group):
            gap = plain - ends(lines(group)["linearised"], seeds, "test_loss")
            wanted[f"{name} linearised_gap"] = abs(gap).mean()
    assert drawing.metrics == pytest.approx(wanted)
    assert all(re.fullmatch(r"[\w\-. :/]+", name, re.ASCII) for name in drawing.metrics)


def test_it_can_be_rendered_without_a_warning(drawn):
    assert_renders(drawn[1])


@pytest.mark.parametrize("case", ["noise", "sam_diverged"])
def test_the_same_cells_give_the_same_bytes(case, tmp_path):
    assert_same_bytes(lambda: draw(case), tmp_path)


def test_a_linearised_network_that_diverges_is_not_drawn():
    cells = [noise(0.0), noise(0.5)]
    for linear in cells[0].linearize:
        linear["diverged_step"][:] = 5.0
    drawing = figure3.draw(cells, figure3.Options())
    runs.cache_clear()
    assert "no linearised run to compare with, or one that diverges" in drawing.text
    assert "linearised" not in set(drawing.numbers["line"])
    assert not any("linearised_gap" in name for name in drawing.metrics)


@pytest.mark.parametrize(
    ("module", "make", "message"),
    [
        (figure3, lambda: [noise(0.5)], r"experiments.mlp: one cell with tau: 0 .* tau: \[0.5\]"),
        (figure3, lambda: [noise(0.0)], r"experiments.mlp: .* at least one with more is needed"),
        (figure3, lambda: [noise(0.0), noise(0.0)], r"got tau: \[0.0, 0.0\]"),
        (figure5, lambda: [noise(0.0), noise(0.5)], r"one cell with rho: 0 .* rho: \[0.0, 0.0\]"),
        (
            figure3,
            lambda: [noise(0.0, gone=[0, 1]), noise(0.5, gone=[2])],
            r"experiments.mlp: a run of every seed diverged \(τ = 0: 2 of 3 .*; take a smaller eta",
        ),
    ],
)
def test_what_cannot_be_drawn_is_said(module, make, message):
    with pytest.raises(ValueError, match=message):
        module.draw(make(), module.Options())


def test_rows_of_the_same_network_are_told_apart_and_share_their_colours():
    cells = [*(noise(tau, seeds=[4]) for tau in (0.0, 0.5))]
    cells += [noise(tau, seeds=[4], experiment="other") for tau in (0.0, 0.2, 0.5)]
    drawing = figure3.draw(cells, figure3.Options())
    panels = drawing.figure.axes
    assert panels[0].get_title(loc="left") == "MLP, digits (mlp)"
    assert panels[4].get_title(loc="left") == "MLP, digits (other)"
    assert "**MLP, digits (other).**" in drawing.text
    # a label has one colour in all rows, the one of the legend
    first, second = ([line.get_color() for line in panels[i].get_lines()] for i in (0, 4))
    assert first[:2] == [second[0], second[2]]
    assert len(set(second[:3])) == 3
    assert not drawing.numbers.duplicated(["experiment", "line", "seed", "step", "quantity"]).any()

"""The phase diagram shows the given regimes, and its text compares them with the predictions."""

import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from labelnoise.analyze.flow.limits import stability_limit
from labelnoise.analyze.regimes import REGIMES
from labelnoise.analyze.summary import summarize
from labelnoise.analyze.theory import escape_time
from labelnoise.plot.figures.phase_diagram import Options, draw
from labelnoise.plot.parts.style import CellData, save
from labelnoise.simulate.run import simulate_along
from labelnoise.simulate.settings import Settings

NAN = float("nan")
CODE = {name: code for code, name in enumerate(REGIMES)}
ETA = [0.0001, 0.0005, 0.001, 0.004]
STEPS = 1_000_000


def row(name, grid, along, regimes, times, **settings):
    """A cell with η along a dimension: regimes and T₁ over (eta, seed)."""
    codes = np.vectorize(CODE.get)(regimes)
    gone = np.where(codes == CODE["diverged"], 10.0, NAN)
    data = xr.Dataset(
        {
            "regime": (("eta", "seed"), codes.astype("i1")),
            "escape_step": (("eta", "seed"), np.asarray(times, float)),
            "diverged_step": (("eta", "seed"), gone),
        },
        coords={"eta": along, "seed": np.arange(codes.shape[1])},
    )
    data["escape_step"].attrs["threshold"] = 0.1
    given = Settings(**settings, **grid, eta=along[0], steps=STEPS).model_dump()
    return CellData(name, grid, {"eta": along}, given, analyze=[data])


def as_predicted(name, parameter, values, law, seeds=2, **settings):
    """Runs that follow a law of T₁ and the stability limit to the letter."""
    rows = []
    for value in values:
        times = np.repeat(law(value, np.array(ETA))[:, None], seeds, axis=1)
        regimes = np.where(times <= STEPS, "rich", "lazy").astype(object)
        regimes[np.array(ETA) > stability_limit(1000, 20)] = "diverged"
        times = np.where(times <= STEPS, times, NAN)
        rows.append(row(name, {parameter: value}, ETA, regimes, times, **settings))
    return rows


def sgd(**more):
    return as_predicted(
        "noise", "sigma", [0.5, 2.0, 8.0], lambda s, eta: escape_time(s, eta, 1000.0, 7.0), **more
    )


def sam(**more):
    given = {"algorithm": "sam", "sigma": 0.0} | more
    return as_predicted("sam", "rho", [0.01, 0.1, 1.0], lambda r, eta: 0.9 * r**-2 / eta, **given)


def mixed():
    """Three seeds: alike; two of one kind; three kinds."""
    regimes = [
        ["lazy", "lazy", "lazy"],
        ["noisy", "rich", "noisy"],
        ["rich", "collapsed", "noisy"],
        ["diverged", "rich", "diverged"],
    ]
    return [row("mixed", {"sigma": 4.0}, ETA, regimes, np.full((4, 3), 1000.0))]


def filled(regime):
    return lambda: [
        row("all", {"sigma": sigma}, ETA, [[regime] * 2] * 4, np.full((4, 2), NAN))
        for sigma in (1.0, 2.0)
    ]


ANALYSIS = {"lazy_threshold": 0.1, "alignment_onset": 0.25}


def simulated():
    common = {"width": 30, "dim": 5, "samples": 20, "snapshots": 21, "steps": 2000, "neurons": 2}
    along, found = [0.0005, 0.005, 0.5], []
    for sigma in (0.5, 16.0):
        points = [Settings(sigma=sigma, eta=eta, **common) for eta in along]
        runs = simulate_along("eta", points, [0, 1])
        data = summarize(runs, eta=runs["eta"], **ANALYSIS)
        given = points[0].model_dump()
        found.append(CellData("tiny", {"sigma": sigma}, {"eta": along}, given, analyze=[data]))
    return found


CASES = {
    "both": lambda: [*sgd(), *sam()],
    "one_panel": sgd,
    "rows_out_of_order": lambda: sgd()[::-1],
    "one_row": lambda: sgd()[1:2],
    "one_seed": lambda: sgd(seeds=1),
    "mixed": mixed,
    "all_diverged": filled("diverged"),
    "all_lazy": filled("lazy"),
    "all_rich": filled("rich"),
    "one_run": lambda: [row("one", {"rho": 0.1}, [0.001], [["rich"]], [[50.0]], algorithm="sam")],
    "simulated": simulated,
}


@pytest.fixture(scope="module", params=CASES)
def drawn(request):
    import matplotlib.pyplot as plt

    given = CASES[request.param]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawing = draw(given, Options())
    yield given, drawing
    plt.close("all")


def test_the_table_holds_exactly_what_was_given(drawn):
    given, drawing = drawn
    table = drawing.numbers.set_index(["experiment", "parameter", "x", "eta", "seed"])
    assert table.index.is_unique
    count = 0
    for cell in given:
        ((parameter, value),) = cell.grid.items()
        for eta in cell.together["eta"]:
            for seed in cell.analysis["seed"].values:
                run = cell.analysis.sel(eta=eta, seed=seed)
                found = table.loc[(cell.experiment, parameter, value, eta, seed)]
                assert found["regime"] == REGIMES[run["regime"].item()]
                for name in ("escape_step", "diverged_step"):
                    np.testing.assert_array_equal(found[name], run[name])
                count += 1
    assert count == len(table)


def test_the_shares_are_those_of_the_runs(drawn):
    given, drawing = drawn
    for name in {cell.experiment for cell in given}:
        codes = [
            code
            for cell in given
            if cell.experiment == name
            for code in cell.analysis["regime"].values.ravel()
        ]
        for code, regime in enumerate(REGIMES):
            share = np.mean(np.array(codes) == code)
            assert drawing.metrics[f"{name}_{regime}"] == pytest.approx(share)
            assert f"{regime} {100 * share:.1f} %" in drawing.text


def test_it_can_be_rendered_without_a_warning(drawn):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn[1].figure.canvas.draw()


def test_the_legend_names_every_regime_that_occurs(drawn):
    _, drawing = drawn
    texts = {text.get_text() for legend in drawing.figure.legends for text in legend.get_texts()}
    assert texts & set(REGIMES) == set(drawing.numbers["regime"])
    assert ("seeds disagree" in texts) == (drawing.numbers["experiment"].eq("mixed").any())


def test_each_cell_has_the_colour_of_its_regime():
    """Of the rendered picture, in the middle of both halves of a cell."""
    from matplotlib.colors import to_rgb

    from labelnoise.plot.figures.phase_diagram import COLORS

    drawing = draw(mixed(), Options(decades=0))
    figure = drawing.figure
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[::-1]
    (axes,) = figure.axes
    edges = [ETA[0] ** 1.5 / ETA[1] ** 0.5, *np.sqrt(np.multiply(ETA[1:], ETA[:-1]))]
    edges.append(ETA[-1] ** 1.5 / ETA[-2] ** 0.5)
    # of three different ones, those of the lowest codes
    expected = [
        ("lazy", "lazy"),
        ("noisy", "rich"),
        ("rich", "collapsed"),
        ("diverged", "rich"),
    ]
    for number, halves in enumerate(expected):
        bottom, top = np.log(edges[number]), np.log(edges[number + 1])
        for share, name in zip((0.15, 0.85), halves, strict=True):
            x = np.exp(np.log(4) + (share - 0.5) * np.log(2))
            y = np.exp(bottom + share * (top - bottom))
            column, line = axes.transData.transform((x, y)).astype(int)
            found = pixels[line, column, :3] / 255
            np.testing.assert_allclose(found, to_rgb(COLORS[name]), atol=0.01, err_msg=name)


def test_runs_that_follow_the_predictions_agree_with_them():
    drawing = draw([*sgd(), *sam()], Options())
    names, noise, ascent = drawing.text.split("\n\n")
    assert "*lazy* if the first layer moved by less than 10 % of its norm" in names
    assert "the last 25 % of the steps" in names
    assert "C = 7 the median" in noise
    assert "T₁ ∝ ρ^−2.00 η^−1.00" in ascent
    for text in (noise, ascent):
        assert "6 of 6 runs diverged; below it 0 of 18." in text
        assert "18 of 18 are on the predicted side" in text
        assert "between 1 and 1 for 90 %" in text
    left = drawing.numbers.dropna(subset="escape_step")
    left = left[left["diverged_step"].isna()]
    np.testing.assert_allclose(left["predicted_escape_step"], left["escape_step"])


def test_runs_that_do_not_are_counted():
    given = sgd()
    given[0].analysis["regime"][0] = CODE["rich"]  # predicted to stay lazy
    given[2].analysis["regime"][1] = CODE["lazy"]  # predicted to leave
    given[1].analysis["diverged_step"][0] = 5.0
    given[1].analysis["regime"][0] = CODE["diverged"]
    text = draw(given, Options()).text
    assert "below it 2 of 18, all at σ ≥ 2." in text
    assert "12 of 16 are on the predicted side" in text
    assert "2 stayed lazy that should have left, 2 moved that should not have" in text


def test_what_a_statistic_leaves_out_is_counted():
    """By the law three cells of two seeds are too slow, and three are within half of the limit."""
    text = draw(sgd(), Options()).text
    assert "left out are 6 runs that diverged, 6 that never left and 6 near the" in text
    assert "for the 6 of 6 runs at larger η that left." in text


def test_disagreement_of_seeds_is_counted():
    assert "(3 of 4 cells)" in draw(mixed(), Options()).text


@pytest.mark.parametrize(
    ("grid", "together", "message"),
    [
        ({}, {"eta": [0.1]}, "x varies eta"),
        ({"sigma": 1.0}, {}, "x varies sigma"),
        ({"sigma": 1.0, "width": 5}, {"eta": [0.1]}, "x varies sigma, width, eta"),
    ],
)
def test_experiments_that_cannot_be_drawn_are_named(grid, together, message):
    with pytest.raises(ValueError, match=message):
        draw([CellData("x", grid, together, Settings().model_dump(), analyze=[])], Options())


def test_a_value_without_a_logarithm_is_refused():
    given = [row("x", {"sigma": 0.0}, ETA, [["lazy"]] * 4, np.full((4, 1), NAN))]
    with pytest.raises(ValueError, match="x has a sigma of 0"):
        draw(given, Options())


@pytest.mark.parametrize("case", ["both", "mixed", "all_diverged"])
def test_the_same_cells_give_the_same_bytes(case, tmp_path):
    kinds = ("pdf", "png", "csv", "md")
    for name in ("one", "two"):
        save(draw(CASES[case](), Options()), *(tmp_path / f"{name}.{kind}" for kind in kinds))
    for kind in kinds:
        one = (tmp_path / f"one.{kind}").read_bytes()
        assert one and one == (tmp_path / f"two.{kind}").read_bytes(), kind


def test_a_learning_rate_in_units_of_1_over_m_is_the_same_learning_rate():
    """The limit, the contours and the axis are of η, in whatever unit it was written."""
    written = []
    for cell in sgd():
        (analysis,) = cell.analyze
        width = cell.settings["width"]
        along = [eta * width for eta in ETA]
        settings = dict(cell.settings) | {"eta": along[0], "eta_unit": "1/m"}
        data = analysis.assign_coords(eta=along)
        written.append(
            CellData(cell.experiment, cell.grid, {"eta": along}, settings, analyze=[data])
        )
    one, other = draw(sgd(), Options()), draw(written, Options())
    pd.testing.assert_frame_equal(one.numbers, other.numbers)
    assert one.text == other.text
    assert "below it 0 of" in one.text  # the limit is where it was

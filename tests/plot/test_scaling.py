"""The scaling figure's numbers are the given ones, and its verdicts follow from them."""

import warnings

import numpy as np
import pytest
import xarray as xr

from labelnoise.analyze.summary import summarize
from labelnoise.plot.figures.scaling import Options, draw
from labelnoise.plot.parts.style import CellData, save
from labelnoise.simulate.run import simulate_along
from labelnoise.simulate.settings import Settings

NAN = float("nan")


def analysis(times, diverged, **coords):
    dims = (*coords, "seed")
    times, diverged = np.asarray(times, float), np.asarray(diverged, float)
    coords["seed"] = np.arange(times.shape[-1])
    return xr.Dataset({"escape_step": (dims, times), "diverged_step": (dims, diverged)}, coords)


def cells(parameter, values, times, *, together, diverged=None, **settings):
    """One cell with the values along a dimension, or a cell for each."""
    times = np.asarray(times, float)
    diverged = np.full(times.shape, NAN) if diverged is None else diverged
    name = f"scaling_{parameter}"
    common = Settings(**settings).model_dump()
    if together:
        along = {parameter: values}
        first = common | {parameter: values[0]}
        return [CellData(name, {}, along, first, analyze=[analysis(times, diverged, **along)])]
    return [
        CellData(
            name, {parameter: value}, {}, common | {parameter: value}, analyze=[analysis(*row)]
        )
        for value, *row in zip(values, times, diverged, strict=True)
    ]


def law(values, exponent, seeds=(1.0, 1.1, 0.9)):
    return 1e5 * np.asarray(values, float)[:, None] ** exponent * np.asarray(seeds)


SIGMA, ETA, WIDTH = [1.0, 2.0, 4.0, 8.0], [0.0004, 0.0002, 0.0001], [250, 500, 1000, 2000]
LATE = np.where(np.arange(12).reshape(4, 3) == 0, NAN, law(SIGMA, -2))
GONE = np.where(np.arange(12).reshape(4, 3) == 11, 500.0, NAN)


def three():
    return [
        *cells("sigma", SIGMA, law(SIGMA, -2), together=True),
        *cells("eta", ETA, law(ETA, -2.5), together=True),
        *cells("width", WIDTH, law(WIDTH, -0.1), together=False),
    ]


ANALYSIS = {"lazy_threshold": 0.1, "alignment_onset": 0.25}


def simulated():
    common = {"width": 30, "dim": 5, "samples": 20, "snapshots": 21, "steps": 2000, "neurons": 2}
    points = [Settings(sigma=sigma, eta=0.005, **common) for sigma in (1.0, 4.0, 16.0)]
    runs = simulate_along("sigma", points, [0, 1])
    found = summarize(runs, eta=0.005, **ANALYSIS)
    along = {"sigma": [1.0, 4.0, 16.0]}
    return [CellData("tiny", {}, along, points[0].model_dump(), analyze=[found])]


CASES = {
    "three": three,
    "some_never": lambda: cells("sigma", SIGMA, LATE, together=True, diverged=GONE),
    "none_ever": lambda: cells("sigma", SIGMA, np.full((4, 3), NAN), together=True),
    "all_diverged": lambda: cells(
        "sigma", SIGMA, law(SIGMA, -2), together=False, diverged=np.full((4, 3), 9.0)
    ),
    "one_value": lambda: cells("eta", ETA[:1], law(ETA[:1], -2), together=True),
    "one_run": lambda: cells("width", [250], [[100.0]], together=False),
    "two_values": lambda: cells("width", WIDTH[:2], law(WIDTH[:2], -1), together=False),
    "rising": lambda: cells("rho", [0.1, 0.2, 0.3], law([0.1, 0.2, 0.3], 1.0), together=True),
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
    table = drawing.numbers[drawing.numbers["seed"].notna()]
    found = {
        (row.experiment, row.x, row.seed, row.quantity): row.value for row in table.itertuples()
    }
    assert len(found) == len(table)
    expected = {}
    for cell in given:
        (parameter,) = {*cell.grid, *cell.together}
        for quantity in ("escape_step", "diverged_step"):
            values = cell.analysis[quantity]
            if not cell.together:
                values = values.expand_dims({parameter: [cell.grid[parameter]]})
            for (x, seed), value in values.to_series().items():
                if quantity == "escape_step" or np.isfinite(value):
                    expected[cell.experiment, x, seed, quantity] = value
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value)


def test_it_can_be_rendered_without_a_warning(drawn):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn[1].figure.canvas.draw()


def test_the_metrics_are_finite(drawn):
    assert all(np.isfinite(value) for value in drawn[1].metrics.values())


def test_exponents_and_verdicts_of_known_laws():
    drawing = draw(three(), Options())
    found = [drawing.metrics[f"scaling_{name}_exponent"] for name in ("sigma", "eta", "width")]
    np.testing.assert_allclose(found, [-2, -2.5, -0.1])
    by_panel = drawing.text.split("**scaling_")[1:]
    assert "T₁ ∝ σ^−2.00" in by_panel[0]
    assert "∝ σ^−2 with one constant, is within 0 % of each mean log T₁." in by_panel[0]
    assert "within 41 % of each mean log T₁: it is not the law here" in by_panel[1]
    assert "factor of 0.5 from η = 0.0001 to 0.0004" in by_panel[1]  # 4^(−2.5 + 2)
    assert "∝ √(ln m/m) with one constant" in by_panel[2]
    # 8^(−0.1 + 0.5)·√(ln WIDTH[0]/ln WIDTH[-1])
    grows = 8**0.4 * np.sqrt(np.log(min(WIDTH)) / np.log(max(WIDTH)))
    assert f"changes by a factor of {grows:.2g} " in by_panel[2]
    assert "all 9 runs left" in by_panel[1]


def test_the_interval_is_as_wide_as_the_confidence_asks():
    bent = law(SIGMA, -2) * np.array([1.1, 0.9, 1.05, 0.95])[:, None]
    drawing = draw(cells("sigma", SIGMA, bent, together=False), Options())
    low, high = drawing.metrics["scaling_sigma_low"], drawing.metrics["scaling_sigma_high"]
    assert low < -2 < high
    less = draw(cells("sigma", SIGMA, bent, together=False), Options(confidence=0.5)).metrics
    assert low < less["scaling_sigma_low"] < less["scaling_sigma_high"] < high


def test_a_wide_interval_does_not_make_a_bad_fit_the_law():
    """Up and down by a third: the interval holds −2, and the bound is no law."""
    wild = law(SIGMA, -2) * np.array([1.5, 0.75, 1.5, 0.75])[:, None]
    drawing = draw(cells("sigma", SIGMA, wild, together=False), Options())
    assert drawing.metrics["scaling_sigma_low"] < -2 < drawing.metrics["scaling_sigma_high"]
    assert "it is not the law here" in drawing.text


def test_lines_pass_where_they_should():
    """The fit through an exact law; the prediction through the geometric mean of the runs."""
    table = draw(three(), Options()).numbers
    lines = table[table["experiment"] == "scaling_eta"].set_index("quantity")
    np.testing.assert_allclose(
        lines.loc["fit", "value"], 1e5 * np.sort(ETA) ** -2.5 * 0.99 ** (1 / 3)
    )
    mean = np.log(law(ETA, -2.5)).mean()
    np.testing.assert_allclose(np.log(lines.loc["predicted", "value"]).mean(), mean)
    slope = np.diff(np.log(lines.loc["predicted", "value"])) / np.diff(np.log(np.sort(ETA)))
    np.testing.assert_allclose(slope, -2)


def test_runs_that_are_not_fitted_are_counted_and_told_of():
    given = cells("sigma", SIGMA, LATE, together=True, diverged=GONE)
    drawing = draw(given, Options())
    assert "1 of 12 runs never left, 1 of 12 runs diverged" in drawing.text
    assert drawing.metrics["scaling_sigma_used"] == 10
    assert drawing.metrics["scaling_sigma_left_out"] == 2


def test_nothing_is_predicted_of_sam():
    given = cells("eta", ETA, law(ETA, -1), together=True, algorithm="sam", sigma=0.0)
    drawing = draw(given, Options())
    assert "Theorem" not in drawing.text
    assert "predicted" not in set(drawing.numbers["quantity"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda: [CellData("x", {}, {}, Settings().model_dump(), analyze=[])], "x varies none"),
        (
            lambda: [
                CellData("x", {"eta": 0.1}, {"sigma": [1.0]}, Settings().model_dump(), analyze=[])
            ],
            "x varies eta, sigma",
        ),
        (
            lambda: cells("sigma", [0.0, 1.0], law([1, 1], -2), together=True),
            "scaling_sigma has a sigma of 0",
        ),
    ],
)
def test_experiments_that_cannot_be_drawn_are_named(given, message):
    with pytest.raises(ValueError, match=message):
        draw(given(), Options())


@pytest.mark.parametrize("case", ["three", "some_never", "all_diverged"])
def test_the_same_cells_give_the_same_bytes(case, tmp_path):
    kinds = ("pdf", "png", "csv", "md")
    for name in ("one", "two"):
        save(draw(CASES[case](), Options()), *(tmp_path / f"{name}.{kind}" for kind in kinds))
    for kind in kinds:
        one = (tmp_path / f"one.{kind}").read_bytes()
        assert one and one == (tmp_path / f"two.{kind}").read_bytes(), kind

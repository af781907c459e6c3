"""The width figure: what it draws is what was simulated, whatever diverged."""

import numpy as np
import pytest

from labelnoise.plot.figures.width import Options, draw, multiply_adds
from labelnoise.plot.parts.style import save

from .cells import assert_renders, make_cell


def cells(*widths, **settings):
    given = {"eta": 0.1, "eta_unit": "1/m", "sigma": 4.0} | settings
    return [make_cell([0, 1], grid=["width"], width=width, **given) for width in widths]


CASES = {
    "several": lambda: cells(4, 20, 100, 500),
    "one": lambda: cells(20),
    "some_diverged": lambda: [*cells(20, 100), *cells(50, eta=300.0)],
    "all_diverged": lambda: cells(20, 100, eta=300.0),
}


@pytest.mark.parametrize("case", CASES)
def test_it_draws_what_was_simulated(case, tmp_path):
    given = CASES[case]()
    drawing = draw(given, Options())
    gone = {c.settings["width"]: np.isfinite(c.analysis["diverged_step"]).values for c in given}
    assert any(flags.any() for flags in gone.values()) == ("diverged" in drawing.text)
    for cell in given:
        width = cell.settings["width"]
        rows = drawing.numbers
        rows = rows[rows["width"] == width] if len(rows) else rows
        assert set(rows["seed"] if len(rows) else ()) == set(np.flatnonzero(~gone[width]))
        for seed in np.flatnonzero(~gone[width]):
            mine = rows[rows["seed"] == seed].sort_values("step")
            curve = cell.analysis["layer_displacement"].sel(seed=seed)
            np.testing.assert_array_equal(mine["layer_displacement"], curve)
    assert_renders(drawing)
    kinds = ("pdf", "png", "csv", "md")
    for name in ("one", "two"):
        save(draw(given, Options()), *(tmp_path / f"{name}.{kind}" for kind in kinds))
    for kind in kinds:
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"two.{kind}").read_bytes()


def test_the_cost_is_that_of_the_core():
    drawing = draw(cells(4, 20, 500), Options())
    costs = drawing.numbers.drop_duplicates("width").set_index("width")
    # d = 5: a core of 6 neurons at most, of 4 where there are no more
    assert costs["multiply_adds"].to_dict() == {4: 48, 20: 72, 500: 72}
    assert costs["multiply_adds_unreduced"].to_dict() == {4: 48, 20: 240, 500: 6000}


def test_multiply_adds_are_counted_as_in_a_loop():
    neurons, inputs, count = 3, 4, 0
    for _ in range(neurons):
        count += inputs  # the hidden neuron, x·w_i
        count += 1  # the output
        count += inputs  # the update of w_i
        count += 1  # the update of a_i
    assert multiply_adds(neurons, inputs) == count


def test_the_exponent_is_the_slope_of_the_widest():
    given = cells(8, 16, 32, 64)
    drawing = draw(given, Options())
    ends = {
        c.settings["width"]: float(c.analysis["layer_displacement"].isel(step=-1).mean())
        for c in given
    }
    x, y = np.log([16, 32, 64]), np.log([ends[16], ends[32], ends[64]])
    slope = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    assert drawing.metrics["exponent"] == pytest.approx(slope)


def test_what_is_counted_is_not_called_a_cost():
    drawing = draw(cells(20, 100), Options())
    said = [axes.get_ylabel() for axes in drawing.figure.axes]
    assert said[2] == "multiply-adds a step"
    assert "cost" not in drawing.text and "counted, not timed" in drawing.text

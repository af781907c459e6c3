"""Saving a figure: a layout whose last bits differ gives the same files."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from labelnoise.plot.parts.style import CellData, Drawing, apply_style, save, settle
from labelnoise.simulate.settings import Settings


def drawn(*, nested):
    apply_style()
    figure = plt.figure(figsize=(4, 3), layout="constrained")
    parts = figure.subfigures(2, 1) if nested else [figure]
    for part in parts:
        for axes in part.subplots(1, 2):
            axes.step(np.arange(60), np.sin(np.arange(60)))
            axes.set(xlabel="step", ylabel="$a_i$")
    return figure


def nudge(figure):
    """What another run's solver would find: the same layout but for the last bits."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for part in figure.subfigs:
        part.bbox_relative.p0 = part.bbox_relative.p0 * (1 + 4e-16)
    for axes in figure.axes:
        bounds = np.array(axes.get_position(original=True).bounds)
        axes.set_position(bounds * (1 + np.array([4e-16, -4e-16, 4e-16, -4e-16])))


@pytest.mark.parametrize("nested", [False, True])
def test_the_last_bits_of_a_layout_do_not_show(nested, tmp_path):
    kinds = ("pdf", "png", "csv", "md")
    for name in ("one", "two"):
        figure = drawn(nested=nested)
        if name == "two":
            nudge(figure)
        paths = [tmp_path / f"{name}.{kind}" for kind in kinds]
        save(Drawing(figure, pd.DataFrame({"value": [1.0]}), "text"), *paths)
    for kind in kinds:
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"two.{kind}").read_bytes()


def test_settling_moves_nothing_that_could_be_seen():
    figure, settled = drawn(nested=True), drawn(nested=True)
    figure.draw_without_rendering()
    settle(settled)
    for one, other in zip(figure.axes, settled.axes, strict=True):
        before, after = (a.get_window_extent().get_points() for a in (one, other))
        np.testing.assert_allclose(before, after, atol=1e-3)  # pixels


def test_the_learning_rate_of_a_cell_is_in_units_of_one():
    for unit, rate in (("1", 0.5), ("1/m", 0.005)):
        settings = Settings(eta=0.5, eta_unit=unit, width=100).model_dump(mode="json")
        assert CellData("any", {}, {}, settings).learning_rate == rate

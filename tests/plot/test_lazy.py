"""The network beside its linearisation: the table holds both, the text says where they part."""

import numpy as np
import pytest
import xarray as xr

from labelnoise.plot.figures.lazy import Options, draw
from labelnoise.plot.parts.style import names

from .cells import (
    COLUMNS,
    assert_renders,
    assert_same_bytes,
    assert_simulated,
    make_cell,
)


def cell(sigma, seeds, **more):
    return make_cell(seeds, grid=["sigma"], sigma=sigma, linearised=True, **more)


CASES = {
    "two": lambda: [cell(0.0, [0, 1, 2]), cell(4.0, [0, 1, 2])],
    "log": lambda: [cell(4.0, [0, 1], spacing="log", snapshots=40)],
    "gd": lambda: [cell(0.0, [0, 1], algorithm="gd")],
    "some_diverged": lambda: [cell(0.0, range(8), eta=0.05), cell(4.0, range(8), eta=0.05)],
    "all_diverged": lambda: [cell(4.0, [0, 1], eta=0.5)],
    "barely_recorded": lambda: [cell(4.0, [0], snapshots=2)],
}


def label(data) -> str:
    return f"σ = {data.grid['sigma']:g}"


def compared(data) -> tuple[xr.Dataset, xr.Dataset]:
    """Network and linearisation of the seeds of which neither diverged."""
    linearised = xr.concat(data.linearize, "seed")
    gone = np.isfinite(data.analysis["diverged_step"]) | np.isfinite(linearised["diverged_step"])
    return data.analysis.isel(seed=~gone.values), linearised.isel(seed=~gone.values)


@pytest.fixture(scope="module", params=CASES)
def drawn(request):
    import matplotlib.pyplot as plt

    cells = CASES[request.param]()
    yield cells, draw(cells, Options())
    plt.close("all")


def test_the_table_holds_both_models_and_their_difference(drawn):
    cells, drawing = drawn
    assert set(drawing.numbers.columns) == COLUMNS
    for data in cells:
        network, linearised = compared(data)
        for panel, model in (("network", network), ("linearised", linearised)):
            losses = model["test_loss"]
            assert_simulated(drawing.numbers, label(data), "test_loss", losses, panel)
        ours, theirs = network["test_loss"], linearised["test_loss"]
        scale = xr.apply_ufunc(np.maximum, theirs, theirs.isel(step=0, drop=True))
        difference = abs(ours - theirs) / scale
        name = "test_loss_difference"
        assert_simulated(drawing.numbers, label(data), name, difference, "difference")
    assert np.isfinite(drawing.numbers["value"].astype(float)).all()


def test_diverged_networks_and_linearisations_are_told_of(drawn):
    cells, drawing = drawn
    for data in cells:
        for blocks, words in (
            (data.analyze, "diverged"),
            (data.linearize, "have a linearisation that diverged"),
        ):
            steps = np.concatenate([block["diverged_step"] for block in blocks])
            gone = np.isfinite(steps).sum()
            told = f"{label(data)}: {gone} of {len(steps)} runs {words}" in drawing.text
            assert told == bool(gone)
    assert "nan" not in drawing.text
    assert all(np.isfinite(value) for value in drawing.metrics.values())


def test_it_can_be_rendered_without_a_warning(drawn):
    assert_renders(drawn[1])


def test_a_wide_network_parts_from_its_linearisation_with_noise_alone():
    wide = {"width": 400, "eta": 0.002, "spacing": "log", "snapshots": 60}
    drawing = draw([cell(s, [0, 1], **wide) for s in (0.0, 4.0)], Options(parting=0.05))
    assert drawing.metrics["largest_difference sigma:0.0"] < 0.01
    assert "parting_step sigma:0.0" not in drawing.metrics
    assert 1 < drawing.metrics["parting_step sigma:4.0"] < 2000


def test_a_larger_share_is_reached_later():
    cells = CASES["log"]()
    early, late = (
        draw(cells, Options(parting=share)).metrics["parting_step sigma:4.0"]
        for share in (0.05, 0.2)
    )
    assert early < late


def test_what_the_two_panels_and_their_lines_show_is_said_in_the_picture():
    figure = draw(CASES["log"](), Options(parting=0.05)).figure
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels == ["test loss", "relative loss difference"]
    said = {text.get_text() for text in figure.legends[0].get_texts()}
    assert {"losses part by 5 %", "every neuron has left", "band: all seeds"} <= said


@pytest.mark.parametrize("onset", [[100.0, 200.0, 300.0], [100.0, np.nan, np.nan]])
def test_a_step_is_marked_where_most_runs_reach_it(onset):
    data = cell(4.0, [0, 1, 2])
    data.analysis["escape_step"][:] = onset
    drawing = draw([data], Options(parting=0.999))
    assert f"in {np.isfinite(onset).sum()} of 3 runs" in drawing.text
    marked = {
        line.get_xdata()[0]
        for line in drawing.figure.axes[0].get_lines()
        if len(line.get_xdata()) == 2 and line.get_linestyle() == "-"
    }
    assert marked == ({200.0} if np.isfinite(onset).all() else set())


@pytest.mark.parametrize("grid", [{"eta": [0.002, 0.005]}, {"width": [20, 30]}, {"dim": [4, 5]}])
def test_every_cell_of_another_grid_is_described(grid):
    ((name, values),) = grid.items()
    cells = [
        make_cell([0, 1], grid=[name], sigma=4.0, linearised=True, **{name: value})
        for value in values
    ]
    drawing = draw(cells, Options())
    for label_, _ in names(cells):
        assert f"{label_} (2 seeds): the test losses" in drawing.text
    assert_renders(drawing)


@pytest.mark.parametrize("case", ["two", "some_diverged", "all_diverged"])
def test_the_same_cells_give_the_same_bytes(case, tmp_path):
    assert_same_bytes(lambda: draw(CASES[case](), Options()), tmp_path)

"""Figure 2's numbers are what was simulated, whatever diverged, and its files are reproducible."""

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from labelnoise.plot.figures.figure2 import Options, draw
from labelnoise.plot.parts.style import CellData, names, typeset
from labelnoise.plot.parts.two_phases import PHASES

from .cells import (
    COLUMNS,
    alive,
    assert_renders,
    assert_same_bytes,
    assert_simulated,
    assert_tells_of_divergence,
    diverged,
    make_cell,
)


def cell(sigma, seeds, **more):
    return make_cell(seeds, grid=["sigma"], sigma=sigma, **({"trace_steps": 50} | more))


CASES = {
    "two": lambda: [cell(0.0, [0, 1, 2]), cell(4.0, [0, 1, 2])],
    "one": lambda: [cell(4.0, [0, 1])],
    "one_without_noise": lambda: [cell(0.0, [0])],
    "three_out_of_order": lambda: [cell(4.0, [0, 1]), cell(0.0, [0, 1]), cell(1.0, [0, 1])],
    "some_diverged": lambda: [cell(0.0, range(8), eta=0.05), cell(4.0, range(8), eta=0.05)],
    "one_cell_diverged": lambda: [cell(0.0, [0, 1]), cell(4.0, [0, 1], eta=0.3)],
    "all_diverged": lambda: [cell(0.0, [0, 1], eta=0.5), cell(4.0, [0, 1], eta=0.5)],
    "barely_recorded": lambda: [cell(4.0, [0], snapshots=2, trace_steps=0, trace_neurons=1)],
}


def label(data: CellData) -> str:
    return f"σ = {data.grid['sigma']:g}"


@pytest.fixture(scope="module", params=CASES)
def drawn(request):
    import matplotlib.pyplot as plt

    cells = CASES[request.param]()
    yield cells, draw(cells, Options())
    plt.close("all")


def expected(data: CellData, row) -> float:
    """The simulated number that a row of the table stands for."""
    if np.isnan(row.neuron):
        return float(data.analysis[row.quantity].sel(seed=row.seed, step=row.step))
    run = data.runs(row.seed)
    if row.panel == "oscillation":
        return float(run["a_trace"].sel(trace_step=row.step, trace_neuron=row.neuron))
    return float(run[row.quantity].sel(step=row.step, neuron=row.neuron))


def test_every_number_in_the_table_was_simulated(drawn):
    cells, drawing = drawn
    by_label = {label(data): data for data in cells}
    numbers = drawing.numbers
    if all(diverged(data).all() for data in cells):
        assert numbers.empty
        return
    assert set(numbers.columns) == COLUMNS
    few = pd.concat(
        group.iloc[np.linspace(0, len(group) - 1, 25).astype(int)]
        for _, group in numbers.groupby(["panel", "cell", "quantity"])
    )
    for row in few.itertuples():
        assert row.value == pytest.approx(expected(by_label[row.cell], row), rel=1e-6), row


def test_the_table_holds_every_curve_of_the_living(drawn):
    cells, drawing = drawn
    for data in cells:
        for name in ("train_loss", "test_loss", "w_norm_mean", "alignment_mean"):
            assert_simulated(drawing.numbers, label(data), name, alive(data)[name])


def test_diverged_runs_are_told_of_and_left_out(drawn):
    cells, drawing = drawn
    assert_tells_of_divergence(drawing, cells, map(label, cells))
    if not any(diverged(data).any() for data in cells):
        assert "diverged" not in drawing.text


def test_the_metrics_are_means_of_the_noisiest_living_cell(drawn):
    cells, drawing = drawn
    living = [data for data in cells if not diverged(data).all()]
    if not living:
        assert not drawing.metrics
        return
    noisiest = max(living, key=lambda data: data.settings["sigma"])
    last = alive(noisiest).isel(step=-1)
    for name in ("w_norm_mean", "alignment_mean"):
        assert drawing.metrics[f"final_{name}"] == pytest.approx(float(last[name].mean()))


def test_it_can_be_rendered_without_a_warning(drawn):
    assert_renders(drawn[1])


QUICK = {"steps": 60, "snapshots": 7, "trace_steps": 20}

GRIDS = {
    "rates": {"eta": [0.002, 0.005, 0.01], "sigma": [4.0]},
    "widths": {"width": [10, 20, 30]},
    "laws": {"noise": ["sign", "gaussian"]},
    "rates_and_noise": {"sigma": [0.0, 4.0], "eta": [0.002, 0.005]},
}
"""Grids that are not Figure 2's own."""


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_of_cells_disturbed_alike_none_is_left_out(grid):
    points = itertools.product(*grid.values())
    cells = [
        make_cell(
            [0, 1], grid=list(grid), **({"sigma": 4.0} | QUICK | dict(zip(grid, p, strict=True)))
        )
        for p in points
    ]
    drawing = draw(cells, Options())
    for panel in ("curves", "oscillation", "plane"):
        rows = drawing.numbers.query("panel == @panel")
        assert set(rows["cell"]) == {label for label, _ in names(cells)}, panel
    disturbed = [data for data in cells if data.settings["sigma"] > 0]
    for (label_, tag), data in zip(names(disturbed, cells), disturbed, strict=True):
        end = float(data.analysis["w_norm_mean"].isel(step=-1).mean())
        assert drawing.metrics[f"final_w_norm_mean {tag}"] == pytest.approx(end)
        assert f"With {label_} (2 seeds)" in drawing.text
    (norms,) = [a for a in drawing.figure.axes if a.get_ylabel().startswith("mean norm")]
    flat = {
        y[0] for y in (line.get_ydata() for line in norms.lines) if len(y) == 2 and y[0] == y[1]
    }
    assert flat == {np.sqrt(data.learning_rate) for data in disturbed}
    assert_renders(drawing)


def test_a_setting_that_all_cells_share_is_named_once_in_the_picture():
    cells = [
        make_cell([0], grid=["eta", "sigma"], eta=e, sigma=4.0, **QUICK) for e in (0.002, 0.01)
    ]
    (legend,) = draw(cells, Options()).figure.legends
    said = [legend.get_title().get_text(), *(text.get_text() for text in legend.get_texts())]
    assert said[:3] == list(map(typeset, ["σ = 4 in all", "η = 0.002", "η = 0.01"]))
    assert sum("σ" in text for text in said) == 1


def test_a_learning_rate_above_the_stability_limit_is_said_to_be_so():
    # 2/((d + m)(1 + 2/d)) of m = 30, d = 5
    limit = 2 / (35 * 1.4)
    cells = [
        make_cell(
            [0],
            grid=["eta"],
            eta=limit * part,
            sigma=0.0,
            **(QUICK | {"steps": 6, "trace_steps": 0}),
        )
        for part in (0.9, 1.1)
    ]
    text = draw(cells, Options()).text
    assert f"η = {1.1 * limit:.3g} is above the stability limit" in text
    assert f"η = {0.9 * limit:.3g} is above" not in text
    assert f"= {limit:.3g} of the start" in text


@pytest.mark.parametrize("onset", [[600.0, 1000.0, 1400.0], [1000.0, 1000.0, np.nan]])
def test_phase_1_ends_in_words_where_it_ends_in_the_panels(onset):
    data = cell(4.0, [0, 1, 2])
    data.analysis["w_norm_mean"][:] = 1 - data.analysis["step"] / 4000
    data.analysis["alignment_mean"][:] = 0.1 + data.analysis["step"] / 4000
    data.analysis["alignment_step"][:] = onset
    drawing = draw([data], Options())
    assert "Phase I: the mean norm falls from 1.00 to 0.750 before the rows align" in drawing.text
    assert "begins at step 1,000" in drawing.text
    assert ", in 2 of 3 runs" in drawing.text or not np.isnan(onset).any()
    assert (
        "from there to step 2,000 the mean alignment with θ* goes from 0.35 to 0.60" in drawing.text
    )
    assert "the mean norm falls to 0.500" in drawing.text
    edges = [patch.get_x() for patch in drawing.figure.axes[0].patches]
    assert edges == [0, 1000]


def test_phase_2_starts_nowhere_where_most_runs_never_align():
    data = cell(4.0, [0, 1, 2])
    data.analysis["alignment_step"][:] = [1000.0, np.nan, np.nan]
    drawing = draw([data], Options())
    assert "Phase II does not begin" in drawing.text
    assert len(drawing.figure.axes[0].patches) == 1


def test_the_phases_differ_in_grey():
    weights = np.array([0.299, 0.587, 0.114])
    first, second = (weights @ to_rgb(color) for color in PHASES.values())
    assert first - second > 0.08


def test_neurons_that_both_runs_start_from_are_seen_in_both_colours():
    drawing = draw(CASES["two"](), Options())
    (plane,) = [a for a in drawing.figure.axes if a.get_title() == "step 0"]
    behind, before = sorted(plane.collections, key=lambda points: points.get_zorder())
    np.testing.assert_allclose(behind.get_offsets(), before.get_offsets())
    assert behind.get_sizes()[0] > 2 * before.get_sizes()[0]


@pytest.mark.parametrize("case", ["some_diverged", "all_diverged"])
def test_the_same_cells_give_the_same_bytes(case, tmp_path):
    assert_same_bytes(lambda: draw(CASES[case](), Options()), tmp_path)

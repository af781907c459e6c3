"""Figure 2's numbers are what was simulated, whatever diverged, and its files are reproducible."""

import numpy as np
import pandas as pd
import pytest

from labelnoise.plot.figures.figure2 import Options, draw
from labelnoise.plot.parts.style import CellData

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


@pytest.mark.parametrize("case", ["some_diverged", "all_diverged"])
def test_the_same_cells_give_the_same_bytes(case, tmp_path):
    assert_same_bytes(lambda: draw(CASES[case](), Options()), tmp_path)

"""Figure 2's numbers are what was simulated, whatever diverged, and its files are reproducible."""

import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from labelnoise.analyze.summary import summarize
from labelnoise.plot.figure2 import Options, draw
from labelnoise.plot.style import CellData, save
from labelnoise.simulate.run import simulate
from labelnoise.simulate.settings import Settings

STEPS = 2000
COLUMNS = {"panel", "cell", "seed", "step", "neuron", "quantity", "value"}


def cell(sigma, seeds, **more):
    """A cell as the workflow makes it: two blocks of seeds, analyzed together."""
    given = {"width": 30, "dim": 5, "samples": 20, "eta": 0.005, "snapshots": 21} | more
    settings = Settings(sigma=sigma, steps=STEPS, **({"trace_steps": 50} | given))
    blocks = [simulate(settings, part) for part in (seeds[:1], seeds[1:]) if part]
    runs = xr.concat(blocks, "seed", data_vars="minimal", coords="minimal", compat="override")
    analysis = summarize(runs, eta=settings.eta, lazy_threshold=0.1, alignment_onset=0.25)
    return CellData("noise", {"sigma": settings.sigma}, settings.model_dump(), analysis, blocks)


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


def diverged(data: CellData) -> np.ndarray:
    return np.isfinite(np.concatenate([block["diverged_step"] for block in data.blocks]))


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


def test_the_table_holds_every_curve_of_the_living_and_nothing_of_the_dead(drawn):
    cells, drawing = drawn
    numbers = drawing.numbers
    for data in cells:
        seeds = data.analysis["seed"].values
        for seed, gone in zip(seeds, diverged(data), strict=True):
            if numbers.empty:
                assert gone
                continue
            mine = numbers[(numbers["cell"] == label(data)) & (numbers["seed"] == seed)]
            if gone:
                assert mine.empty
                continue
            for name in ("train_loss", "test_loss", "w_norm_mean", "alignment_mean"):
                curve = mine[mine["quantity"] == name].sort_values("step")
                wanted = data.analysis[name].sel(seed=seed)
                np.testing.assert_array_equal(curve["step"], wanted["step"])
                np.testing.assert_allclose(curve["value"], wanted, rtol=1e-12)
    assert np.isfinite(numbers["value"].astype(float)).all()


def test_the_caption_tells_of_diverged_runs_and_of_no_others(drawn):
    cells, drawing = drawn
    for data in cells:
        gone, total = diverged(data).sum(), len(diverged(data))
        told = f"{label(data)}: {gone} of {total} runs diverged" in drawing.caption
        assert told == bool(gone)
    if not any(diverged(data).any() for data in cells):
        assert "diverged" not in drawing.caption


def test_the_metrics_are_means_of_the_noisiest_living_cell(drawn):
    cells, drawing = drawn
    living = [data for data in cells if not diverged(data).all()]
    if not living:
        assert not drawing.metrics
        return
    noisiest = max(living, key=lambda data: data.settings["sigma"])
    last = noisiest.analysis.isel(step=-1, seed=~diverged(noisiest))
    for name in ("w_norm_mean", "alignment_mean"):
        assert drawing.metrics[f"final_{name}"] == pytest.approx(float(last[name].mean()))
    assert all(np.isfinite(value) for value in drawing.metrics.values())


def test_it_can_be_rendered_without_a_warning(drawn):
    """Such as a glyph that the font lacks, or a layout that has no room."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn[1].figure.canvas.draw()


@pytest.mark.parametrize("case", ["some_diverged", "all_diverged"])
def test_the_same_cells_give_the_same_bytes(case, tmp_path):
    kinds = ("pdf", "png", "csv")
    for name in ("one", "two"):
        drawing = draw(CASES[case](), Options())
        save(drawing, *(tmp_path / f"{name}.{kind}" for kind in kinds))
    for kind in kinds:
        one = (tmp_path / f"one.{kind}").read_bytes()
        assert one == (tmp_path / f"two.{kind}").read_bytes(), kind
        assert one
    assert len(list(tmp_path.iterdir())) == 2 * len(kinds)
    if not drawing.numbers.empty:
        read = pd.read_csv(tmp_path / "one.csv")
        assert len(read) == len(drawing.numbers)
        np.testing.assert_allclose(read["value"], drawing.numbers["value"], rtol=1e-8)

"""Small simulated cells for the tests of figures, and what every figure must do with them."""

import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from labelnoise.analyze.summary import analyze
from labelnoise.linearize.two_layer import linearize
from labelnoise.plot.parts.style import CellData, save
from labelnoise.simulate.run import simulate
from labelnoise.simulate.settings import Settings

SMALL = {"width": 30, "dim": 5, "samples": 20, "eta": 0.005, "steps": 2000, "snapshots": 21}

COLUMNS = {"panel", "cell", "seed", "step", "neuron", "quantity", "value"}

KINDS = ("pdf", "png", "csv", "md")


def make_cell(seeds, *, grid=(), experiment="small", linearised=False, **settings) -> CellData:
    """A cell as the workflow makes it: two blocks of seeds, analyzed together."""
    chosen = Settings(**(SMALL | settings))
    parts = [part for part in (list(seeds)[:1], list(seeds)[1:]) if part]
    blocks = [simulate(chosen, part) for part in parts]
    analysis, _ = analyze(chosen, blocks, lazy_threshold=0.1, alignment_onset=0.25)
    return CellData(
        experiment=experiment,
        grid={name: getattr(chosen, name) for name in grid},
        together={},
        settings=chosen.model_dump(mode="json"),
        simulate=blocks,
        linearize=[linearize(chosen, part) for part in parts] if linearised else (),
        analyze=[analysis],
    )


def plural(seeds) -> str:
    """`3 seeds`, as texts have it."""
    return f"{len(seeds)} seed{'s' if len(seeds) > 1 else ''}"


def diverged(data: CellData) -> np.ndarray:
    """Which runs of a cell did."""
    return np.isfinite(data.analysis["diverged_step"].values)


def alive(data: CellData) -> xr.Dataset:
    """The analysis of the runs that did not."""
    return data.analysis.isel(seed=~diverged(data))


def assert_simulated(
    numbers: pd.DataFrame, label: str, quantity: str, curve: xr.DataArray, panel: str = "curves"
) -> None:
    """The table's rows of a quantity are exactly this curve over (seed, step)."""
    rows = numbers.query("cell == @label and quantity == @quantity and panel == @panel")
    found = rows.set_index(["seed", "step"])["value"].sort_index()
    wanted = curve.transpose("seed", "step").to_series().dropna().sort_index()
    np.testing.assert_array_equal(found.index.to_list(), wanted.index.to_list())
    np.testing.assert_allclose(found.to_numpy(float), wanted, rtol=1e-9)


def assert_traced(numbers: pd.DataFrame, data: CellData, neurons: int, steps: int) -> None:
    """The table's second-layer weights are those of the first living seed, step by step."""
    rows = numbers[numbers["panel"] == "oscillation"]
    if "a_trace" not in data.simulate[0]:
        assert rows.empty
        return
    seed = int(alive(data)["seed"][0])
    wanted = data.runs(seed)["a_trace"].sel(trace_step=slice(0, steps))[:, :neurons]
    assert set(rows["seed"]) == {seed}
    found = rows.pivot(index="step", columns="neuron", values="value")
    np.testing.assert_allclose(found.to_numpy(float), wanted, rtol=1e-6)


def assert_tells_of_divergence(drawing, cells, labels) -> None:
    """The text tells of diverged runs and of no others; the table holds nothing of them."""
    for data, label in zip(cells, labels, strict=True):
        gone = diverged(data)
        told = f"{label}: {gone.sum()} of {gone.size} runs diverged" in drawing.text
        assert told == gone.any()
        mine = drawing.numbers[drawing.numbers["cell"] == label]
        assert set(mine["seed"]).isdisjoint(data.analysis["seed"].values[gone])
    assert set(drawing.numbers.columns) == COLUMNS
    assert np.isfinite(drawing.numbers["value"].astype(float)).all()
    assert all(np.isfinite(value) for value in drawing.metrics.values())
    assert all(re.fullmatch(r"[\w\-. :/]+", name, re.ASCII) for name in drawing.metrics)  # MLflow's
    assert "nan" not in drawing.text


def assert_renders(drawing) -> None:
    """Without a warning, such as of a glyph that the font lacks, or a layout without room."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawing.figure.canvas.draw()


def assert_same_bytes(draw, tmp_path: Path) -> None:
    """Drawing twice gives the same files, and the table comes back from its file."""
    for name in ("one", "two"):
        drawing = draw()
        save(drawing, *(tmp_path / f"{name}.{kind}" for kind in KINDS))
    for kind in KINDS:
        one = (tmp_path / f"one.{kind}").read_bytes()
        assert one, kind
        assert one == (tmp_path / f"two.{kind}").read_bytes(), kind
    assert len(list(tmp_path.iterdir())) == 2 * len(KINDS)
    assert (tmp_path / "one.md").read_text(encoding="utf-8") == drawing.text + "\n"
    if not drawing.numbers.empty:
        read = pd.read_csv(tmp_path / "one.csv")
        assert read["value"].to_numpy() == pytest.approx(
            drawing.numbers["value"].to_numpy(float), rel=1e-8
        )

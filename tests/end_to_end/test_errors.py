"""Bad configurations are refused before any work; diverged runs are results."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from labelnoise.workflow.verbs import gpu_found

from .conftest import new_checkout


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("experiments={two_phases: {settings: {eta: -1}}}", ["two_phases.settings.eta", "-1"]),
        ("experiments={two_phases: {grid: {sgima: [1]}}}", ["grid.sgima", "did you mean sigma?"]),
        ("figures={figure2: {experiments: [two_phase]}}", ["figures.figure2", "two_phases"]),
        ("experimets={}", ["experimets", "did you mean experiments?"]),
    ],
)
def test_a_wrong_configuration_starts_nothing(
    tmp_path: Path, override: str, words: list[str]
) -> None:
    checkout = new_checkout(tmp_path / "wrong")
    output = checkout.snakemake("--config", override, fails=True)
    assert "Traceback" not in output
    for word in ["the configuration is wrong", *words]:
        assert word in output
    assert not (checkout.folder / "results").exists()


def test_a_diverged_run_is_a_result(tmp_path: Path) -> None:
    checkout = new_checkout(tmp_path / "diverged")
    settings = "{two_phases: {grid: {sigma: [0.0, 4.0, 40.0]}, settings: {eta: 0.03}}}"
    checkout.snakemake("figure2", "--config", f"experiments={settings}")
    results = checkout.folder / "results"
    with xr.open_dataset(results / "analyze/two_phases/sigma=40.0.nc") as analysis:
        diverged = analysis["diverged_step"].values
        assert np.isfinite(diverged).all()
        after = analysis["step"].values > diverged.max()
        assert np.isnan(analysis["train_loss"].values[:, after]).all()
    caption = json.loads((results / "figures/figure2.json").read_text())["caption"]
    assert "σ = 40: 2 of 2 runs diverged" in caption
    assert "40" not in {
        line.split(",")[1] for line in (results / "figures/figure2.csv").read_text().splitlines()
    }


@pytest.mark.parametrize(
    "asked",
    [
        ["figure2", "--config", "experiments={two_phases: {settings: {backend: cuda}}}"],
        ["figure3", "--config", "device=cuda"],
    ],
)
def test_a_gpu_that_is_not_there_is_said_before_any_job(tmp_path: Path, asked: list[str]) -> None:
    if gpu_found():
        pytest.skip("there is a GPU")
    checkout = new_checkout(tmp_path / "gpu")
    output = checkout.snakemake(*asked, fails=True)
    assert "asks for a GPU, and this machine has none" in output
    assert "set device: auto" in output
    assert not list((checkout.folder / "results").rglob("*.nc"))

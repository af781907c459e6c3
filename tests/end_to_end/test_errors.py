"""Bad configurations are refused before any work; diverged runs are results."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

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


def test_a_gpu_that_is_not_there_is_said(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    checkout = new_checkout(tmp_path / "gpu")
    settings = "{two_phases: {settings: {backend: cuda}}}"
    output = checkout.snakemake("figure2", "--config", f"experiments={settings}", fails=True)
    assert "backend cuda finds no NVIDIA GPU here; set backend: compiled" in output

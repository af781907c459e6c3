"""The workflow makes everything, once, and the same bytes in another folder."""

import hashlib
import json
from pathlib import Path

import numpy as np
import xarray as xr

from .conftest import Checkout, new_checkout

SIGMAS = ("0.0", "4.0")


def digests(folder: Path) -> dict[str, str]:
    """The digest of every netCDF, image and table under results/."""
    results = folder / "results"
    return {
        str(path.relative_to(results)): hashlib.sha256(path.read_bytes()).hexdigest()
        for kind in ("nc", "png", "pdf", "csv")
        for path in sorted(results.rglob(f"*.{kind}"))
        if "mlflow" not in path.parts
    }


def test_all_outputs_are_made(first_run: tuple[Checkout, str]) -> None:
    checkout, output = first_run
    expected = {f"figures/figure2.{kind}" for kind in ("pdf", "png", "csv")}
    for sigma in SIGMAS:
        expected |= {f"simulate/two_phases/sigma={sigma}/block={b}.nc" for b in (0, 1)}
        expected.add(f"analyze/two_phases/sigma={sigma}.nc")
    assert set(digests(checkout.folder)) == expected
    assert "8 of 8 steps (100%) done" in output
    for path in expected - {f"figures/figure2.{kind}" for kind in ("pdf", "csv")}:
        stem = path.rsplit(".", 1)[0]
        assert (checkout.folder / "results" / f"{stem}.json").is_file()
        assert (checkout.folder / "results" / "logs" / f"{stem}.log").read_text().strip()
        assert (checkout.folder / "results" / "benchmarks" / f"{stem}.tsv").is_file()


def test_the_artifact_says_what_it_is(made: Checkout) -> None:
    path = made.folder / "results/simulate/two_phases/sigma=4.0/block=1.nc"
    with xr.open_dataset(path) as data:
        configuration = json.loads(data.attrs["configuration"])
        assert configuration["settings"]["sigma"] == 4.0
        assert configuration["settings"]["width"] == data.sizes["neuron"] == 60
        assert configuration["seeds"] == data["seed"].values.tolist() == [1]
        assert np.isfinite(data["w_norm"]).all()
        assert data["step"].values[[0, -1]].tolist() == [0, 20000]
    record = json.loads(path.with_suffix(".json").read_text())
    (digest,) = record["artifacts"].values()
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_second_call_does_nothing(made: Checkout) -> None:
    assert "Nothing to be done" in made.snakemake()


def test_a_figure_is_a_target_of_its_own_name(made: Checkout) -> None:
    assert "Nothing to be done" in made.snakemake("figure2")


def test_two_clean_runs_give_the_same_bytes(made: Checkout, tmp_path: Path) -> None:
    other = new_checkout(tmp_path / "a folder of another name")
    other.snakemake("--cores", "1")
    assert digests(other.folder) == digests(made.folder)

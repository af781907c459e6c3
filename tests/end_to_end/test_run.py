"""The workflow makes everything, once, and the same bytes in another folder."""

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from labelnoise.config.commandline import read
from labelnoise.config.load import load
from labelnoise.workflow import layout
from labelnoise.workflow.costs import Costs, done_here, seconds_taken
from labelnoise.workflow.verbs import VERBS, verb_of

from .conftest import Checkout, new_checkout

pytestmark = pytest.mark.xdist_group("smoke")

SIGMAS = ("0.0", "4.0")
FIGURES = (
    *("figure1", "figure2", "figure3", "figure4", "figure5", "figure6", "lazy", "oscillation"),
    *("phase_diagram", "scaling", "spectrum", "table1", "width"),
)


def test_all_outputs_are_made(first_run: tuple[Checkout, str]) -> None:
    checkout, output = first_run
    figures = {f"figures/{name}.{kind}" for name in FIGURES for kind in ("pdf", "png", "csv", "md")}
    data = {f"analyze/two_phases/sigma={sigma}.nc" for sigma in SIGMAS}
    for sigma in SIGMAS:
        data |= {f"simulate/two_phases/sigma={sigma}/block={b}.nc" for b in (0, 1)}
    data |= {"linearize/leaving_lazy/sigma=0.0/block=0.nc", "analyze/phase_sgd/sigma=1.0.nc"}
    found = set(checkout.digests())
    assert figures | data <= found
    assert {path for path in found if path.startswith("figures/")} == figures
    assert "steps (100%) done" in output
    for name in FIGURES:  # each is said when it is made
        assert f"\n{name}: results/figures/{name}.pdf\n" in output
    for path in found:
        stem, kind = path.rsplit(".", 1)
        if kind in ("nc", "png"):
            results = checkout.folder / "results"
            assert (results / f"{stem}.json").is_file()
            assert (results / "logs" / f"{stem}.log").read_text().strip()
            assert (results / "benchmarks" / f"{stem}.tsv").is_file()
            assert kind == "nc" or (results / f"{stem}.md").read_text().strip()


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
    assert digest == made.digests()["simulate/two_phases/sigma=4.0/block=1.nc"]


def test_how_long_it_takes_is_said_within_a_factor_of_one_and_a_half(
    first_run: tuple[Checkout, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout, output = first_run
    assert re.search(r"^\d+ jobs, \d+ at a time: about [\d.]+ (s|min|h)$", output, re.MULTILINE)
    # what the jobs took here, beside what is learnt from them by their kinds
    monkeypatch.chdir(checkout.folder)
    config = load(read([Path("config/config.yaml"), Path("config/smoke.yaml")]))
    costs = Costs(done_here())
    thought = took = 0.0
    for verb, of in {(verb.name, verb.of) for verb in VERBS}:
        for cell in itertools.chain(*config.cells.values()):
            each = verb_of(verb, of).per == "cell"
            for block in [None] if each else range(len(cell.blocks)):
                place = (cell.experiment, cell.path)
                stem = layout.analysis(*place) if each else layout.block(verb, *place, block)
                seconds = seconds_taken(stem) if cell.verb == of else None
                if seconds is not None:
                    took += seconds
                    thought += costs.seconds(verb, cell, block)
    assert took > 0
    assert took / 1.5 < thought < took * 1.5


def test_the_second_call_does_nothing(made: Checkout) -> None:
    assert "Nothing to be done" in made.snakemake()


def test_a_figure_is_a_target_of_its_own_name(made: Checkout) -> None:
    assert "Nothing to be done" in made.snakemake("figure2")


def test_two_clean_runs_give_the_same_bytes(made: Checkout, tmp_path: Path) -> None:
    other = new_checkout(tmp_path / "a folder of another name")
    other.snakemake("lazy", "phase_diagram", "--cores", "1")
    again = other.digests()
    assert len(again) > 20
    first = made.digests()
    assert again == {path: first[path] for path in again}


def test_the_report_holds_every_figure(made: Checkout) -> None:
    made.snakemake("--report", "report.html")
    page = (made.folder / "report.html").read_text(encoding="utf-8")
    for name in FIGURES:
        assert f"results/figures/{name}.png" in page
    caption = (made.folder / "results/figures/figure6.md").read_text(encoding="utf-8")
    assert caption[:40] in page

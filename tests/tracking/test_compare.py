"""`labelnoise compare` and the README's search expression show the grid at once."""

import csv
import json
import os
import re
from pathlib import Path

import pytest

from labelnoise.__main__ import main

from .conftest import Project

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def logged(project: Project) -> Project:
    project.cell(16.0)  # as text it comes before 4.0
    assert project.track() == 0
    return project


def table(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_a_grid_in_the_terminal_and_as_csv(
    logged: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["compare", "grid", "--csv", "table.csv"]) == 0
    header, *rows = table(capsys.readouterr().out)
    assert header == ["sigma", "final_alignment_mean", "runs"]
    assert rows == [["0.5", "0.055", "2"], ["4", "0.405", "2"], ["16", "1.605", "2"]]
    with (logged.folder / "table.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    assert [float(row["final_alignment_mean"]) for row in written] == [0.055, 0.405, 1.605]


def test_seeds_are_averaged_and_rows_sorted(
    logged: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    arguments = ["--verb", "simulate", "--metric", "extra", "--sort=-extra"]
    with pytest.raises(SystemExit):
        main(["compare", "grid", "--verb", "plot"])
    assert main(["compare", "grid", *arguments]) == 1  # seeds have the main curves only
    _, err = capsys.readouterr()
    assert "no metric extra there, but alignment_mean, final_alignment_mean" in err
    assert main(["compare", "grid", "--verb", "simulate", "--sort=-final_alignment_mean"]) == 0
    header, *rows = table(capsys.readouterr().out)
    assert header == ["sigma", "final_alignment_mean", "runs"]
    assert rows == [["16", "1.605", "2"], ["4", "0.405", "2"], ["0.5", "0.055", "2"]]


@pytest.mark.parametrize("verb", ["analyze", "simulate"])
def test_runs_whose_files_are_gone_are_left_out_and_counted(
    logged: Project, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    for stem in ("simulate/grid/sigma=4.0/block=0", "analyze/grid/sigma=4.0"):
        Path(f"results/{stem}.json").unlink()
    other = Project(logged.folder.parent / "other")  # logs to the same store
    other.cell(0.5)
    assert other.track(logged.uri) == 0
    os.chdir(logged.folder)
    capsys.readouterr()
    assert main(["compare", "grid", "--verb", verb]) == 0
    out, err = capsys.readouterr()
    assert [(row[0], row[-1]) for row in table(out)[1:]] == [("0.5", "2"), ("16", "2")]
    left, every = {"analyze": (2, 4), "simulate": (4, 8)}[verb]
    assert err == f"left out are {left} of {every} runs, which are of no file in results now\n"


@pytest.mark.parametrize("verb", ["analyze", "simulate"])
def test_cells_that_the_configuration_no_longer_has_are_left_out(
    logged: Project, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    grid = {"verb": "simulate", "grid": {"sigma": [0.5, 16.0]}, "seeds": 2, "seeds_per_job": 2}
    figures = {"scaling": {"experiments": ["grid"]}}
    Path("config.yaml").write_text(json.dumps({"experiments": {"grid": grid}, "figures": figures}))
    capsys.readouterr()
    assert main(["compare", "grid", "--verb", verb, "--configfile", "config.yaml"]) == 0
    out, err = capsys.readouterr()
    assert [(row[0], row[-1]) for row in table(out)[1:]] == [("0.5", "2"), ("16", "2")]
    assert "left out are" in err and "no cell in config.yaml" in err
    assert main(["compare", "grid", "--verb", verb]) == 0
    assert len(table(capsys.readouterr().out)) == 4
    assert main(["compare", "grid", "--configfile", "none.yaml"]) == 1
    assert "none.yaml" in capsys.readouterr().err


def test_what_is_not_there_is_said(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "grid"]) == 1
    assert "no experiment grid there, but Default" in capsys.readouterr().err
    (project.folder / "results/mlflow/mlflow.db").unlink()
    assert main(["compare", "grid"]) == 1
    assert "nothing was logged there yet; run `make track`" in capsys.readouterr().err
    assert not (project.folder / "results/mlflow/mlflow.db").exists()


def test_the_readme_recipe_finds_alignment_against_sigma(logged: Project) -> None:
    recipe = README.read_text(encoding="utf-8").split("## Compare runs")[1].split("\n## ")[0]
    expression = re.search(r"^tags\.verb = .*$", recipe, re.MULTILINE)
    columns = re.search(r"columns `(\w+)` and `(\w+)`", recipe)
    assert expression and columns
    parameter, metric = columns.groups()
    points = {
        run.data.params[parameter]: run.data.metrics[metric]
        for run in logged.runs(expression=expression[0])
    }
    assert points == pytest.approx({"0.5": 0.055, "4.0": 0.405, "16.0": 1.605})

"""`labelnoise compare` and the README's search expression show the grid at once."""

import csv
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

"""The runs of a grid side by side: the table that MLflow's compare view shows, as text and CSV."""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from labelnoise.analyze.summary import PHASES

from .records import ARTIFACT, PER_SEED, RESULTS, read_records
from .stores import StoreError, calm_mlflow, database, reach, reason, silence

if TYPE_CHECKING:
    from mlflow.entities import Run

Row = dict[str, str | float]


def expression(verb: str) -> str:
    """The search expression for the runs to compare; also for MLflow's search field.

    A verb whose files hold several runs is compared by these, averaged over the seeds.
    """
    kind = "seed" if verb in PER_SEED else "file"
    return f"tags.verb = '{verb}' and tags.kind = '{kind}'"


def find(uri: str, experiments: Sequence[str], verb: str) -> "list[Run]":
    """The current runs of some experiments.

    Raises:
        StoreError: the store cannot be read, or holds no such experiment.
    """
    calm_mlflow()
    file = database(uri)
    if file and not file.is_file():
        raise StoreError("nothing was logged there yet; run `make track`")
    reach(uri)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    silence()
    try:
        client = MlflowClient(uri)
        there = {e.name: e.experiment_id for e in client.search_experiments()}
        unknown = [name for name in experiments if name not in there]
        if unknown:
            raise StoreError(f"no experiment {unknown[0]} there, but {', '.join(sorted(there))}")
        ids = [there[name] for name in experiments]
        found: list[Run] = []
        token = None
        while True:
            page = client.search_runs(ids, expression(verb), page_token=token)
            found += page
            token = page.token
            if not token:
                return found
    except MlflowException as error:
        raise StoreError(reason(error)) from error


def current(
    runs: "Iterable[Run]", results: Path, cells: Iterable[tuple[str, str, int]] | None = None
) -> "list[Run]":
    """The runs whose files are results of this folder now, and in its configuration.

    Args:
        runs: what `find` found.
        results: the results folder; without any record in it, all runs are taken.
        cells: experiment, path and number of blocks of each cell of the configuration; the runs
            of an experiment that is not among them, and all where it is None, are taken.
    """
    records, _ = read_records(results)
    if not records:
        return list(runs)
    origin = str(results.resolve())
    stems: set[str] | None = None
    experiments: set[str] = set()
    if cells is not None:
        stems = set()
        for experiment, path, blocks in cells:
            experiments.add(experiment)
            stems.add(f"{experiment}/{path}")
            stems |= {f"{experiment}/{path}/block={number}" for number in range(blocks)}
    kept = []
    for run in runs:
        artifact = run.data.tags.get(ARTIFACT, "")
        if run.data.tags.get(RESULTS) != origin or artifact not in records:
            continue
        stem = artifact.split("/", 2)[-1].removesuffix(".nc")
        if stems is None or stem in stems or stem.split("/")[0] not in experiments:
            kept.append(run)
    return kept


def _number(text: str) -> str | float:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, int | float) and not isinstance(value, bool) else text


def table(runs: "Iterable[Run]", metrics: Sequence[str], sort: str | None) -> list[Row]:
    """One row a point of the grid: the parameters that vary, then metrics, averaged over seeds.

    Args:
        runs: what `find` found.
        metrics: which metrics; none: the final values and the phases' steps.
        sort: a column to sort by (`-name`: the largest first), beside the parameters.

    Raises:
        StoreError: there is no such column.
    """
    points: dict[tuple[tuple[str, str], ...], list[dict[str, float]]] = {}
    for run in runs:
        settings = {k: v for k, v in run.data.params.items() if k not in ("seed", "seeds")}
        points.setdefault(tuple(sorted(settings.items())), []).append(run.data.metrics)
    every = [dict(point) for point in points]
    names = sorted({name for settings in every for name in settings})
    varying = [name for name in names if len({settings.get(name) for settings in every}) > 1]
    there = {name for found in points.values() for values in found for name in values}
    shown = metrics or [
        *sorted(name for name in there if name.startswith("final_")),
        *(name for name in PHASES if name in there),
    ]
    known = {*varying, *there}
    for name in [*metrics, *([sort.removeprefix("-")] if sort else [])]:
        if name not in known:
            raise StoreError(f"no metric {name} there, but {', '.join(sorted(there))}")
    rows: list[Row] = []
    for settings, found in zip(every, points.values(), strict=True):
        row: Row = {name: _number(settings.get(name, "")) for name in varying}
        for name in shown:
            values = [one[name] for one in found if name in one]
            row[name] = fmean(values) if values else ""
        row["runs"] = sum(int(one.get("runs", 1)) for one in found)
        rows.append(row)

    def place(row: Row, name: str) -> tuple[bool, float, str]:
        value = row.get(name, "")
        return (True, 0.0, value) if isinstance(value, str) else (False, value, "")

    rows.sort(key=lambda row: [place(row, name) for name in varying])
    if sort:
        name = sort.removeprefix("-")
        rows.sort(key=lambda row: place(row, name), reverse=sort.startswith("-"))
    return rows


def text(rows: Sequence[Row]) -> str:
    """The table for a terminal."""
    if not rows:
        return "no runs"
    lines = [list(rows[0])]
    lines += [
        [f"{value:.5g}" if isinstance(value, float) else str(value) for value in row.values()]
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """The table with all digits; a folder that is missing is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)

"""One record → its run, its seeds' runs below it, and what ties it to other runs.

A run carries its artifact's path and, as the very last thing logged, the digest of the record it
was made from. A run without that digest is an interrupted one; a run with another digest is an
outdated one. Both are deleted (MLflow keeps deleted runs apart) once the new one is whole.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    Experiment,
    Metric,
    Param,
    Run,
    RunTag,
    ViewType,
)
from mlflow.exceptions import MlflowException

from . import curves
from .records import ARTIFACT, PER_SEED, RESULTS, Record
from .stores import database, embedded

RECORD = "labelnoise.record"
NOTE = "note.md"
"""The artifact with a description that is too long for its tag."""
BATCH = 900
"""Metrics a call; a call takes 1,000 metrics, params and tags together."""
LISTED = 15
"""Inputs that a description spells out."""
LONGEST = 8000
"""Characters of a tag, and so of a description: a server on PostgreSQL holds no more."""


class Logger:
    """Logs records of one results folder to one store.

    Args:
        client: the store's client.
        results: the results folder.
        uri: the store.
        records: all records, by artifact.

    Attributes:
        restored: names of experiments that a person had deleted, and that are there again.
    """

    def __init__(
        self, client: MlflowClient, results: Path, uri: str, records: Mapping[str, Record]
    ) -> None:
        self._client = client
        self._records = records
        self._origin = str(results.resolve())
        self._database = database(uri)
        self._own = uri == embedded(results)
        self.restored: list[str] = []
        needed = {record.experiment for record in records.values()} | {"figures"}
        self._restore(needed)
        self._experiments = {e.name: e.experiment_id for e in self._existing()}
        self._runs: dict[str, list[Run]] = {}
        for run in self._all_runs():
            self._runs.setdefault(run.data.tags[ARTIFACT], []).append(run)

    def _restore(self, names: set[str]) -> None:
        """Take deleted experiments back: MLflow keeps their names, and so makes no new ones."""
        for experiment in self._client.search_experiments(ViewType.DELETED_ONLY):
            if experiment.name in names:
                self._client.restore_experiment(experiment.experiment_id)
                self.restored.append(experiment.name)

    def _existing(self) -> Iterator[Experiment]:
        """The experiments; those of an embedded store whose folder was moved are put aside.

        Their files are looked for where the folder was, which cannot be changed.
        """
        for experiment in self._client.search_experiments():
            origin = experiment.tags.get(RESULTS)
            if self._own and origin and origin != self._origin:
                aside = f"{experiment.name} of {origin} ({experiment.experiment_id})"
                self._client.rename_experiment(experiment.experiment_id, aside)
                self._client.delete_experiment(experiment.experiment_id)
            else:
                yield experiment

    def _all_runs(self) -> Iterator[Run]:
        token = None
        while self._experiments:
            page = self._client.search_runs(
                list(self._experiments.values()),
                f"tags.`{RESULTS}` = {_quoted(self._origin)}",
                max_results=1000,
                page_token=token,
            )
            yield from page
            token = page.token
            if not token:
                return

    def _experiment(self, name: str) -> str:
        if name not in self._experiments:
            # the pages for numbers and curves, not those for language models
            location, tags = None, {"mlflow.experimentKind": "custom_model_development"}
            if self._database:  # its files go beside it; a server knows better where
                location = (self._database.parent / "artifacts" / name).resolve().as_uri()
            if self._own:
                tags[RESULTS] = self._origin
            try:
                self._experiments[name] = self._client.create_experiment(name, location, tags)
            except MlflowException:
                other = self._client.get_experiment_by_name(name)  # made by another meanwhile
                if other is None or other.lifecycle_stage != "active":
                    raise
                self._experiments[name] = other.experiment_id
        return self._experiments[name]

    def bring_up_to_date(self, record: Record) -> bool:
        """Log a record unless its artifact's run is of this very record; say whether."""
        runs = self._runs.get(record.artifact, [])
        current = next((r for r in runs if r.data.tags.get(RECORD) == record.digest), None)
        kept = current.info.run_id if current else self._log(record)
        for run in runs:
            if kept not in (run.info.run_id, run.data.tags.get("mlflow.parentRunId")):
                self._client.delete_run(run.info.run_id)
        return current is None

    def _log(self, record: Record) -> str:
        content, recipe = record.content, record.recipe
        started = int(datetime.fromisoformat(content["started"]).timestamp() * 1000)
        ended = started + int(content["seconds"] * 1000)
        common = {
            ARTIFACT: record.artifact,
            RESULTS: self._origin,
            "verb": record.verb,
            "mlflow.user": content["origin"]["user"],
            "mlflow.source.name": f"workflow/scripts/{record.verb}.py",
            "mlflow.source.type": "LOCAL",
            "mlflow.source.git.commit": content["origin"]["git_commit"],
        }
        tags = common | content["origin"]
        tags |= {
            "kind": "file",
            "code_digest": recipe["code"],
            "artifact_digests": json.dumps(content["artifacts"]),
        }
        note = self._note(record)
        tags["mlflow.note.content"] = shortened(note)
        run_id = self._create(record, started, _name(record), tags)
        if len(note) > LONGEST:
            self._client.log_text(run_id, note, NOTE)
        params = _params(recipe)
        metrics = [Metric(key, value, ended, 0) for key, value in content["metrics"].items()]
        # a file of a whole row of a grid holds too many runs to look at one by one
        if record.verb in PER_SEED and not recipe.get("together"):
            for seed, points in curves.by_seed(Path(record.artifact), ended):
                below = common | {"kind": "seed", "mlflow.parentRunId": run_id}
                child = self._create(record, started, _name(record, seed), below)
                seeded = {k: v for k, v in params.items() if k != "seeds"} | {"seed": str(seed)}
                self._finish(child, seeded, points, {}, ended)
        elif record.verb == "analyze" and not recipe.get("together"):
            metrics += curves.mean(Path(record.artifact), ended)
        elif record.verb == "plot":
            for path in content["artifacts"]:
                self._client.log_artifact(run_id, path)
        self._client.log_artifact(run_id, str(record.path))
        if content["inputs"]:
            self._client.log_inputs(run_id, _datasets(content["inputs"]))
        self._finish(run_id, params, metrics, {RECORD: record.digest}, ended)
        return run_id

    def _create(self, record: Record, started: int, name: str, tags: dict[str, str]) -> str:
        experiment = self._experiment(record.experiment)
        run = self._client.create_run(experiment, started, tags, name)
        return str(run.info.run_id)

    def _finish(
        self,
        run_id: str,
        params: Mapping[str, str],
        metrics: list[Metric],
        tags: Mapping[str, str],
        ended: int,
    ) -> None:
        """End a run, then log its numbers in as few calls as can be, the tags last of all."""
        self._client.set_terminated(run_id, "FINISHED", ended)
        while len(metrics) > BATCH:
            self._client.log_batch(run_id, metrics[:BATCH])
            metrics = metrics[BATCH:]
        self._client.log_batch(
            run_id,
            metrics,
            [Param(key, value[:5000]) for key, value in params.items()],
            [RunTag(key, value) for key, value in tags.items()],
        )

    def _note(self, record: Record) -> str:
        """The description on a run's page; its links search by path, and so survive reruns."""
        content = record.content
        lines = [content["caption"], ""] if content["caption"] else []
        inputs = list(content["inputs"])
        if inputs:
            lines.append("Made from:\n")
            for path in inputs[:LISTED]:
                source = self._records.get(path)
                made = source and self._link(path, source.experiment, made_this(path))
                lines.append(f"- {made or path}")
            if len(inputs) > LISTED:
                lines.append(f"- and {len(inputs) - LISTED} more: see this run's datasets")
        if record.verb != "plot":
            experiments = sorted({record.experiment, "figures"})
            links = [self._link(name, name, used_this(record.artifact)) for name in experiments]
            lines.append(f"\nRead by runs in {', '.join(links)}")
        lines.append("\nFiles:\n")
        lines += [f"- `{path}`, SHA-256 {digest}" for path, digest in content["artifacts"].items()]
        return "\n".join(lines)

    def _link(self, text: str, experiment: str, expression: str) -> str:
        page = f"#/experiments/{self._experiment(experiment)}/runs"
        return f"[{text}]({page}?searchFilter={quote(expression, safe='')})"


def shortened(note: str) -> str:
    """A description that fits into a tag: cut between lines, or words, if it must be."""
    if len(note) <= LONGEST:
        return note
    end = f"\n\n… the whole text is in this run's artifact `{NOTE}`"
    start = note[: LONGEST - len(end)]
    # a line may be longer than all that there is room for
    for gap in ("\n", " "):
        cut = start.rfind(gap)
        if cut > LONGEST // 2:
            return start[:cut] + end
    return start + end


def made_this(path: str) -> str:
    """The search expression for the run that made a file."""
    return f"tags.kind = 'file' and tags.`{ARTIFACT}` = {_quoted(path)}"


def used_this(path: str) -> str:
    """The search expression for the runs that read a file."""
    return f"dataset.name = {_quoted(path)}"


def _quoted(value: str) -> str:
    return f'"{value}"' if "'" in value else f"'{value}'"


def _datasets(inputs: Mapping[str, str]) -> list[DatasetInput]:
    """The files that a run read: as MLflow's datasets they are shown, and found by name."""
    return [
        # a dataset's digest holds 36 characters; the whole one is in its source
        DatasetInput(
            Dataset(path, digest[:32], "local", json.dumps({"uri": path, "sha256": digest}))
        )
        for path, digest in inputs.items()
    ]


def _name(record: Record, seed: int | None = None) -> str:
    """`simulate sigma=4.0 seeds=0-3`: what tells a run of an experiment from the others."""
    recipe = record.recipe
    if record.verb == "plot":
        return Path(record.artifact).stem
    parts = [record.verb, *(f"{key}={value}" for key, value in recipe.get("grid", ()))]
    if seed is not None:
        parts.append(f"seed={seed}")
    elif "seeds" in recipe:
        parts.append("seeds=" + _span(recipe["seeds"]))
    return " ".join(parts)


def _span(seeds: list[int]) -> str:
    if len(seeds) > 1 and seeds == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]}-{seeds[-1]}"
    return ",".join(map(str, seeds))


def _params(recipe: Mapping[str, Any]) -> dict[str, str]:
    """A recipe's settings by their config names, one column each when runs are compared."""
    skipped = {"code", "libraries", "settings", "grid", "together", "analysis", "cells"}
    skipped |= {"experiment_verb"}
    flat = {k: v for k, v in recipe.items() if k not in skipped}
    flat |= recipe.get("settings", {}) | recipe.get("analysis", {}) | recipe.get("together", {})
    if "cells" in recipe:
        flat["cells"] = [
            "/".join([c["experiment"], *(f"{k}={v}" for k, v in c["grid"])])
            for c in recipe["cells"]
        ]
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in flat.items()}

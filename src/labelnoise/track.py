"""MLflow: every artifact's record becomes a run, once, and stays the only current one.

Jobs do not talk to MLflow: each leaves a record beside its artifact (`job.Job`), and `track`
brings a tracking store up to date with the records under results/. It runs when a workflow ends,
and whenever a person asks for it. So a store that is slow, locked or away costs no result, and
what is missing is logged the next time.

A run carries its artifact's path and, as the very last thing logged, the digest of the record it
was made from. A run without that digest is an interrupted one; a run with another digest is an
outdated one. Both are deleted (MLflow keeps deleted runs apart) once the new one is whole.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .provenance import file_digest

if TYPE_CHECKING:
    import xarray as xr
    from mlflow import MlflowClient
    from mlflow.entities import Metric

ARTIFACT = "labelnoise.artifact"
RECORD = "labelnoise.record"
POINTS = 101
"""A curve is thinned to so many points: what a chart can show."""

FOLDERS = {
    "simulate": "simulate",
    "linearize": "linearize",
    "analyze": "analyze",
    "plot": "figures",
}
"""Where each verb's artifacts are, in such an order that what a run read is logged before it."""


@dataclass
class Report:
    """What `track` did.

    Attributes:
        logged: artifacts that got a new run.
        current: how many had one already.
    """

    logged: list[str] = field(default_factory=list)
    current: int = 0


def store_uri(results: Path, configured: str | None = None) -> str:
    """The tracking store: MLFLOW_TRACKING_URI, else the configured one, else SQLite in results."""
    embedded = f"sqlite:///{(results / 'mlflow' / 'mlflow.db').resolve()}"
    return os.environ.get("MLFLOW_TRACKING_URI") or configured or embedded


def calm_mlflow() -> None:
    """No telemetry, no chatter, and no minutes of waiting for a server that is not there."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")


def read_records(results: Path) -> dict[str, dict[str, Any]]:
    """The records of all artifacts that are there, by the path of the main artifact."""
    records = {}
    for verb, folder in FOLDERS.items():
        for path in sorted((results / folder).rglob("*.json")):
            record = json.loads(path.read_text(encoding="utf-8"))
            made = all(Path(artifact).is_file() for artifact in record["artifacts"])
            if record["verb"] == verb and made:
                records[record["artifact"]] = record | {"digest": file_digest(path)}
    return records


def track(results: Path, uri: str) -> Report:
    """Bring a tracking store up to date with the records under a results folder.

    Args:
        results: the folder; artifact paths are relative to its parent, the working directory.
        uri: the tracking store.

    Raises:
        OSError, mlflow.exceptions.MlflowException: the store cannot be reached or written. Runs
            that were logged stay; the rest is logged by the next call.
    """
    calm_mlflow()
    records = read_records(results)
    report = Report()
    if not records:
        return report
    from filelock import FileLock

    (results / "mlflow").mkdir(parents=True, exist_ok=True)
    # one at a time: a fresh SQLite store is created by one process, and no run is logged twice
    with FileLock(results / "mlflow" / "lock"):
        from mlflow import MlflowClient

        logger = _Logger(MlflowClient(uri), results, uri)
        for artifact, record in records.items():
            if logger.bring_up_to_date(artifact, record):
                report.logged.append(artifact)
            else:
                report.current += 1
    return report


class _Logger:
    def __init__(self, client: "MlflowClient", results: Path, uri: str) -> None:
        self._client = client
        self._uri = uri
        self._artifacts = results / "mlflow" / "artifacts"
        self._origin = str(results.resolve())
        self._experiments = {e.name: e.experiment_id for e in client.search_experiments()}
        self._runs: dict[str, list[Any]] = {}
        for run in self._all_runs():
            self._runs.setdefault(run.data.tags[ARTIFACT], []).append(run)

    def _all_runs(self) -> Iterator[Any]:
        token = None
        while self._experiments:
            page = self._client.search_runs(
                list(self._experiments.values()),
                f"tags.`labelnoise.results` = '{self._origin}'",
                max_results=1000,
                page_token=token,
            )
            yield from page
            token = page.token
            if not token:
                return

    def _experiment(self, name: str) -> str:
        if name not in self._experiments:
            # the embedded store keeps its files beside it; a server knows better where
            location = None
            if self._uri.startswith("sqlite:"):
                location = (self._artifacts / name).resolve().as_uri()
            self._experiments[name] = self._client.create_experiment(name, location)
        return self._experiments[name]

    def _current(self, artifact: str) -> Any | None:
        """The whole run of an artifact, if it has one."""
        return next((r for r in self._runs.get(artifact, []) if RECORD in r.data.tags), None)

    def bring_up_to_date(self, artifact: str, record: Mapping[str, Any]) -> bool:
        """Log an artifact unless its current run is of this very record; say whether."""
        current = self._current(artifact)
        if current is not None and current.data.tags[RECORD] == record["digest"]:
            return False
        outdated = self._runs.get(artifact, [])
        run_id = self._log(artifact, record)
        for run in outdated:
            self._client.delete_run(run.info.run_id)
        self._runs[artifact] = [self._client.get_run(run_id)]
        return True

    def _log(self, artifact: str, record: Mapping[str, Any]) -> str:
        recipe = record["recipe"]
        figure = record["verb"] == "plot"
        experiment = self._experiment("figures" if figure else recipe["experiment"])
        started = int(datetime.fromisoformat(record["started"]).timestamp() * 1000)
        ended = started + int(record["seconds"] * 1000)
        sources = {
            path: run.info.run_id for path in record["inputs"] if (run := self._current(path))
        }
        tags = {
            ARTIFACT: artifact,
            "labelnoise.results": self._origin,
            "verb": record["verb"],
            "code_digest": recipe["code"],
            "artifact_digests": json.dumps(record["artifacts"]),
            "input_digests": json.dumps(record["inputs"]),
            "input_runs": json.dumps(sources),
            "mlflow.user": record["origin"]["user"],
            "mlflow.source.name": f"workflow/scripts/{record['verb']}.py",
            "mlflow.source.type": "LOCAL",
            "mlflow.source.git.commit": record["origin"]["git_commit"],
            **record["origin"],
        }
        name = Path(artifact).stem if figure else _name(recipe, record["verb"])

        def create(run_name: str, extra: dict[str, str]) -> str:
            run = self._client.create_run(
                experiment, start_time=started, tags=tags | extra, run_name=run_name
            )
            return str(run.info.run_id)

        run_id = create(name, {"mlflow.note.content": self._note(artifact, record, sources)})
        params = _params(recipe)
        metrics = _metrics(record["metrics"].items(), ended)
        if record["verb"] in ("simulate", "linearize"):
            for seed, curves in _curves_by_seed(artifact, ended):
                child = create(
                    f"seed={seed} {_name(recipe)}", {"mlflow.parentRunId": run_id, "kind": "seed"}
                )
                seeded = {k: v for k, v in params.items() if k != "seeds"} | {"seed": str(seed)}
                self._send(child, seeded, curves)
                self._client.set_terminated(child, "FINISHED", ended)
        elif record["verb"] == "analyze":
            metrics += _mean_curves(artifact, ended)
        else:
            for path in record["artifacts"]:
                self._client.log_artifact(run_id, path)
        self._send(run_id, params, metrics)
        self._client.log_dict(run_id, dict(recipe), "recipe.json")
        self._client.set_tag(run_id, RECORD, record["digest"])
        self._client.set_terminated(run_id, "FINISHED", ended)
        return run_id

    def _send(self, run_id: str, params: Mapping[str, str], metrics: "list[Metric]") -> None:
        from mlflow.entities import Param

        self._client.log_batch(run_id, params=[Param(k, v[:5000]) for k, v in params.items()])
        for start in range(0, len(metrics), 1000):
            self._client.log_batch(run_id, metrics=metrics[start : start + 1000])

    def _note(self, artifact: str, record: Mapping[str, Any], sources: Mapping[str, str]) -> str:
        lines = [record["caption"], ""] if record["caption"] else []
        lines.append(f"File: `{artifact}`")
        if record["inputs"]:
            lines.append("\nMade from:")
        for path in record["inputs"]:
            link = path
            if path in sources:
                run = self._current(path)
                assert run is not None
                link = f"[{path}](#/experiments/{run.info.experiment_id}/runs/{run.info.run_id})"
            lines.append(f"- {link}")
        return "\n".join(lines)


def _name(recipe: Mapping[str, Any], *before: str) -> str:
    """`simulate sigma=4.0 seeds=0,1`: what tells a run of an experiment from the others."""
    parts = [*before, *(f"{key}={value}" for key, value in recipe["grid"].items())]
    if before and "seeds" in recipe:
        parts.append("seeds=" + ",".join(map(str, recipe["seeds"])))
    return " ".join(parts)


def _params(recipe: Mapping[str, Any]) -> dict[str, str]:
    """A recipe's settings by their config names, one column each when runs are compared."""
    skipped = ("code", "libraries", "settings", "grid", "together", "analysis", "cells")
    flat = {k: v for k, v in recipe.items() if k not in skipped}
    flat |= recipe.get("settings", {}) | recipe.get("analysis", {}) | recipe.get("together", {})
    if "cells" in recipe:
        flat["cells"] = [
            "/".join([c["experiment"], *(f"{k}={v}" for k, v in c["grid"].items())])
            for c in recipe["cells"]
        ]
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in flat.items()}


def _metrics(values: Iterable[tuple[str, float]], time: int, step: int = 0) -> "list[Metric]":
    from mlflow.entities import Metric

    return [Metric(key, value, time, step) for key, value in values]


def _points(name: str, curve: "xr.DataArray", time: int) -> "list[Metric]":
    """A curve over `step`, thinned, without what is not finite."""
    import numpy as np
    from mlflow.entities import Metric

    kept = np.unique(np.linspace(0, curve.sizes["step"] - 1, POINTS).round().astype(int))
    thin = curve.isel(step=kept)
    pairs = zip(thin["step"].values, thin.values, strict=True)
    return [Metric(name, float(v), time, int(s)) for s, v in pairs if np.isfinite(v)]


def _curves_by_seed(path: str, time: int) -> "Iterator[tuple[int, list[Metric]]]":
    """The curves of each run of a trajectory file, one run a seed; per-neuron ones left out.

    A file of a whole row of a grid holds too many runs to look at one by one.
    """
    import numpy as np

    from .store import open_dataset

    with open_dataset(Path(path)) as data:
        for seed in data["seed"].values if data["diverged_step"].dims == ("seed",) else ():
            one = data.sel(seed=seed)
            metrics = []
            for name, variable in one.data_vars.items():
                if variable.dims == ("step",):
                    metrics += _points(str(name), variable, time)
            diverged = float(one["diverged_step"])
            if np.isfinite(diverged):
                metrics += _metrics([("diverged_step", diverged)], time)
            yield int(seed), metrics


def _mean_curves(path: str, time: int) -> "list[Metric]":
    """The curves of an analysis, averaged over the seeds that did not diverge."""
    import numpy as np

    from .store import open_dataset

    with open_dataset(Path(path)) as data:
        if data["diverged_step"].dims != ("seed",):
            return []
        alive = data.isel(seed=np.isnan(data["diverged_step"].values))
        metrics = []
        for name, variable in alive.data_vars.items():
            if variable.dims == ("seed", "step") and variable.sizes["seed"]:
                metrics += _points(str(name), variable.mean("seed"), time)
        return metrics

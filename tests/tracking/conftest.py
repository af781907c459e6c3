"""Results folders with few, small artifacts, and real tracking servers."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from mlflow import MlflowClient
from mlflow.entities import Run

from labelnoise.__main__ import main
from labelnoise.artifacts.provenance import file_digest
from labelnoise.artifacts.store import write_dataset, write_json
from labelnoise.tracking.stores import embedded

STEPS = np.arange(0, 1000, 10)


@dataclass(frozen=True)
class Project:
    """A working directory with a results folder."""

    folder: Path

    @property
    def uri(self) -> str:
        return embedded(self.folder / "results")

    def record(self, verb: str, path: str, recipe: dict, **content: object) -> None:  # type: ignore[type-arg]
        """Write the record of an artifact that is there."""
        inputs = content.pop("inputs", [])
        assert isinstance(inputs, list)
        write_json(
            {
                "verb": verb,
                "artifact": path,
                "recipe": {"code": "c0de", "libraries": {}, **recipe},
                "artifacts": {path: file_digest(self.folder / path)},
                "inputs": {name: file_digest(self.folder / name) for name in inputs},
                "metrics": {},
                "caption": "",
                "origin": {"git_commit": "0" * 40, "git_dirty": "false", "user": "somebody"},
                "started": "2026-01-01T00:00:00+00:00",
                "seconds": 1.0,
                **content,
            },
            (self.folder / path).with_suffix(".json"),
        )

    def data(self, verb: str, path: str, recipe: dict, **content: object) -> None:  # type: ignore[type-arg]
        """Write a netCDF artifact of two seeds whose alignment ends at σ/10 + seed/100."""
        end = recipe["settings"]["sigma"] / 10 + np.arange(2)[:, None] / 100
        curve = (("seed", "step"), end * STEPS / STEPS[-1])
        data = xr.Dataset(
            {"alignment_mean": curve, "extra": curve, "diverged_step": ("seed", [np.nan, np.nan])},
            coords={"seed": [0, 1], "step": STEPS},
        )
        write_dataset(
            data,
            self.folder / path,
            title="",
            recipe={"code": "c0de", "libraries": {}, **recipe},
            inputs={},
        )
        self.record(verb, path, recipe, **content)

    def cell(self, sigma: float) -> list[str]:
        """One cell of the experiment `grid`: trajectories and their analysis."""
        recipe = {
            "experiment": "grid",
            "grid": [["sigma", sigma]],
            "together": {},
            "settings": {"sigma": sigma, "eta": 0.001, "schedule": None},
        }
        block, analysis = (
            f"results/simulate/grid/sigma={sigma}/block=0.nc",
            f"results/analyze/grid/sigma={sigma}.nc",
        )
        self.data("simulate", block, recipe | {"seeds": [0, 1]}, metrics={"runs": 2})
        final = {"final_alignment_mean": sigma / 10 + 0.005, "runs": 2.0}
        self.data("analyze", analysis, recipe, inputs=[block], metrics=final)
        return [block, analysis]

    def figure(self, name: str, inputs: list[str], text: str = "A figure.") -> str:
        path = f"results/figures/{name}.pdf"
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(text)
        recipe = {"drawn_by": name, "options": {}, "cells": []}
        self.record("plot", path, recipe, inputs=inputs, caption=text)
        return path

    def track(self, uri: str | None = None) -> int:
        """Run `labelnoise track` here; its exit status."""
        os.chdir(self.folder)
        return main(["track", *(["--uri", uri] if uri else [])])

    def runs(self, uri: str | None = None, expression: str = "") -> list[Run]:
        client = MlflowClient(uri or self.uri)
        ids = [e.experiment_id for e in client.search_experiments()]
        return list(client.search_runs(ids, expression, max_results=5000))

    def artifacts(self, uri: str | None = None) -> list[str]:
        """The artifact of each run that stands for a file."""
        found = self.runs(uri, "tags.kind = 'file'")
        return sorted(run.data.tags["labelnoise.artifact"] for run in found)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite store with no runs: making one takes longer than what most tests do with it."""
    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_store: Path) -> Project:
    """Two cells and a figure of them, and an empty store."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    made = Project(tmp_path / "project")
    (made.folder / "results/mlflow").mkdir(parents=True)
    shutil.copy(empty_store, made.folder / "results/mlflow/mlflow.db")
    monkeypatch.chdir(made.folder)
    made.figure("figure", made.cell(0.5) + made.cell(4.0))
    return made


@dataclass
class Server:
    """A real `mlflow server` on a free port, which can be killed and started again."""

    folder: Path
    backend: str = ""
    port: int = 0
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        if not self.port:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.port = free.getsockname()[1]
        backend = self.backend or f"sqlite:///{self.folder}/server.db"
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", backend]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        command += ["--workers", "1", "--port", str(self.port)]
        variables = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"} | self.environment
        with (self.folder / "server.log").open("a") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=os.environ | variables | {"MLFLOW_DISABLE_TELEMETRY": "true"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=5).close()
                return
            except (urllib.error.URLError, OSError):
                assert self._process.poll() is None, (self.folder / "server.log").read_text()
                time.sleep(0.2)
        raise AssertionError((self.folder / "server.log").read_text())

    def kill(self) -> None:
        """End it and its workers at once, as a crash would."""
        os.killpg(self._process.pid, 9)
        self._process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("server"))
    running.start()
    yield running
    running.kill()

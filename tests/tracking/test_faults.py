"""A store that is locked, away, killed or full costs one message; the next call logs the rest."""

import multiprocessing
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.tracking._tracking_service import client as service

from labelnoise.tracking import runs, stores
from labelnoise.tracking.records import all_logged

from .conftest import Project, Server
from .test_runs import FILES

SAFE = "all results are safe; `make track` logs what is missing"


def told_once(capfd: pytest.CaptureFixture[str]) -> str:
    """What a person reads: one message of two lines, no traceback, no retries."""
    out, err = capfd.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 2, err
    assert SAFE in err
    return err


def whole(project: Project, uri: str | None = None) -> bool:
    """Whether everything is there once, to its end: each file, and two seeds a block."""
    runs = project.runs(uri)
    return (
        project.artifacts(uri) == FILES
        and len(runs) == len(FILES) + 4
        and all(run.info.status == "FINISHED" and run.data.params for run in runs)
    )


@contextmanager
def locked(file: Path, seconds: float) -> Iterator[None]:
    """A process that holds the database for itself."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=hold, args=(file, seconds, ready))
    process.start()
    assert ready.wait(60)
    yield
    process.kill()
    process.join()


def hold(file: Path, seconds: float, ready: "multiprocessing.synchronize.Event") -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        ready.set()
        time.sleep(seconds)


def test_a_locked_store(
    project: Project, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    database = project.folder / "results/mlflow/mlflow.db"
    monkeypatch.setattr(stores, "LOCKED", 1.0)
    with locked(database, 60):
        assert project.track() == 1
    assert "database is locked" in told_once(capfd)
    monkeypatch.setattr(stores, "LOCKED", 30.0)
    with locked(database, 3):
        assert project.track() == 0  # a short lock is waited for
    assert whole(project)


def test_a_server_that_is_not_there(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    assert project.track("http://somebody:secret@127.0.0.1:9") == 1
    message = told_once(capfd)
    assert "http://somebody:***@127.0.0.1:9: no tracking server answers there" in message
    assert project.track() == 0
    assert whole(project)


def test_a_server_killed_in_mid_run(
    project: Project,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "server").mkdir()
    server = Server(tmp_path / "server")
    server.start()
    calls = 0
    original = service.TrackingServiceClient.log_batch

    def deadly(self, *arguments, **named):  # type: ignore[no-untyped-def]
        nonlocal calls
        calls += 1
        if calls == 5:  # the first block's two seeds and file are there; of the second, a seed
            server.kill()
        return original(self, *arguments, **named)

    monkeypatch.setattr(service.TrackingServiceClient, "log_batch", deadly)
    assert project.track(server.uri) == 1
    assert "the tracking server stopped answering" in told_once(capfd)
    server.start()
    half = project.runs(server.uri)
    assert 3 < len(half) < len(FILES) + 4
    assert project.track(server.uri) == 0
    assert whole(project, server.uri)
    server.kill()


def test_a_store_whose_making_is_killed(project: Project) -> None:
    """MLflow makes one in many steps, and cannot use what a kill leaves in the middle of them."""
    database = project.folder / "results/mlflow/mlflow.db"
    database.unlink()
    killed = 0
    for moment in (0.0, 0.2, 0.4, 0.8):
        process = subprocess.Popen(
            [sys.executable, "-m", "labelnoise", "track"], cwd=project.folder
        )
        while not list(database.parent.glob(f".{database.name}.*.part.db")):
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(moment)
        process.kill()
        process.wait()
        if database.exists():
            break
        killed += 1
    assert killed > 1
    assert project.track() == 0
    assert whole(project)
    assert not list(database.parent.glob(".*"))


def test_an_artifact_disk_that_is_full(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    # the system refuses to write past this size, as it does past the end of a disk
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    figure = project.folder / "results/figures/figure.pdf"
    database = project.folder / "results/mlflow/mlflow.db"
    size = max(4 * database.stat().st_size, 2**23)
    figure.write_bytes(b"0" * (size + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        assert project.track() == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "File too large" in told_once(capfd)
    assert "results/figures/figure.pdf" not in {
        run.data.tags["labelnoise.artifact"]
        for run in project.runs()
        if "labelnoise.record" in run.data.tags
    }
    assert project.track() == 0
    assert whole(project)


@pytest.mark.parametrize(
    ("file", "what"),
    [
        ("results/analyze/grid/sigma=4.0.json", "not a readable record"),
        ("results/analyze/grid/sigma=4.0.nc", "not a readable netCDF-4 file"),
    ],
)
def test_a_damaged_file_is_named_and_the_others_are_logged(
    project: Project, capfd: pytest.CaptureFixture[str], file: str, what: str
) -> None:
    path = project.folder / file
    whole_file = path.read_bytes()
    path.write_bytes(whole_file[:40])
    assert project.track() == 1
    _, err = capfd.readouterr()
    (line,) = err.splitlines()
    assert line.startswith(f"MLflow: not logged: {file}: {what}")
    assert "delete it" in line
    there = {
        run.data.tags["labelnoise.artifact"]
        for run in project.runs()
        if "labelnoise.record" in run.data.tags
    }
    assert there == set(FILES) - {"results/analyze/grid/sigma=4.0.nc"}
    path.write_bytes(whole_file)
    assert project.track() == 0
    assert whole(project)


def test_stray_files_do_not_matter(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    cell = project.folder / "results/simulate/grid/sigma=4.0"
    shutil.copy(cell / "block=0.json", cell / "block=0 (copy).json")
    shutil.copytree(cell, cell.with_name("sigma=4.0 old"))
    (cell / "._block=0.json").write_bytes(b"\0\5\x16\7")
    (cell / ".ipynb_checkpoints").mkdir()
    (cell / ".ipynb_checkpoints/block=0-checkpoint.json").write_text("{")
    (cell / "notes.json").write_text("[1]")
    (cell / "half.json").write_text("{")
    assert project.track() == 0
    assert capfd.readouterr().err == ""
    assert whole(project)
    assert all_logged(Path("results"), project.uri)


def test_folders_that_are_links_are_followed(project: Project, tmp_path: Path) -> None:
    simulated = project.folder / "results/simulate/grid"
    simulated.rename(tmp_path / "disk")
    simulated.symlink_to(tmp_path / "disk")
    (tmp_path / "disk/circle").symlink_to(tmp_path / "disk")
    assert project.track() == 0
    assert whole(project)


def test_a_deleted_experiment_is_restored(
    project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    assert project.track() == 0
    client = MlflowClient(project.uri)
    client.delete_experiment(client.get_experiment_by_name("grid").experiment_id)
    project.figure("another", [])
    capfd.readouterr()
    assert project.track() == 0
    line = "MLflow: experiment grid had been deleted there; it is restored\n"
    assert capfd.readouterr().err == line
    assert project.artifacts() == sorted([*FILES, "results/figures/another.pdf"])
    assert project.track() == 0
    assert capfd.readouterr().err == ""


def test_what_was_outdated_stays_deleted_when_its_experiment_is_restored(
    project: Project,
) -> None:
    assert project.track() == 0
    project.cell(4.0)
    path = project.folder / "results/simulate/grid/sigma=4.0/block=0.json"
    path.write_text(path.read_text().replace("c0de", "c1de"))
    assert project.track() == 0
    client = MlflowClient(project.uri)
    client.delete_experiment(client.get_experiment_by_name("grid").experiment_id)
    assert project.track() == 0
    assert whole(project)


def test_a_long_description_is_cut_and_attached(project: Project) -> None:
    caption = "\n".join(f"line {number} of a long table" for number in range(500))
    project.figure("table", [], caption)
    assert project.track() == 0
    (run,) = [run for run in project.runs() if run.info.run_name == "table"]
    note = run.data.tags["mlflow.note.content"]
    assert len(note) <= 8000
    start, end = note.split("\n\n… ")
    assert caption.startswith(f"{start}\n") and "`note.md`" in end
    attached = MlflowClient(project.uri).download_artifacts(run.info.run_id, "note.md")
    assert caption in Path(attached).read_text(encoding="utf-8")
    assert all(len(value) <= 8000 for run in project.runs() for value in run.data.tags.values())
    assert runs.shortened("x" * 8000) == "x" * 8000
    words = runs.shortened("word " * 2000)
    assert len(words) <= 8000 and words.split("\n\n")[0].endswith("word")
    assert len(runs.shortened("x" * 8001)) == 8000


def test_one_record_that_cannot_be_logged_costs_that_record_alone(
    project: Project, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = MlflowClient.log_artifact
    bad = "results/analyze/grid/sigma=0.5"
    why = "value too long for type character varying(8000)"

    def refuse(self, run_id, path, *more):  # type: ignore[no-untyped-def]
        if path == f"{bad}.json":
            raise MlflowException(why)
        return original(self, run_id, path, *more)

    for _ in range(2):  # not forgotten the next time
        with monkeypatch.context() as broken:
            broken.setattr(MlflowClient, "log_artifact", refuse)
            assert project.track() == 1
        err = capfd.readouterr().err
        assert (
            err
            == f"MLflow: not logged: {bad}.nc: value too long for type character varying(8000)\n"
        )
        there = {
            run.data.tags["labelnoise.artifact"]
            for run in project.runs()
            if "labelnoise.record" in run.data.tags
        }
        assert there == set(FILES) - {f"{bad}.nc"}
        assert not all_logged(Path("results"), project.uri)
    assert project.track() == 0
    assert whole(project)
    assert all_logged(Path("results"), project.uri)


def a_process(folder: Path, uri: str) -> None:
    os._exit(Project(folder).track(uri))


@pytest.mark.parametrize("kind", ["sqlite", "server"])
def test_eight_processes_at_once(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with 20 records of its own; the store is a fresh one."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{tmp_path}/shared/mlflow.db"
    if kind == "server":
        uri = request.getfixturevalue("server").uri
    projects = [Project(tmp_path / str(number)) for number in range(8)]
    for project in projects:
        for number in range(20):
            project.figure(f"figure{number}", [])
    # forked from a process that has imported MLflow but opened no store of this address
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=a_process, args=(p.folder, uri)) for p in projects]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0] * 8
    found = projects[0].runs(uri, "tags.verb = 'plot'")
    expected = [(str(p.folder / "results"), f"figure{n}") for p in projects for n in range(20)]
    seen = [(run.data.tags["labelnoise.results"], str(run.info.run_name)) for run in found]
    assert sorted(seen) == sorted(expected)
    assert {run.info.status for run in found} == {"FINISHED"}


def test_two_processes_in_one_folder(project: Project) -> None:
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=a_process, args=(project.folder, project.uri)) for _ in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    assert whole(project)


def test_nothing_is_sent_elsewhere(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """No connection at all is tried while logging to the embedded store."""
    import socket

    def no_connection(*arguments: object) -> None:
        raise AssertionError(f"a connection to {arguments}")

    before = set(threading.enumerate())
    monkeypatch.setattr(socket.socket, "connect", no_connection)
    assert project.track() == 0
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert not [t for t in set(threading.enumerate()) - before if "elemetry" in t.name]
    assert MlflowClient(project.uri).search_experiments()

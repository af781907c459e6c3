"""Damage under results/ is found by content, named, and removed with what it belongs to."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr

from labelnoise.__main__ import main
from labelnoise.artifacts.store import SCHEMA_VERSION, ArtifactError, write_dataset, write_json
from labelnoise.artifacts.verify import verify
from labelnoise.workflow.job import input_digest

RECIPE = {"code": "0" * 64, "libraries": {}}
BLOCK = "results/simulate/two_phases/sigma=4.0/block=0"
WEIGHTS = "results/train/few/single/block=0"
FIGURE = "results/figures/figure2"
ARCHIVE = "results/downloads/cifar-10-python.tar.gz"


def record(path: str, *artifacts: str) -> None:
    """A record as `Job.finish` writes it."""
    content = {
        "artifact": artifacts[0],
        "artifacts": {a: hashlib.sha256(Path(a).read_bytes()).hexdigest() for a in artifacts},
    }
    write_json(content, Path(path))


def dataset(path: str, value: float) -> None:
    data = xr.Dataset({"x": ("step", np.full(1000, value) + np.arange(1000))})
    write_dataset(data, Path(path), title="x", recipe=RECIPE, inputs={})


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A results folder with an artifact of each kind; nothing is wrong with it."""
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        stem = f"{BLOCK[:-1]}{number}"
        dataset(f"{stem}.nc", number)
        record(f"{stem}.json", f"{stem}.nc")
    dataset(f"{WEIGHTS}.nc", 7)
    Path(f"{WEIGHTS}.safetensors").write_bytes(b"weights")
    record(f"{WEIGHTS}.json", f"{WEIGHTS}.nc", f"{WEIGHTS}.safetensors")
    figure = [f"{FIGURE}.{kind}" for kind in ("pdf", "png", "csv", "md")]
    for path in (*figure, ARCHIVE):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(path)
    record(f"{FIGURE}.json", *figure)
    record(f"{ARCHIVE}.json", ARCHIVE)
    for path in (
        "simulate/two_phases/sigma=4.0/block=0",
        "train/few/single/block=0",
        "figures/figure2",
        "downloads/cifar-10-python",
    ):
        log = Path(f"results/logs/{path}.log")
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch()
    # what is no artifact: a log, a checkpoint, a file that is being written, MLflow's
    for path in ("logs/a.log", "checkpoints/a.safetensors", "mlflow/a.png"):
        other = Path("results", path)
        other.parent.mkdir(parents=True, exist_ok=True)
        other.touch()
    Path("results/simulate/two_phases/.x.nc.1.part.nc").touch()
    return Path("results")


def problems(results: Path) -> list[str]:
    return [problem for made in verify(results).damaged for problem in made.problems]


def files(results: Path) -> set[str]:
    return {str(path) for path in results.rglob("*") if path.is_file()}


def rubbish(path: Path) -> None:
    """Other content of the same size and time stamp."""
    before = path.stat()
    path.write_bytes(os.urandom(before.st_size))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def one_bit(path: Path) -> None:
    """The last bit of the middle byte of a netCDF file's data."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def shorter(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def other_values(path: Path) -> None:
    with netCDF4.Dataset(path, "a") as file:
        file["x"][0] = 99.0


def older(path: Path) -> None:
    """An artifact of an older version with the right record."""
    with netCDF4.Dataset(path, "a") as file:
        file.schema_version = SCHEMA_VERSION - 1
    record(str(path.with_suffix(".json")), str(path))


def test_nothing_is_wrong(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "10 files checked, 0 problems\n"


@pytest.mark.parametrize("remove", [False, True])
@pytest.mark.parametrize(
    ("path", "damage", "words"),
    [
        (f"{BLOCK}.nc", rubbish, ["found sha256", "not a readable netCDF-4 file", "expected"]),
        (f"{BLOCK}.nc", shorter, ["found sha256", "not a readable netCDF-4 file", "expected"]),
        (f"{BLOCK}.nc", empty, ["found sha256 e3b0c442", "not a readable", "expected"]),
        (f"{BLOCK}.nc", one_bit, ["found sha256", "expected"]),
        (f"{BLOCK}.nc", other_values, ["found sha256", "expected"]),
        (f"{BLOCK}.nc", older, [f"schema version {SCHEMA_VERSION - 1}"]),
        (f"{BLOCK}.nc", Path.unlink, ["found no file", "expected sha256"]),
        (f"{BLOCK}.json", Path.unlink, ["block=0.nc: found no record", "block=0.json"]),
        (f"{BLOCK}.json", shorter, ["found no readable record"]),
        (f"{BLOCK}.json", rubbish, ["found no readable record"]),
        (f"{BLOCK}.json", lambda path: path.write_text("[]"), ["found no readable record"]),
        (f"{WEIGHTS}.safetensors", rubbish, ["found sha256", "expected"]),
        (f"{WEIGHTS}.nc", shorter, ["found sha256", "expected"]),
        (f"{FIGURE}.png", rubbish, ["found sha256", "expected"]),
        (f"{FIGURE}.md", Path.unlink, ["found no file", "expected sha256"]),
        (ARCHIVE, shorter, ["found sha256", "expected"]),
    ],
)
def test_damage_is_named_and_removed(
    results: Path,
    capsys: pytest.CaptureFixture[str],
    path: str,
    damage: Callable[[Path], None],
    words: list[str],
    remove: bool,
) -> None:
    before = files(results)
    damage(Path(path))
    left = files(results)
    assert main(["verify", *["--remove"] * remove]) == (0 if remove else 1)
    out = capsys.readouterr().out.splitlines()
    for word in ["results/", "`labelnoise verify --remove`", *words]:
        assert word in out[0]
    stem = path.removesuffix(".json") if path == ARCHIVE else path.rpartition(".")[0]
    its = {name for name in before if name.startswith(f"{stem}.") or name.startswith(path)}
    assert len(out) == 1 + 2 * remove
    if remove:
        assert out[1] == "removed; with the options you use, run:"
        command, target = out[2].split()
        assert (command, target in its) == ("snakemake", True)
        # all that the job makes, and nothing else
        assert files(results) == before - its
        assert problems(results) == []
    else:
        assert files(results) == left


def test_a_persons_own_file_is_named_and_kept(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = [Path("results/figures/mine.png"), Path(f"{BLOCK}.csv"), Path("results/downloads/my.gz")]
    for path in mine:
        path.touch()
    assert main(["verify", "--remove"]) == 0
    out = capsys.readouterr().out
    for path in mine:
        assert path.is_file()
        assert f"{path}: found" in out
        assert "move it away if it is yours" in out
    assert "removed" not in out


def test_a_persons_own_file_survives_beside_damage(results: Path) -> None:
    mine = Path(f"{BLOCK}.csv")
    mine.touch()
    rubbish(Path(f"{BLOCK}.nc"))
    assert main(["verify", "--remove"]) == 0
    assert mine.is_file()
    assert not Path(f"{BLOCK}.nc").exists()


COPY = f"{BLOCK} (copy)"


@pytest.mark.parametrize(
    "copies",
    [
        {f"{BLOCK}.json": f"{COPY}.json"},
        {f"{BLOCK}.nc": f"{COPY}.nc"},
        {f"{BLOCK}.json": f"{COPY}.json", f"{BLOCK}.nc": f"{COPY}.nc"},
        {f"{BLOCK}.nc": "results/simulate/old/block=0.nc"},
        {f"{BLOCK}.json": "results/simulate/old/block=0.json"},
        {f"{FIGURE}.json": "results/analyze/figure2.json"},
        {f"{BLOCK}.nc": f"{BLOCK}.json.nc"},
        {f"{FIGURE}.md": f"{BLOCK[:-1]}7.json"},
        {
            f"{FIGURE}.md": "results/simulate/notes.json",
            f"{FIGURE}.csv": "results/simulate/notes.nc",
        },
    ],
)
def test_copies_beside_results_remove_nothing(
    results: Path, capsys: pytest.CaptureFixture[str], copies: dict[str, str]
) -> None:
    for source, copy in copies.items():
        Path(copy).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, copy)
    before = files(results)
    assert main(["verify", "--remove"]) == 0
    out, err = capsys.readouterr()
    assert files(results) == before
    assert {line.partition(": found")[0] for line in out.splitlines()} == set(copies.values())
    assert err == f"10 files checked, 0 problems, {len(copies)} other files\n"


def test_a_copy_survives_the_removal_of_the_damaged(results: Path) -> None:
    shutil.copy(f"{BLOCK}.json", f"{COPY}.json")
    shutil.copy(f"{BLOCK}.nc", f"{COPY}.nc")
    before = files(results)
    rubbish(Path(f"{BLOCK}.nc"))
    assert main(["verify", "--remove"]) == 0
    assert before - files(results) == {f"{BLOCK}.nc", f"{BLOCK}.json"}


def test_files_of_editors_and_desktops_are_passed_over(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(BLOCK).parent
    for name in ("._block=0.json", ".DS_Store", ".ipynb_checkpoints/x-checkpoint.json", "a.zip"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"\0\5\x16\7")
    before = files(results)
    assert main(["verify", "--remove"]) == 0
    assert capsys.readouterr() == ("", "10 files checked, 0 problems\n")
    assert files(results) == before


def test_a_folder_that_is_a_link_is_followed(results: Path, tmp_path: Path) -> None:
    (results / "simulate").rename(tmp_path / "disk")
    (results / "simulate").symlink_to(tmp_path / "disk")
    cell = tmp_path / "disk/two_phases/sigma=4.0"
    cell.rename(tmp_path / "other")
    cell.symlink_to(tmp_path / "other")
    # circles, and a second name of a folder
    for name, target in (("here", "."), ("up", ".."), ("alias", "two_phases")):
        (tmp_path / "disk" / name).symlink_to(target)
    report = verify(results)
    assert (report.checked, report.damaged, report.strays) == (10, [], [])
    rubbish(Path(f"{BLOCK}.nc"))
    assert [line.partition(":")[0] for line in problems(results)] == [f"{BLOCK}.nc"]


SHIM = """
#define _GNU_SOURCE
#include <errno.h>
#include <sys/file.h>
int flock(int file, int how) { errno = ENOLCK; return -1; }
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is needed to refuse locks")
@pytest.mark.parametrize("locking", [None, "TRUE"])
def test_a_file_system_without_locks(tmp_path: Path, results: Path, locking: str | None) -> None:
    (tmp_path / "shim.c").write_text(SHIM)
    shim = tmp_path / "shim.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", shim, tmp_path / "shim.c"], check=True)
    environment = {k: v for k, v in os.environ.items() if k != "HDF5_USE_FILE_LOCKING"}
    environment |= {"LD_PRELOAD": str(shim)}
    if locking:
        environment["HDF5_USE_FILE_LOCKING"] = locking
    before = files(results)
    done = subprocess.run(
        [sys.executable, "-m", "labelnoise", "verify", "--remove"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert files(results) == before
    assert done.stderr == "10 files checked, 0 problems\n"
    lines = done.stdout.splitlines()
    if locking:  # the user's own choice stands; it is named, with the cure
        assert done.returncode == 1 and len(lines) == 4
        assert "refuses locks (No locks available)" in lines[0]
        assert "HDF5_USE_FILE_LOCKING=FALSE" in lines[0]
    else:
        assert (done.returncode, lines) == (0, [])


def test_all_is_said_at_once(results: Path) -> None:
    rubbish(Path(f"{BLOCK}.nc"))
    shorter(Path(f"{FIGURE}.csv"))
    Path(f"{WEIGHTS}.json").unlink()
    assert [line.partition(":")[0] for line in problems(results)] == [
        f"{BLOCK}.nc",
        f"{WEIGHTS}.nc",
        f"{WEIGHTS}.safetensors",
        f"{FIGURE}.csv",
    ]


def test_no_results_are_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir("results/mlflow")
    assert main(["verify"]) == 1
    assert capsys.readouterr().err == "there is no folder results here: nothing to verify\n"


@pytest.mark.parametrize("path", [f"{BLOCK}.nc", f"{WEIGHTS}.safetensors", ARCHIVE])
def test_a_job_refuses_a_damaged_input(path: str) -> None:
    good = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert input_digest(Path(path)) == good
    rubbish(Path(path))
    bad = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    with pytest.raises(ArtifactError) as error:
        input_digest(Path(path))
    for word in (path, good, bad, "make verify"):
        assert word in str(error.value)


@pytest.mark.parametrize("text", ["[]", "{", '{"artifacts": {}}', '{"artifacts": []}', None])
def test_an_input_without_a_record_is_taken(tmp_path: Path, text: str | None) -> None:
    """A person's own archive; a file by the record's name need not be a record."""
    path = tmp_path / "mine.tar.gz"
    path.write_bytes(b"mine")
    if text is not None:
        path.with_name("mine.tar.gz.json").write_text(text)
    assert input_digest(path) == hashlib.sha256(b"mine").hexdigest()
    assert json.dumps(input_digest(path))

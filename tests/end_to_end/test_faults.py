"""A full disk, a read-only folder, damaged files: named, and healed by the next call."""

import hashlib
import json
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import netCDF4
import pytest

from labelnoise.artifacts.store import SCHEMA_VERSION, write_json

from .conftest import Checkout, new_checkout

pytestmark = pytest.mark.xdist_group("faults")

SMALL = """
experiments:
  two_phases:
    settings: {width: 200, eta: 0.01, steps: 2000, snapshots: 101, trace_steps: 20}
    grid: {sigma: [0.0, 4.0]}
    seeds: 1
tracking: {enabled: false}
"""
BLOCKS = "results/simulate/two_phases"
ZERO, FOUR = (f"{BLOCKS}/sigma={sigma}/block=0.nc" for sigma in ("0.0", "4.0"))
LIMIT = 80_000
"""Bytes; Snakemake's own files are smaller."""
SMOKE = ["--configfile", "config/smoke.yaml"]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkout, dict[str, str]]:
    """A small workflow in which everything is made, and the digests of it."""
    checkout = new_checkout(tmp_path_factory.mktemp("faults") / "small")
    (checkout.folder / "config/smoke.yaml").write_text(SMALL)
    checkout.snakemake("figure2")
    return checkout, checkout.digests()


@pytest.fixture
def small(first: tuple[Checkout, dict[str, str]]) -> Iterator[Checkout]:
    """It, as it must be again after each test."""
    checkout, undisturbed = first
    yield checkout
    assert checkout.digests() == undisturbed
    assert not list((checkout.folder / "results").rglob("*.part.*"))


def snakemake(
    checkout: Checkout, *before: str, limit: Callable[[], None] | None = None
) -> tuple[int, str]:
    """Run Snakemake, with a command or a limit in front of it."""
    command = [sys.executable, "-m", "snakemake", ZERO, FOUR, *SMOKE]
    done = subprocess.run(
        [*before, *command],
        cwd=checkout.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        preexec_fn=limit,
    )
    return done.returncode, done.stdout


def verify(checkout: Checkout, *arguments: str) -> tuple[int, list[str]]:
    """Run `labelnoise verify` in the checkout; its status and lines."""
    done = subprocess.run(
        [sys.executable, "-m", "labelnoise", "verify", *arguments],
        cwd=checkout.folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.returncode, done.stdout.splitlines()


def in_own_mounts(*commands: str) -> list[str]:
    """A shell with mounts of its own: it runs these commands, then what is put behind it."""
    shell = ["unshare", "--map-root-user", "--mount", "sh", "-ec"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*shell, "mount -t tmpfs none /mnt"], capture_output=True).returncode
    ):
        pytest.skip("this system lets nobody mount a file system of his own")
    return [*shell, "\n".join([*commands, 'exec "$@"']), "sh"]


def test_no_file_may_grow(small: Checkout) -> None:
    """As with a quota: no more than so much of a file can be written."""
    assert min((small.folder / path).stat().st_size for path in (ZERO, FOUR)) > LIMIT
    shutil.rmtree(small.folder / BLOCKS)

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT))

    status, output = snakemake(small, limit=limit)
    assert status != 0
    assert f"{ZERO}: could not be written" in output or f"{FOUR}: could not be written" in output
    assert not list((small.folder / "results/simulate").rglob("*.nc"))
    small.snakemake(ZERO, FOUR)


def test_a_full_disk(small: Checkout) -> None:
    folder = small.folder / BLOCKS
    shutil.rmtree(folder)
    folder.mkdir()
    shell = in_own_mounts(f"mount -t tmpfs -o size=8k none {BLOCKS}")
    status, output = snakemake(small, *shell)
    assert status != 0
    assert f"{ZERO}: could not be written" in output or f"{FOUR}: could not be written" in output
    assert "0.0 MB are free there" in output
    small.snakemake(ZERO, FOUR)


def test_results_that_cannot_be_written(small: Checkout) -> None:
    shutil.rmtree(small.folder / BLOCKS)
    shell = in_own_mounts("mount --bind results results", "mount -o remount,bind,ro results")
    status, output = snakemake(small, *shell)
    assert status != 0
    assert "Read-only file system" in output
    assert "results/" in output
    small.snakemake(ZERO, FOUR)


def older(path: Path) -> None:
    """As an older version would have written it, its record included."""
    with netCDF4.Dataset(path, "a") as file:
        file.schema_version = SCHEMA_VERSION - 1
    record = path.with_suffix(".json")
    content = json.loads(record.read_text())
    (name,) = content["artifacts"]
    content["artifacts"][name] = hashlib.sha256(path.read_bytes()).hexdigest()
    write_json(content, record)


def test_damaged_files_are_named_and_healed(small: Checkout) -> None:
    figure = small.folder / "results/figures/figure2.png"
    zero, four = small.folder / ZERO, small.folder / FOUR
    zero.write_bytes(os.urandom(1000))
    older(four)
    figure.write_bytes(figure.read_bytes()[:1000])
    before = {path: path.stat().st_mtime_ns for path in (small.folder / "results").rglob("*.nc")}

    # whoever reads one of them says so
    output = small.snakemake("figure2", "--keep-going", fails=True)
    assert f"{ZERO} is damaged: found sha256" in output
    assert f"{FOUR}: schema version {SCHEMA_VERSION - 1}" in output
    assert "`make verify`" in output

    status, lines = verify(small)
    assert status == 1
    named = [line.partition(":")[0] for line in lines]
    assert {ZERO, FOUR, "results/figures/figure2.png"} <= set(named)
    status, lines = verify(small, "--remove")
    assert status == 0
    command = shlex.split(lines[-1])
    assert command[0] == "snakemake"
    assert {ZERO, FOUR} <= set(command)
    small.snakemake(*command[1:], "figure2")
    assert verify(small) == (0, [])
    after = {path: path.stat().st_mtime_ns for path in before}
    assert all(after[path] != before[path] for path in (zero, four))

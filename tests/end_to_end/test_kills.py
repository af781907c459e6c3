"""`kill -9` at random moments: the next call completes by itself, to the same bytes.

LABELNOISE_KILLS says how many kills (6), LABELNOISE_KILL_SEED where the random moments start (0).
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from labelnoise.artifacts.provenance import file_digest

from .conftest import Checkout, new_checkout

pytestmark = pytest.mark.xdist_group("kills")

KILLS = int(os.environ.get("LABELNOISE_KILLS", "6"))
SEED = int(os.environ.get("LABELNOISE_KILL_SEED", "0"))

SMALL = """
experiments:
  two_phases:
    settings: {width: 20, eta: 0.01, steps: 20000, snapshots: 11, trace_steps: 20}
    grid: {sigma: [0.0, 4.0]}
    seeds: 1
  few_images_mlp:
    settings: {train_images: 20, test_images: 20, width: 8, steps: 40, snapshots: 3}
    grid: {tau: [0.5]}
    seeds: 1
figures:
  figure3: {experiments: [few_images_resnet]}  # it compares with tau: 0
  table1: null  # it does, too
"""
TRAINED = "results/train/few_images_mlp/tau=0.5/block=0.nc"
MADE = ("images", "simulate", "train", "analyze", "figures")


@dataclass(frozen=True)
class Small:
    """A workflow of seven quick jobs, and what an undisturbed run of it gave."""

    checkout: Checkout
    undisturbed: dict[str, str]
    seconds: float

    def wipe(self) -> None:
        """As if nothing had been made, but for what MLflow has."""
        for folder in MADE:
            shutil.rmtree(self.checkout.folder / "results" / folder, ignore_errors=True)
        shutil.rmtree(self.checkout.folder / ".snakemake", ignore_errors=True)

    def start(self) -> subprocess.Popen[str]:
        return start(self.checkout)


def start(checkout: Checkout) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "snakemake", "figure2", TRAINED, "--cores", "2"]
    return subprocess.Popen(
        [*command, "--configfile", "config/small.yaml"],
        cwd=checkout.folder,
        env={k: v for k, v in os.environ.items() if not k.startswith("MLFLOW")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(call: subprocess.Popen[str]) -> str:
    """Wait for a call that must end well; what it said."""
    output, _ = call.communicate(timeout=600)
    assert call.returncode == 0, output
    return output


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    checkout = new_checkout(tmp_path_factory.mktemp("kills") / "small")
    (checkout.folder / "config/small.yaml").write_text(SMALL)
    started = time.monotonic()
    finish(start(checkout))
    undisturbed = checkout.digests()
    assert len(undisturbed) == 2 + 2 + 4 + 1 + 2
    return Small(checkout, undisturbed, time.monotonic() - started)


def jobs_in(folder: Path) -> list[psutil.Process]:
    """The jobs that run in a folder, whoever started them."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.cwd() == str(folder) and ".snakemake/scripts" in " ".join(process.cmdline()):
                found.append(process)
    return found


@contextmanager
def no_process_left(folder: Path) -> Iterator[None]:
    try:
        yield
    finally:
        for process in jobs_in(folder):
            process.kill()


def kill(victim: str, call: subprocess.Popen[str], folder: Path, chance: random.Random) -> bool:
    """Kill Snakemake, a job of it, or both; False where the call ended before."""
    while call.poll() is None:
        jobs = jobs_in(folder)
        if jobs or victim == "snakemake":
            if victim != "job":
                call.send_signal(signal.SIGKILL)
            if victim != "snakemake":
                with suppress(psutil.NoSuchProcess):
                    chance.choice(jobs).kill()
            call.communicate(timeout=600)
            return True
        time.sleep(0.02)
    call.communicate()
    return False


def assert_mlflow_has_each_once(folder: Path) -> None:
    results = folder / "results"
    client = MlflowClient(f"sqlite:///{results}/mlflow/mlflow.db")
    experiments = [e.experiment_id for e in client.search_experiments()]
    runs = client.search_runs(experiments, "tags.kind = 'file'", max_results=1000)
    logged = sorted(
        (run.data.tags["labelnoise.artifact"], run.data.tags["labelnoise.record"]) for run in runs
    )
    records = [path for made in MADE for path in (results / made).rglob("*.json")]
    assert logged == sorted(
        (json.loads(path.read_bytes())["artifact"], file_digest(path)) for path in records
    )


def test_the_next_call_completes_after_each_kill(small: Small) -> None:
    """Every call may be killed; a quarter of those after a kill are let through, and looked at."""
    chance = random.Random(SEED)
    folder = small.checkout.folder
    counts: Counter[str] = Counter()
    # the first run compiled
    longest = small.seconds / 2
    small.wipe()
    with no_process_left(folder):
        while counts["killed"] < KILLS:
            victim = chance.choice(["snakemake", "job", "both"])
            moment = chance.uniform(0.2, longest)
            call = small.start()
            time.sleep(moment)
            if not kill(victim, call, folder, chance):
                longest = moment  # nothing is left to be killed so late
            else:
                counts.update(["killed", victim])
                print(f"{victim} killed after {moment:.1f} s", flush=True)
                if chance.random() < 3 / 4 and counts["killed"] < KILLS:
                    continue
                output = finish(small.start())
                assert "LockException" not in output
            counts["completed"] += 1
            print(f"completed: {dict(counts)}", flush=True)
            assert small.checkout.digests() == small.undisturbed
            assert_mlflow_has_each_once(folder)
            assert not [
                p for p in (folder / "results").rglob("*.part.*") if "mlflow" not in p.parts
            ]
            small.wipe()


def test_a_job_ends_with_its_snakemake(small: Small) -> None:
    """What a killed call left cannot write over what the next one makes."""
    folder = small.checkout.folder
    small.wipe()
    with no_process_left(folder):
        call = small.start()
        while call.poll() is None and not (jobs := jobs_in(folder)):
            time.sleep(0.02)
        assert jobs
        time.sleep(1)  # until it has come to its frame
        call.kill()
        call.communicate()
        _, alive = psutil.wait_procs(jobs, timeout=30)
        assert not alive
        finish(small.start())
    assert small.checkout.digests() == small.undisturbed


def test_a_second_person_is_told_and_harms_nothing(small: Small) -> None:
    small.wipe()
    folder = small.checkout.folder
    with no_process_left(folder):
        first = small.start()
        while not jobs_in(folder):
            assert first.poll() is None
            time.sleep(0.02)
        second = small.start()
        output, _ = second.communicate(timeout=120)
        assert second.returncode != 0
        assert first.poll() is None or first.returncode == 0
        told = re.search(r"another snakemake \(process (\d+) on .+, started by .+ at .+\)", output)
        assert told and int(told[1]) == first.pid, output
        assert "Traceback" not in output
        assert "another snakemake" not in finish(first)
    assert small.checkout.digests() == small.undisturbed
    assert not list((folder / ".snakemake/locks").glob("*"))
    assert not list((folder / ".snakemake/calls").iterdir())
    assert_mlflow_has_each_once(folder)

"""Throw-away checkouts of the project in which Snakemake runs for real, on config/smoke.yaml."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from labelnoise.workflow.layout import FOLDERS

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Checkout:
    """A copy of the project: its own code, configuration and results."""

    folder: Path

    def snakemake(self, *arguments: str, fails: bool = False) -> str:
        """Run Snakemake on the smoke configuration; its output. It must succeed, or fail."""
        # last, since these options take all that follows
        smoke = ["--configfile", "config/smoke.yaml"]
        command = [sys.executable, "-m", "snakemake", *arguments, *smoke]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW")}
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )
        assert bool(done.returncode) == fails, done.stdout
        return done.stdout

    def planned(self, *arguments: str) -> set[str]:
        """The jobs that a call would run, without the figure targets themselves."""
        output = self.snakemake("--dry-run", *arguments)
        return set(re.findall(r"^Job \d+: (.*)$", output, re.MULTILINE))

    def digests(self) -> dict[str, str]:
        """The digest of every artifact; a record says also when it was made, and is left out."""
        results = self.folder / "results"
        return {
            str(path.relative_to(results)): hashlib.sha256(path.read_bytes()).hexdigest()
            for folder in FOLDERS.values()
            for path in sorted((results / folder).rglob("*"))
            if path.is_file() and path.suffix != ".json"
        }

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace text in a file of the checkout."""
        file = self.folder / path
        text = file.read_text(encoding="utf-8")
        assert old in text, f"{old!r} is not in {path}"
        file.write_text(text.replace(old, new), encoding="utf-8")

    def restore(self) -> None:
        """Bring code and configuration back to the project's; results stay."""
        for part in ("src", "config", "workflow", "profiles", "Snakefile", "environment.yml"):
            source, target = ROOT / part, self.folder / part
            if source.is_dir():
                shutil.rmtree(target, ignore_errors=True)
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)


def new_checkout(folder: Path) -> Checkout:
    folder.mkdir()
    checkout = Checkout(folder)
    checkout.restore()
    return checkout


@pytest.fixture(scope="session")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkout, str]:
    """A checkout in which everything was made once, and what Snakemake said."""
    checkout = new_checkout(tmp_path_factory.mktemp("workflow") / "made")
    return checkout, checkout.snakemake()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout of the smallest configuration with both verbs, made; tests leave it as it is."""
    from .tiny import tiny_checkout

    checkout = tiny_checkout(tmp_path_factory.mktemp("tiny") / "made")
    checkout.snakemake("--cores", "2")
    return checkout


@pytest.fixture
def made(first_run: tuple[Checkout, str]) -> Checkout:
    """The checkout in which everything is made; a test's edits are taken back before the next."""
    checkout, _ = first_run
    checkout.restore()
    return checkout

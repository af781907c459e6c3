"""A figure bundled, redone from the bundle alone, and what is told where that is not the same."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from .conftest import Checkout

pytestmark = pytest.mark.xdist_group("tiny")


def labelnoise(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line, with the code of a checkout where the folder is one."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW")}
    if (folder / "src").is_dir():
        environment["PYTHONPATH"] = str(folder / "src")
    command = [sys.executable, "-m", "labelnoise", *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=600,
    )


@pytest.fixture
def bundled(tiny: Checkout) -> Path:
    done = labelnoise(tiny.folder, "bundle", "figure2")
    assert done.returncode == 0, done.stderr
    return tiny.folder / "results/bundles/figure2.zip"


def repack(archive: Path, to: Path, changes: dict[str, bytes]) -> None:
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(to, "w") as new:
        for name in old.namelist():
            new.writestr(name, changes.get(name, old.read(name)))


def german(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decimal commas and an encoding without σ, where such a locale can be made."""
    made = shutil.which("localedef") and subprocess.run(
        ["localedef", "-i", "de_DE", "-f", "ISO-8859-1", folder / "de_DE.ISO-8859-1"]
    )
    if made and not made.returncode:
        monkeypatch.setenv("LOCPATH", str(folder))
        monkeypatch.setenv("LC_ALL", "de_DE.ISO-8859-1")


@pytest.mark.parametrize(("figure", "files"), [("figure2", 8), ("figure3", 13)])
def test_a_figure_redone_from_its_bundle_has_the_same_bytes(
    tiny: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figure: str, files: int
) -> None:
    done = labelnoise(tiny.folder, "bundle", figure)
    assert done.returncode == 0, done.stderr
    path = tiny.folder / f"results/bundles/{figure}.zip"
    first = path.read_bytes()
    labelnoise(tiny.folder, "bundle", figure)
    assert path.read_bytes() == first
    assert str(tiny.folder).encode() not in first
    german(tmp_path, monkeypatch)
    empty = tmp_path / "empty"
    empty.mkdir()
    done = labelnoise(empty, "check-bundle", str(path), "--cores", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{figure}: {files} of {files} files have the same bytes" in done.stdout
    assert list(empty.iterdir()) == []


def test_other_numbers_and_versions_are_told(bundled: Path, tmp_path: Path) -> None:
    """A bundle whose setting, figure and versions are others, its own digests being right."""
    from labelnoise.artifacts.provenance import file_digest

    config_name, csv_name = "code/config/config.yaml", "figure/figure2.csv"
    with zipfile.ZipFile(bundled) as archive:
        config = json.loads(archive.read(config_name))
        manifest = json.loads(archive.read("bundle.json"))
    config["experiments"]["lines"]["settings"]["eta"] = 0.0100001
    manifest["packages"]["numpy"] = "1.0"
    changed = json.dumps(config).encode()
    (tmp_path / "config").write_bytes(changed)
    manifest["files"][config_name] = file_digest(tmp_path / "config")
    forged = tmp_path / "forged.zip"
    repack(bundled, forged, {config_name: changed, "bundle.json": json.dumps(manifest).encode()})
    done = labelnoise(tmp_path, "check-bundle", str(forged), "--cores", "2")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "other version: numpy: 1.0 in the bundle" in done.stdout
    assert "results/simulate/lines/sigma=4.0/block=0.nc  other bytes" in done.stdout
    assert "results/figures/figure2.csv" in done.stdout
    assert "differs by at most" in done.stdout
    assert csv_name not in done.stdout


def test_a_changed_bundle_runs_nothing(bundled: Path, tmp_path: Path) -> None:
    evil = b"open('ran', 'w')\n"
    repack(bundled, tmp_path / "evil.zip", {"code/Snakefile": evil})
    done = labelnoise(tmp_path, "check-bundle", "evil.zip")
    assert done.returncode == 2
    assert "code/Snakefile has SHA-256" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["evil.zip"]


def test_a_figure_that_this_code_did_not_make_is_not_bundled(tiny: Checkout) -> None:
    path = "src/labelnoise/plot/parts/style.py"
    text = (tiny.folder / path).read_text(encoding="utf-8")
    try:
        tiny.edit(path, '"axes.labelsize": 8', '"axes.labelsize": 9')
        done = labelnoise(tiny.folder, "bundle", "figure2")
    finally:
        (tiny.folder / path).write_text(text, encoding="utf-8")
    assert done.returncode == 2
    assert "figure2 is not up to date with this code: to run are plot figure2" in done.stderr
    assert "First run: snakemake figure2" in done.stderr
    done = labelnoise(tiny.folder, "bundle", "figure9")
    assert done.returncode == 2
    assert "made are figure2, figure3" in done.stderr

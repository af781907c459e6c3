"""Bundles: the configuration rebuilt from records, archives that were changed, tables compared."""

import itertools
import json
import math
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from labelnoise.artifacts import redo
from labelnoise.artifacts.bundle import (
    BundleError,
    _check_current,
    _copy_networks,
    as_json,
    configuration,
    lineage,
)
from labelnoise.artifacts.provenance import file_digest
from labelnoise.artifacts.redo import compare_tables, other_versions, unpack
from labelnoise.artifacts.store import record_of
from labelnoise.config.load import Config, load
from labelnoise.workflow import layout
from labelnoise.workflow.recipes import Recipes

SMALL = {"steps": 10, "snapshots": 3}
EXPERIMENTS: dict[str, dict[str, Any]] = {
    "plain": {"verb": "simulate", "settings": SMALL, "seeds": 5, "seeds_per_job": 2},
    "grid": {
        "verb": "simulate",
        "settings": SMALL | {"schedule": {"intervals": [[0, 3], [5, 6]]}},
        # neither the keys nor the values are in the order of the alphabet
        "grid": {"sigma": [4.0, 0.0], "eta_unit": ["1/m", "1"], "eta": [1e-5]},
        "seeds": [7, 3, 5],
        "seeds_per_job": 1,
    },
}
ROWS: dict[str, dict[str, Any]] = {
    "rows": {
        "verb": "simulate",
        "settings": SMALL,
        "grid": {"eta": [0.1, 0.01], "sigma": [2.0, 1.0]},
        "together": "sigma",
        "seeds": 12,
        "seeds_per_job": 1,
    },
}
TRAININGS = {
    "mlps": {
        "verb": "train",
        "settings": SMALL | {"train_images": None, "width": 8},
        "grid": {"tau": [0.0, 0.5]},
        "seeds": 3,
    }
}


SCRIPTS = Path(__file__).parents[2] / "workflow/scripts"


def records_of(config: Config, figure: str) -> list[dict[str, Any]]:
    """What the jobs of a figure leave."""
    recipes, stem = Recipes(config, SCRIPTS), layout.figure(figure)
    records: list[dict[str, Any]] = [
        {"verb": "plot", "artifact": f"{stem}.pdf", "recipe": recipes.figure(figure)}
    ]
    for cell in config.figures[figure].cells:
        for number, path in enumerate(recipes.files(cell.verb, cell)):
            made = recipes.job(cell.verb, cell, number)
            records.append({"verb": cell.verb, "artifact": path, "recipe": made})
        (path,) = recipes.files("analyze", cell)
        made = recipes.job("analyze", cell)
        records.append({"verb": "analyze", "artifact": path, "recipe": made})
    for record in records:
        record["origin"] = {"device": "cpu"}
        record["recipe"] = json.loads(record["recipe"])
    return records


@pytest.mark.parametrize(
    ("experiments", "module"),
    [(EXPERIMENTS, "figure2"), (ROWS, "phase_diagram"), (TRAININGS, "figure3")],
)
def test_the_configuration_comes_back_from_the_records(
    experiments: dict[str, Any], module: str
) -> None:
    figure = {"drawn_by": module, "experiments": list(experiments)[::-1]}
    raw = {
        "experiments": experiments,
        "figures": {"mine": figure, "other": figure},
        "analysis": {"lazy_threshold": 0.2},
        "images": {"cifar10": "/home/me/secret.tar.gz"},
        "tracking": {"uri": "postgresql://me:secret@host/db"},
    }
    meant = load(raw)
    found = configuration("mine", records_of(meant, "mine"))
    assert "secret" not in json.dumps(found)
    again = load(json.loads(as_json(found)))
    assert again.figures == {"mine": meant.figures["mine"]}
    assert [cell.path for cell in again.figures["mine"].cells] == [
        cell.path for cell in meant.figures["mine"].cells
    ]
    if module != "figure3":
        assert again.analysis.lazy_threshold == 0.2
    assert again.device == "cpu" and not again.tracking.enabled


def test_what_was_made_on_a_gpu_is_redone_on_one_where_there_is_one() -> None:
    raw = {"experiments": TRAININGS, "figures": {"figure3": {"experiments": ["mlps"]}}}
    records = records_of(load(raw), "figure3")
    records[2]["origin"]["device"] = "cuda"
    assert configuration("figure3", records)["device"] == "auto"


def made(folder: Path) -> None:
    """A figure whose two files have records."""
    figures = folder / "results/figures"
    figures.mkdir(parents=True)
    (folder / "results/a.nc").write_text("data")
    digest = file_digest(folder / "results/a.nc")
    (folder / "results/a.json").write_text(
        json.dumps({"artifacts": {"results/a.nc": digest}, "inputs": {"/mine/x.tar.gz": "1"}})
    )
    (figures / "mine.csv").write_text("x\n1\n")
    digest = file_digest(figures / "mine.csv")
    inputs = {"results/a.nc": "2", "results/b.nc": "3"}
    (figures / "mine.json").write_text(
        json.dumps({"artifacts": {"results/figures/mine.csv": digest}, "inputs": inputs})
    )


def test_the_lineage_is_all_records_back_to_what_nobody_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made(tmp_path)
    found = lineage("mine")
    assert [list(record["artifacts"]) for record in found] == [
        ["results/figures/mine.csv"],
        ["results/a.nc"],
    ]
    assert record_of("/mine/x.tar.gz") is None
    assert record_of("results/a.json") is None  # a record is none of its own


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda: Path("results/figures/mine.csv").unlink(), ["snakemake mine", "no figures"]),
        (lambda: Path("results/figures/mine.json").unlink(), ["snakemake mine", "are mine"]),
        (lambda: Path("results/a.nc").write_text("dat4"), ["results/a.nc", "delete it"]),
        (lambda: Path("results/a.nc").unlink(), ["results/a.nc", "delete it"]),
        (lambda: Path("results/a.json").write_text("{}"), ["results/a.json", "artifacts"]),
        (lambda: Path("results/a.json").write_text("["), ["results/a.json", "not a readable"]),
    ],
)
def test_a_figure_that_is_not_whole_is_not_bundled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: Any, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    made(tmp_path)
    harm()
    with pytest.raises(BundleError) as caught:
        lineage("mine")
    for word in words:
        assert word in str(caught.value)


def test_a_given_archive_is_found_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bundle's configuration has no path of it; to see what is current, Snakemake needs it."""
    monkeypatch.chdir(tmp_path)
    calls = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        return subprocess.CompletedProcess(command, 0, "Nothing to be done", "")

    monkeypatch.setattr(subprocess, "run", run)
    (tmp_path / "results/downloads").mkdir(parents=True)
    (tmp_path / "results/downloads/x.tar.gz.json").write_text("{}")
    for archive in ("/mine/x y.tar.gz", "results/downloads/x.tar.gz"):
        _check_current(Path("code"), "mine", [{"verb": "images", "inputs": {archive: "1"}}])
    given, downloaded = calls
    assert given[-2:] == ["--config", 'images={"cifar10": "/mine/x y.tar.gz"}']
    assert "--config" not in downloaded


def test_networks_of_the_users_are_in_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "path/mine/deep"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("raise SystemExit('imported')")
    (folder / "nets.py").write_text("Net = 1")  # in a folder that is a package without __init__
    (tmp_path / "path/alone.py").write_text("Net = 2")
    monkeypatch.syspath_prepend(tmp_path / "path")
    _copy_networks(["mine.deep.nets:Net", "alone:Net", "mine:Net"], tmp_path / "code")
    source = tmp_path / "code/src"
    found = {path.relative_to(source).as_posix() for path in source.rglob("*.py")}
    assert found == {"mine/__init__.py", "mine/deep/nets.py", "alone.py"}
    assert (source / "mine/deep/nets.py").read_text() == "Net = 1"


FILES = {"code/Snakefile": b"rule all: pass\n", "figure/mine.csv": b"x\n1\n"}


def pack(path: Path, files: dict[Any, bytes], **other: Any) -> Path:
    """An archive that says of itself that it is a bundle of these files."""
    source = path.with_suffix(".tmp")
    digests = {}
    for name, content in FILES.items():
        source.write_bytes(content)
        digests[name] = file_digest(source)
    manifest = {"format": 1, "figure": "mine", "packages": {}, "artifacts": {}, "origin": {}}
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in files.items():
            archive.writestr(member, content)
        archive.writestr("bundle.json", json.dumps(manifest | {"files": digests} | other))
    return path


def test_a_whole_bundle_is_unpacked(tmp_path: Path) -> None:
    manifest = unpack(pack(tmp_path / "b.zip", FILES), tmp_path / "to")
    assert manifest["figure"] == "mine"
    assert (tmp_path / "to/code/Snakefile").read_bytes() == FILES["code/Snakefile"]


LINK = zipfile.ZipInfo("code/link")
LINK.external_attr = 0o120777 << 16


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"code/Snakefile": b"rule all: fail\n"}, ["code/Snakefile", "was changed"]),
        ({"code/more.py": b"import os"}, ["code/more.py", "not in its manifest"]),
        ({"../out": b""}, ["'../out'", "nothing was unpacked"]),
        ({"code/../../out": b""}, ["code/../../out", "nothing was unpacked"]),
        ({"/tmp/out": b""}, ["'/tmp/out'", "nothing was unpacked"]),
        ({"..\\out": b""}, ["out", "nothing was unpacked"]),
        ({LINK: b"/etc/passwd"}, ["code/link", "nothing was unpacked"]),
        ({"code/folder/": b""}, ["code/folder/", "nothing was unpacked"]),
    ],
)
def test_a_changed_bundle_is_refused(
    tmp_path: Path, extra: dict[Any, bytes], words: list[str]
) -> None:
    archive = pack(tmp_path / "b.zip", FILES | extra)
    with pytest.raises(BundleError) as caught:
        unpack(archive, tmp_path / "deep/to")
    for word in words:
        assert word in str(caught.value)
    if "nothing was unpacked" in words:
        assert not (tmp_path / "deep").exists()
    assert {path.name for path in tmp_path.iterdir()} <= {"b.zip", "b.tmp", "deep"}


def test_a_file_that_is_missing_or_there_twice_is_refused(tmp_path: Path) -> None:
    fewer = {"code/Snakefile": FILES["code/Snakefile"]}
    with pytest.raises(BundleError, match=r"figure/mine\.csv is missing"):
        unpack(pack(tmp_path / "b.zip", fewer), tmp_path / "to")
    twice = tmp_path / "twice.zip"
    pack(twice, FILES)
    with pytest.warns(UserWarning), zipfile.ZipFile(twice, "a") as archive:
        archive.writestr("code/Snakefile", b"rule all: fail\n")
    with pytest.raises(BundleError, match="there twice"):
        unpack(twice, tmp_path / "to2")


def test_what_is_no_bundle_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BundleError, match="no such file"):
        unpack(tmp_path / "none.zip", tmp_path / "to")
    (tmp_path / "text.zip").write_text("hello")
    with pytest.raises(BundleError, match="not a whole bundle"):
        unpack(tmp_path / "text.zip", tmp_path / "to")
    whole = pack(tmp_path / "b.zip", FILES).read_bytes()
    (tmp_path / "half.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BundleError, match="not a whole bundle"):
        unpack(tmp_path / "half.zip", tmp_path / "to")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a", "b")
    with pytest.raises(BundleError, match="not a whole bundle"):
        unpack(tmp_path / "other.zip", tmp_path / "to")
    with pytest.raises(BundleError, match=r"format 2; this code reads 1"):
        unpack(pack(tmp_path / "new.zip", FILES, format=2), tmp_path / "to")
    monkeypatch.setattr(redo, "LARGEST", 10)
    with pytest.raises(BundleError, match="at most 10"):
        unpack(pack(tmp_path / "b.zip", FILES), tmp_path / "bomb")
    assert not (tmp_path / "bomb").exists()


def test_other_versions_are_named() -> None:
    import platform

    import numpy as np

    manifest = {"origin": {"python": platform.python_version()}}
    assert other_versions(manifest | {"packages": {"numpy": np.__version__}}) == []
    wanted = {"numpy": "0.1", "no-such-package": "1"}
    assert other_versions({"origin": {"python": "2.7"}, "packages": wanted}) == [
        f"python: 2.7 in the bundle, {platform.python_version()} here",
        f"numpy: 0.1 in the bundle, {np.__version__} here",
        "no-such-package: 1 in the bundle, not installed here",
    ]


@pytest.mark.parametrize(
    ("then", "now", "largest"),
    [
        ("1,a", "1,a", 0.0),
        ("1.0,a", "1,a", 0.0),
        ("nan,a", "NaN,a", 0.0),
        ("inf,a", "inf,a", 0.0),
        ("0,a", "-0.0,a", 0.0),
        ("4,a", "5,a", 0.2),
        ("5,a", "4,a", 0.2),
        ("-1,a", "1,a", 2.0),
        ("0,a", "1e-300,a", 1.0),
        ("1,a", "1,b", math.inf),
        ("1,a", ",a", math.inf),
        ("1,a", "nan,a", math.inf),
        ("inf,a", "-inf,a", math.inf),
        ("1,a", "1,a\n1,a", math.inf),
        ("1,a", "1", math.inf),
    ],
)
def test_the_difference_of_two_tables(tmp_path: Path, then: str, now: str, largest: float) -> None:
    header = "x,y\n2,b\n"
    for name, text in (("then", then), ("now", now)):
        (tmp_path / name).write_text(f"{header}{text}\n")
    found = compare_tables(tmp_path / "then", tmp_path / "now")
    assert found.largest == pytest.approx(largest)
    if 0 < largest < math.inf:
        assert found.where == f"line 3, x: {then.split(',')[0]}, now {now.split(',')[0]}"


def test_other_columns_are_no_small_difference(tmp_path: Path) -> None:
    for name, text in (("then", "x,y\n1,2\n"), ("now", "x,z\n1,2\n")):
        (tmp_path / name).write_text(text)
    assert compare_tables(tmp_path / "then", tmp_path / "now").largest == math.inf


def test_the_worst_of_many_is_reported(tmp_path: Path) -> None:
    rows = [[1.0, 2.0], [3.0, 4.0]]
    (tmp_path / "then").write_text("a,b\n" + "\n".join(f"{x},{y}" for x, y in rows))
    for line, column in itertools.product(range(2), range(2)):
        changed = [[v * 1.001 for v in row] for row in rows]
        changed[line][column] *= 2
        (tmp_path / "now").write_text("a,b\n" + "\n".join(f"{x},{y}" for x, y in changed))
        found = compare_tables(tmp_path / "then", tmp_path / "now")
        assert found.where.startswith(f"line {line + 2}, {'ab'[column]}:")


def test_a_figure_of_shared_runs_comes_back_with_the_experiment_that_makes_them() -> None:
    few = {"train_images": 10, "steps": 20, "snapshots": 3}
    raw = {
        "experiments": {
            "noisy": {"verb": "train", "settings": few, "grid": {"tau": [0.0, 0.5]}, "seeds": 3},
            "sam": {
                "verb": "train",
                "settings": {**few, "algorithm": "sam"},
                "grid": {"rho": [0.0, 0.1]},
                "seeds": 3,
            },
        },
        "figures": {"figure5": {"experiments": ["sam"]}},
    }
    meant = load(raw)
    again = load(json.loads(json.dumps(configuration("figure5", records_of(meant, "figure5")))))
    assert [cell.path for cell in again.cells["noisy"]] == ["tau=0.0"]
    assert Recipes(again, SCRIPTS).figure("figure5") == Recipes(meant, SCRIPTS).figure("figure5")

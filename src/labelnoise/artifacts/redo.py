"""A bundle unpacked, its figure made again, and the two compared."""

import csv
import importlib.metadata
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from .bundle import FORMAT, BundleError, with_archive
from .provenance import file_digest

MANIFEST = "bundle.json"
UNREADABLE = (
    *(OSError, zipfile.BadZipFile, zlib.error, ValueError, KeyError, TypeError),
    RuntimeError,  # encrypted
)
LARGEST = 2**30
"""Bytes that a bundle may unpack to."""


def _check_members(archive: Path, members: list[zipfile.ZipInfo]) -> None:
    names = [member.filename for member in members]
    for member in members:
        path = PurePosixPath(member.filename)
        kind = member.external_attr >> 28  # of a Unix file: 8 is a plain one, 10 a link
        odd = path.is_absolute() or ".." in path.parts or "\\" in member.filename
        if odd or member.is_dir() or kind not in (0, 8) or names.count(member.filename) > 1:
            raise BundleError(
                f"{archive}: {member.filename!r} is no plain file inside of the bundle, or there "
                "twice; nothing was unpacked"
            )
    size = sum(member.file_size for member in members)
    if size > LARGEST:
        raise BundleError(f"{archive}: would unpack to {size:,} bytes, at most {LARGEST:,}")


def unpack(archive: Path, folder: Path) -> dict[str, Any]:
    """Unpack a bundle whose files are all there, and as its manifest says; the manifest.

    Raises:
        BundleError: it is no bundle, or not whole, or has members that lead out of the folder.
    """
    if not archive.is_file():
        raise BundleError(f"{archive}: there is no such file")
    try:
        with zipfile.ZipFile(archive) as packed:
            members = packed.infolist()
            _check_members(archive, members)
            packed.extractall(folder)
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        form, files = manifest["format"], dict(manifest["files"])
        for name in ("figure", "packages", "artifacts", "origin"):
            manifest[name]
    except UNREADABLE as error:
        raise BundleError(f"{archive}: not a whole bundle ({error})") from None
    if form != FORMAT:
        raise BundleError(f"{archive}: a bundle of format {form}; this code reads {FORMAT}")
    names = {member.filename for member in members} - {MANIFEST}
    for name in sorted(names ^ files.keys()):
        state = "not in its manifest" if name in names else "missing"
        raise BundleError(f"{archive}: {name} is {state}; the bundle was changed")
    for name, digest in files.items():
        found = file_digest(folder / name)
        if found != digest:
            raise BundleError(
                f"{archive}: {name} has SHA-256 {found[:12]}…, its manifest says {digest[:12]}…; "
                "the bundle was changed"
            )
    return dict(manifest)


def other_versions(manifest: dict[str, Any]) -> list[str]:
    """A line for Python and each package of the bundle that is of another version here."""
    wanted = {"python": manifest["origin"]["python"]} | manifest["packages"]
    lines = []
    for name, version in wanted.items():
        try:
            here = (
                platform.python_version() if name == "python" else importlib.metadata.version(name)
            )
        except importlib.metadata.PackageNotFoundError:
            here = "not installed"
        if here != version:
            lines.append(f"{name}: {version} in the bundle, {here} here")
    return lines


@dataclass(frozen=True)
class Difference:
    """How far two tables of numbers are apart.

    Attributes:
        largest: the largest |now − then| / max(|now|, |then|) of all numbers; infinite where the
            tables do not have the same rows, columns or texts.
        where: the line and the column of it.
    """

    largest: float
    where: str


def compare_tables(then: Path, now: Path) -> Difference:
    """The largest relative difference of the numbers of two CSV files."""
    tables = []
    for path in (then, now):
        with path.open(encoding="utf-8", newline="") as file:
            tables.append(list(csv.reader(file)))
    old, new = tables
    if [len(row) for row in old] != [len(row) for row in new] or old[:1] != new[:1]:
        return Difference(math.inf, "rows or columns are others")
    worst = Difference(0.0, "")
    for line, (before, after) in enumerate(zip(old[1:], new[1:], strict=True), start=2):
        for column, first, second in zip(old[0], before, after, strict=True):
            apart = 0.0 if first == second else _apart(first, second)
            if apart > worst.largest:
                worst = Difference(apart, f"line {line}, {column}: {first}, now {second}")
    return worst


def _apart(first: str, second: str) -> float:
    try:
        a, b = float(first), float(second)
    except ValueError:  # texts, or a number where there was none
        return math.inf
    if not (math.isfinite(a) and math.isfinite(b)):
        return 0.0 if a == b or (math.isnan(a) and math.isnan(b)) else math.inf
    return abs(a - b) / max(abs(a), abs(b)) if a != b else 0.0


def _make(manifest: dict[str, Any], code: Path, cores: int, cifar10: Path | None) -> None:
    """Make the figure with the bundle's own code, in the bundle's own folder."""
    command = [sys.executable, "-m", "snakemake", manifest["figure"], "--cores", str(cores)]
    if cifar10:
        command += with_archive(cifar10.resolve())
    # a tracking server of the user's has no place for this
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_TRACKING")}
    done = subprocess.run(command, cwd=code, env=environment, stdout=sys.stderr, check=False)
    if done.returncode:
        raise BundleError(f"{manifest['figure']} could not be made again; see above")


def _rows(manifest: dict[str, Any], folder: Path) -> list[tuple[str, str]]:
    """What became of each artifact: its path, and a word or a number."""
    rows = []
    for path, then in manifest["artifacts"].items():
        now = folder / "code" / path
        numbers = folder / "figure" / PurePosixPath(path).name
        if not now.is_file():
            state = "not made"
        elif file_digest(now) == then["sha256"]:
            state = "same bytes"
        elif path.endswith(".csv") and numbers.is_file():
            found = compare_tables(numbers, now)
            place = f" ({found.where})" if found.where else ""
            state = f"differs by at most {found.largest:.3g}, relatively{place}"
        else:
            state = "other bytes"
        rows.append((path, state))
    return rows


def check_bundle(archive: Path, cores: int, cifar10: Path | None = None) -> bool:
    """Redo a bundle's figure and print how each file compares; whether all bytes are the same.

    It runs the code in the bundle.

    Args:
        archive: the bundle.
        cores: how many to use.
        cifar10: a CIFAR-10 archive, where the figure needs it and it is not to be downloaded.

    Raises:
        BundleError: the bundle is damaged or was changed, or the figure cannot be made.
    """
    with tempfile.TemporaryDirectory(prefix="labelnoise-redo-") as temporary:
        folder = Path(temporary)
        manifest = unpack(archive, folder)
        others = other_versions(manifest)
        for line in others:
            print(f"other version: {line}", flush=True)
        _make(manifest, folder / "code", cores, cifar10)
        rows = _rows(manifest, folder)
    width = max(len(path) for path, _ in rows)
    for path, state in rows:
        print(f"{path:{width}}  {state}")
    same = sum(state == "same bytes" for _, state in rows)
    print(f"{manifest['figure']}: {same} of {len(rows)} files have the same bytes")
    if same < len(rows) and others:
        print("other versions of packages (above) may be why")
    return same == len(rows)

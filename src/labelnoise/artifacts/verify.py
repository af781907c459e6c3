"""Every artifact under a results folder against the digest in its record."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from labelnoise.tracking.records import FOLDERS

from .provenance import file_digest
from .store import ArtifactError, open_dataset

DOWNLOADS = "downloads"
GIVEN = ("figures", DOWNLOADS)
"""Folders into which a person may put files: what has no record there is not removed."""

KINDS = {".nc", ".safetensors", ".pdf", ".png", ".csv", ".md", ".gz"}
"""What artifacts end in."""

HEAL = "`labelnoise verify --remove`"
STRAY = "move it away if it is yours, else delete it"


@dataclass
class Made:
    """What one job made: its record and the files by its name.

    Attributes:
        record: where the record is or should be.
        files: what is there, and what the record says should be.
        problems: what is wrong, a line each.
    """

    record: Path
    files: set[Path] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def remove(self) -> Path:
        """Remove the record and all its files, which a job makes together; one to ask for."""
        paths = [*sorted(self.files), self.record]
        for path in paths:
            path.unlink(missing_ok=True)
        return paths[0]


@dataclass
class Report:
    """What is wrong under a results folder.

    Attributes:
        checked: how many artifacts were compared with their digest.
        damaged: the jobs whose files are.
        strays: a line on each file that no record names, and that may be a person's.
    """

    checked: int = 0
    damaged: list[Made] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)


def _everything(results: Path) -> list[Made]:
    """What each job made, by the files that are there."""
    found: dict[Path, Made] = {}
    for folder in (*FOLDERS.values(), DOWNLOADS):
        # a name with a dot in front is a file that is being written
        paths = [p for p in sorted((results / folder).rglob("*")) if p.name[0] != "."]
        found |= {path: Made(path) for path in paths if path.suffix == ".json"}
        for path in paths:
            if path.suffix in KINDS:
                # a download's record carries its whole name
                record = path.with_name(f"{path.name}.json")
                record = record if record in found else path.with_suffix(".json")
                found.setdefault(record, Made(record)).files.add(path)
    return list(found.values())


def _recorded(made: Made, strays: list[str]) -> dict[Path, str]:
    """The recorded digests of the files that are there; what is wrong is said."""
    try:
        content = json.loads(made.record.read_text(encoding="utf-8"))
        digests = {Path(path): str(digest) for path, digest in content["artifacts"].items()}
    except FileNotFoundError:
        ours = made.record.parts[1] not in GIVEN
        for path in sorted(made.files):
            line = f"{path}: found no record, expected {made.record}; "
            made.problems += [line + HEAL] * ours
            strays += [line + STRAY] * (not ours)
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        made.problems.append(f"{made.record}: found no readable record ({error}); {HEAL}")
        return {}
    for path in sorted(digests.keys() - made.files):
        made.problems.append(f"{path}: found no file, expected sha256 {digests[path]}; {HEAL}")
    for path in sorted(made.files - digests.keys()):
        strays.append(f"{path}: found a file that {made.record} does not name; {STRAY}")
    there = {path: digests[path] for path in sorted(digests.keys() & made.files)}
    made.files = set(digests)
    return there


def _unreadable(path: Path) -> str | None:
    """Why a netCDF file cannot be used; None if it can, or is none."""
    if path.suffix == ".nc":
        try:
            open_dataset(path).close()
        except ArtifactError as error:
            return str(error).removeprefix(f"{path}: ").partition("; ")[0]
    return None


def verify(results: Path) -> Report:
    """Check every artifact against its record, by content.

    Args:
        results: the folder, from the working directory, as the records have it.
    """
    report = Report()
    everything = _everything(results)
    expected = [
        (made, path, digest)
        for made in everything
        for path, digest in _recorded(made, report.strays).items()
    ]
    # digests are computed without Python's lock; the netCDF library is for one thread
    with ThreadPoolExecutor(2) as pool:
        digests = pool.map(file_digest, [path for _, path, _ in expected])
        for (made, path, digest), found in zip(expected, digests, strict=True):
            report.checked += 1
            why = _unreadable(path)
            if found != digest:
                what = f" ({why})" if why else ""
                made.problems.append(
                    f"{path}: found sha256 {found}{what}, expected {digest}; {HEAL}"
                )
            elif why:
                made.problems.append(f"{path}: found {why}; {HEAL}")
    report.damaged = [made for made in everything if made.problems]
    return report

"""Every artifact under a results folder against the digest in its record."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from labelnoise.workflow.layout import DOWNLOADS, FIGURE_KINDS, FOLDERS, log

from .provenance import file_digest
from .store import ArtifactError, LockError, files_under, open_dataset, records_for

GIVEN = (FOLDERS["plot"], DOWNLOADS)
"""Folders into which a person may put files: what has no record there is not removed."""

KINDS = {
    FOLDERS["train"]: {".nc", ".safetensors"},
    FOLDERS["plot"]: {f".{kind}" for kind in FIGURE_KINDS},
    DOWNLOADS: {".gz"},
}
"""What artifacts end in, by their folder; elsewhere in .nc."""

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
        notes: a line on each file that is right, and that cannot be used here.
    """

    checked: int = 0
    damaged: list[Made] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def _everything(results: Path) -> list[Made]:
    """What each job made, by the files that are there."""
    found: dict[Path, Made] = {}
    known = {".json", ".nc"}.union(*KINDS.values())
    for folder in (*FOLDERS.values(), DOWNLOADS):
        paths = files_under(results / folder)
        found |= {path: Made(path) for path in paths if path.suffix == ".json"}
        for path in paths:
            if path.suffix in known - {".json"}:
                whole, short = records_for(path)
                record = whole if whole in found else short
                found.setdefault(record, Made(record)).files.add(path)
    return list(found.values())


def _is_ours(path: Path, record: Path) -> bool:
    """Whether a file without a readable record is a job's for certain: its log is there.

    A person's copy or own file beside the results has another name, and so no log.
    """
    stem = str(record.with_suffix("")).removesuffix(".tar.gz")
    return Path(log(stem)).is_file() and path.suffix in KINDS.get(record.parts[1], {".nc"})


def _recorded(made: Made, strays: list[str]) -> dict[Path, str]:
    """The recorded digests of the files that are there; what is wrong is said."""
    try:
        content = json.loads(made.record.read_text(encoding="utf-8"))
        digests = {Path(path): str(digest) for path, digest in content["artifacts"].items()}
    except FileNotFoundError:
        for path in sorted(made.files):
            line = f"{path}: found no record, expected {made.record}; "
            if made.record.parts[1] not in GIVEN and _is_ours(path, made.record):
                made.problems.append(line + HEAL)
            else:
                made.files.remove(path)
                strays.append(line + STRAY)
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        theirs = {path for path in made.files if not _is_ours(path, made.record)}
        made.files -= theirs
        if made.files:
            made.problems.append(f"{made.record}: found no readable record ({error}); {HEAL}")
        else:
            strays.append(f"{made.record}: found no record in it ({error}); {STRAY}")
        strays += [f"{path}: found no readable record; {STRAY}" for path in sorted(theirs)]
        return {}
    foreign = sorted(str(path) for path in digests if made.record not in records_for(path))
    if foreign:  # a copy, or renamed
        strays.append(f"{made.record}: found the record of {foreign[0]}; {STRAY}")
        strays += [f"{path}: found a file without a record; {STRAY}" for path in sorted(made.files)]
        made.files = set()
        return {}
    for path in sorted(digests.keys() - made.files):
        made.problems.append(f"{path}: found no file, expected sha256 {digests[path]}; {HEAL}")
    for path in sorted(made.files - digests.keys()):
        strays.append(f"{path}: found a file that {made.record} does not name; {STRAY}")
    there = {path: digests[path] for path in sorted(digests.keys() & made.files)}
    made.files = set(digests)
    return there


def _unreadable(path: Path, notes: list[str]) -> str | None:
    """Why a netCDF file cannot be used; None if it can, or is none, or is not to blame."""
    if path.suffix == ".nc":
        try:
            open_dataset(path).close()
        except LockError as error:
            notes.append(str(error))
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
            why = _unreadable(path, report.notes)
            if found != digest:
                what = f" ({why})" if why else ""
                made.problems.append(
                    f"{path}: found sha256 {found}{what}, expected {digest}; {HEAL}"
                )
            elif why:
                made.problems.append(f"{path}: found {why}; {HEAL}")
    report.damaged = [made for made in everything if made.problems]
    return report

"""The records under results/, and whether a tracking store has them all.

Snakemake reads this module at every call: it imports nothing heavy.
"""

import glob
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelnoise.artifacts.provenance import file_digest
from labelnoise.artifacts.store import files_under, records_for, write_json
from labelnoise.workflow.layout import FOLDERS

PER_SEED = ("simulate", "train", "linearize")
"""The verbs whose files hold runs one by one, each with a seed."""


ARTIFACT = "labelnoise.artifact"
RESULTS = "labelnoise.results"
"""Tags of a run: the path of its artifact, and the results folder that this is in."""


@dataclass(frozen=True)
class Record:
    """What `job.Job.finish` wrote beside an artifact.

    Attributes:
        path: the record's own file.
        digest: of that file.
        content: what it says.
    """

    path: Path
    digest: str
    content: dict[str, Any]

    @property
    def artifact(self) -> str:
        """The main file, from the working directory: what tells a record from the others."""
        return str(self.content["artifact"])

    @property
    def verb(self) -> str:
        """The rule that made it."""
        return str(self.content["verb"])

    @property
    def recipe(self) -> dict[str, Any]:
        """Everything that decided the artifact."""
        return dict(self.content["recipe"])

    @property
    def experiment(self) -> str:
        """The MLflow experiment that it belongs to."""
        return "figures" if self.verb == "plot" else str(self.recipe.get("experiment", self.verb))


NEEDED = {"artifact", "artifacts", "caption", "inputs", "metrics", "origin", "recipe", "verb"}
NEEDED |= {"started", "seconds"}


def _files(results: Path) -> Iterator[tuple[str, Path]]:
    for verb, folder in FOLDERS.items():
        for path in files_under(results / folder):
            if path.suffix == ".json":
                yield verb, path


def _made_here(path: Path) -> bool:
    """Whether there are files that a damaged record can be the record of; else it is none."""
    return any(
        beside.suffix != ".json" and path in records_for(beside)
        for beside in path.parent.glob(f"{glob.escape(path.stem)}*")
    )


def read_records(results: Path) -> tuple[dict[str, Record], list[str]]:
    """The records of all artifacts that are there, by the path of the artifact.

    Other files, as copies of records, are passed over: `labelnoise verify` lists them.

    Returns:
        The records, and for each that cannot be read a sentence on what to do about it.
    """
    records: dict[str, Record] = {}
    damaged = []
    for verb, path in _files(results):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            missing = sorted(NEEDED - content.keys())
            if missing:
                raise ValueError(f"{', '.join(missing)} missing")
            # a copy of a record names the files of another
            own = path.relative_to(results.parent)
            named = [content["artifact"], *content["artifacts"]]
            made = all(own in records_for(a) and Path(a).is_file() for a in named)
        except (OSError, ValueError, AttributeError, TypeError) as error:
            if _made_here(path):
                damaged.append(
                    f"{path}: not a readable record ({error}); delete it, "
                    "and `snakemake` makes it anew"
                )
            continue
        if content["verb"] == verb and made:
            records[content["artifact"]] = Record(path, file_digest(path), content)
    return records, damaged


def state(results: Path) -> list[int]:
    """How many records there are and when the newest was written, in ns; quick for thousands."""
    times = [path.stat().st_mtime_ns for _, path in _files(results)]
    return [len(times), max(times, default=0)]


def _stamp(results: Path) -> Path:
    return results / "mlflow" / "logged.json"


def _stamps(results: Path) -> dict[str, list[int]]:
    try:
        return dict(json.loads(_stamp(results).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _name(uri: str) -> str:
    """A store's name in the stamp; its address may hold a password."""
    return hashlib.sha256(uri.encode()).hexdigest()[:16]


def all_logged(results: Path, uri: str) -> bool:
    """Whether a store got, the last time, all the records that are there now."""
    now = state(results)
    return now[0] == 0 or _stamps(results).get(_name(uri)) == now


def mark_logged(results: Path, uri: str, then: list[int]) -> None:
    """Remember that a store has all the records that were there when `state` gave `then`."""
    write_json(_stamps(results) | {_name(uri): then}, _stamp(results))

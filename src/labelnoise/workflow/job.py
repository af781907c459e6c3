"""The frame of a workflow job: its log, its progress, its artifact and the record beside it."""

import hashlib
import json
import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

from labelnoise.artifacts.provenance import file_digest, origin
from labelnoise.artifacts.store import ArtifactError, record_of, write_dataset, write_json

from .layout import RESULTS
from .sessions import end_with_call

if TYPE_CHECKING:
    import xarray as xr

Model = TypeVar("Model", bound=BaseModel)

PACE = 5.0
"""Seconds between two lines of progress."""


def _device(resources: Any) -> str:
    """The torch device of a job: a GPU where the rule asked for one and torch can use it.

    That torch has no support for the GPU is an error only where `device: cuda` was asked for.
    """
    if not getattr(resources, "gpu", 0):
        return "cpu"
    if resources.device == "cuda":
        return "cuda"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _recorded(path: Path) -> str | None:
    """The digest of an input in the record beside it; None where there is no such record."""
    record = record_of(path)
    if record is None:
        return None
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        return str(content["artifacts"][str(path)])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def input_digest(path: Path) -> str:
    """The digest of a job's input, which must be the one that its record has.

    Raises:
        ArtifactError: the file is not what the job that made it wrote.
    """
    found, expected = file_digest(path), _recorded(path)
    if expected not in (None, found):
        raise ArtifactError(
            f"{path} is damaged: found sha256 {found}, its record has {expected}; `make verify` "
            "lists all that is, and says how `snakemake` makes it again"
        )
    return found


class Job:
    """One Snakemake job, from its `snakemake` object.

    Attributes:
        recipe: everything that decides the artifact (the rule's one param).
        inputs: digest of each input file by its path.
        device: torch device that computes.
    """

    def __init__(self, snakemake: Any) -> None:
        end_with_call()
        self._started = datetime.now(UTC)
        self._clock = time.monotonic()
        self._verb: str = snakemake.rule
        self._snakemake = snakemake
        self._record = Path(snakemake.output.record)
        self._label = " ".join([snakemake.rule, *map(str, snakemake.wildcards)])
        self._log = logging.getLogger("labelnoise")
        self._log.setLevel(logging.INFO)
        self._log.addHandler(logging.FileHandler(snakemake.log[0], mode="w", encoding="utf-8"))
        self._log.addHandler(logging.StreamHandler(sys.stderr))
        for handler in self._log.handlers:
            handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        self.device = _device(snakemake.resources)
        self.recipe: dict[str, Any] = json.loads(snakemake.params.recipe)
        self.inputs = {str(path): input_digest(Path(path)) for path in snakemake.input}

    def say(self, text: str) -> None:
        """A line in the job's log and on the terminal."""
        self._log.info("%s: %s", self._label, text)

    def progress(self, total: int) -> Callable[[int], None]:
        """A function to call with the work done out of `total`; it speaks every few seconds."""
        said = time.monotonic()

        def report(done: int) -> None:
            nonlocal said
            now = time.monotonic()
            if done and now - said >= PACE:
                said = now
                text = f"{done:,} of {total:,} steps ({done / total:.0%})"
                if done > total / 50:  # before that the start-up is most of the time spent
                    text += f", {(now - self._clock) / done * (total - done):.0f} s left"
                self.say(text)

        return report

    @property
    def stem(self) -> str:
        """The path of what the job makes, without its ending (`layout`)."""
        return str(self._record.with_suffix(""))

    def settings(self, model: type[Model]) -> Model:
        """The settings of the job's cell, with what decides no number from the rule's resources."""
        given = dict(self.recipe["settings"])
        memory = getattr(self._snakemake.resources, "ntk_memory", None)
        if memory is not None and "ntk_memory" in model.model_fields:
            given["ntk_memory"] = memory
        return model(**given)

    def identity(self) -> str:
        """A digest of all that decides the result: a checkpoint of another one is not taken."""
        inputs = sorted(self.inputs.values())
        decides = f"{self._snakemake.params.recipe} {inputs} {self.device}"
        return hashlib.sha256(decides.encode()).hexdigest()

    def save(
        self,
        data: "xr.Dataset",
        title: str,
        metrics: Mapping[str, float],
        beside: Sequence[str] = (),
    ) -> None:
        """Write the job's netCDF artifact and the record of it and of what lies `beside` it."""
        path = str(self._snakemake.output.data)
        # where a user's own file lies decides no content
        ours = f"{RESULTS}/"
        named = {p if p.startswith(ours) else Path(p).name: d for p, d in self.inputs.items()}
        write_dataset(data, Path(path), title=title, recipe=self.recipe, inputs=named)
        self.finish([path, *beside], metrics)

    def finish(self, artifacts: list[str], metrics: Mapping[str, float], caption: str = "") -> None:
        """Write the record beside the artifacts: what they are, from what, where and when.

        Args:
            artifacts: paths of the files that the job made, the main one first.
            metrics: the summary numbers that a person would sort by.
            caption: text that belongs to a figure.
        """
        seconds = time.monotonic() - self._clock
        record = {
            "verb": self._verb,
            "artifact": artifacts[0],
            "recipe": self.recipe,
            "artifacts": {path: file_digest(Path(path)) for path in artifacts},
            "inputs": self.inputs,
            "metrics": dict(metrics),
            "caption": caption,
            "origin": origin() | {"device": self.device},
            "started": self._started.isoformat(timespec="seconds"),
            "seconds": round(seconds, 3),
        }
        write_json(record, self._record)
        self.say(f"{artifacts[0]} written, {seconds:.1f} s")

"""How long a job takes: from jobs like it that are done here, or from what was measured elsewhere.

A job's time is that of its start, and its work times the seconds that a unit of work takes. Work is
counted in what grows with the settings (multiply-adds for simulations, images passed through a
network for trainings), and the seconds are learnt for each *kind* of job. Costs decide no result:
they order the jobs, and tell a person how long it will take.
"""

import csv
import json
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from labelnoise.config.load import SETTINGS, Cell
from labelnoise.simulate.settings import Settings
from labelnoise.train.settings import TrainSettings

from . import layout
from .verbs import verb_of

STEPS = {"sgd": 1.0, "sam": 1.4, "gd": 10.0, "oscillation": 3.2}
"""What a multiply-add of an algorithm's steps is worth, in those of label-noise SGD."""

ANOTHER = 1.5
"""The same of an algorithm that is not in the table."""

BACKENDS = {"compiled": 1.0, "torch": 300.0, "cuda": 0.01}
"""What a multiply-add is worth where it is done so."""

SNAPSHOT = 150.0
"""Multiply-adds that a snapshot of one coordinate of one neuron is worth."""

SEEN = 12
"""Finished jobs that are looked at for each experiment and verb."""

FEW = 5
"""Fewer jobs do not tell how fast a machine is."""

LOOP = 300_000
"""Turns of the loop that measures a machine."""

LOOP_SECONDS = 0.0136
"""How long the loop took where `SECONDS` and `STARTS` were measured (Intel Xeon, AVX-512)."""

STARTS = {"torch": 2.6, "numba": 1.4, "": 0.8}
"""Seconds that a job's process takes to start, by the slowest library that it imports."""

SECONDS = {
    "simulate": 1.1e-10,
    "analyze simulate": 5e-5,
    "train": 4e-7,
    "train mlp": 6.6e-11,
    "train resnet": 4.5e-7,
    "linearize": 7.9e-7,
    "linearize mlp": 2e-10,
    "prune": 1.2e-6,
    "analyze train": 5e-5,
}
"""Seconds that a unit of work takes, by kind; a kind without a row has that of its first word."""

OTHERS = {"plot": 3.0, "images": 2.0, "download": 60.0, "track": 4.0}
"""Seconds of the jobs that belong to no cell."""

PIXELS = {"digits": 8 * 8, "cifar10": 32 * 32}
"""Pixels of an image of each source."""

USUAL_TEST_IMAGES = 500
"""Where all are taken."""


def work(verb: str, settings: Settings | TrainSettings, seeds: int, points: int = 1) -> float:
    """How much a job has to do, in units of its kind.

    Args:
        verb: of the job.
        settings: of its cell.
        seeds: how many seeds it does.
        points: how many points of the grid it does together.
    """
    if isinstance(settings, Settings):
        return _simulated(verb, settings, seeds * points)
    return _trained(verb, settings, seeds)


def _simulated(verb: str, settings: Settings, runs: int) -> float:
    if verb == "analyze":
        return float(runs * settings.snapshots)
    reduced = settings.reduce and settings.rule.reduces
    neurons = min(settings.width, settings.dim + 1) if reduced else settings.width
    each = STEPS.get(settings.algorithm, ANOTHER) * BACKENDS.get(settings.backend, 1.0)
    steps = each * settings.steps * neurons * (settings.dim + 1)
    return runs * (steps + SNAPSHOT * settings.snapshots * settings.width * settings.dim)


def _trained(verb: str, settings: TrainSettings, seeds: int) -> float:
    images = settings.train_images or 10 * USUAL_TEST_IMAGES
    tested = settings.test_images or USUAL_TEST_IMAGES
    if verb == "analyze":
        return float(seeds * settings.snapshots)
    if settings.network == "mlp":
        image = float(settings.hidden * images)
    elif settings.own_network:
        image = 1e4
    else:
        image = float(settings.hidden**2 * settings.blocks * PIXELS[settings.source]) / 64
        image += 50  # what calling a layer costs, however narrow it is
    turns = 1 + (settings.algorithm == "sam" and settings.rho > 0)
    passed = settings.steps * turns * (settings.batch_size or images) * 3
    passed += settings.snapshots * (images + tested)
    if verb == "linearize":
        passed = images * 10 * 3 + settings.snapshots * tested * 10
    elif verb == "prune":
        passed = 25 * tested
    return seeds * passed * image


def kind(verb: str, settings: Settings | TrainSettings) -> str:
    """What jobs of the same cost a unit of work have in common, a key of `SECONDS` if known."""
    if verb == "analyze":
        return f"analyze {'simulate' if isinstance(settings, Settings) else 'train'}"
    if not isinstance(settings, Settings):
        return f"{verb} {settings.network}"
    what = settings.backend if verb == "simulate" else verb
    return f"simulate {settings.algorithm} {what}"


def _listed(kind: str) -> float:
    """The seconds of a unit of work of a kind in the table."""
    return SECONDS.get(kind) or SECONDS.get(kind.partition(" ")[0]) or SECONDS["train"]


@dataclass(frozen=True)
class Done:
    """A job that is done: its kind, its work, the seconds it took, and those of its start."""

    kind: str
    work: float
    seconds: float
    start: float


def _start(verb: str, experiment_verb: str) -> float:
    libraries = verb_of(verb, experiment_verb).libraries
    return next(seconds for name, seconds in STARTS.items() if not name or name in libraries)


def seconds_taken(stem: str) -> float | None:
    """What Snakemake measured of a job, its start included."""
    try:
        with Path(layout.benchmark(stem)).open(encoding="utf-8") as file:
            return float(list(csv.DictReader(file, delimiter="\t"))[-1]["s"])
    except (OSError, ValueError, KeyError, IndexError):
        return None


def _records(verb: str) -> Iterator[Path]:
    folder = Path(layout.RESULTS, layout.FOLDERS[verb])
    try:
        experiments = sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError:
        return
    for experiment in experiments:
        yield from islice(experiment.rglob("*.json"), SEEN)


def done_here() -> list[Done]:
    """Jobs that were done in this folder, a few of each experiment; none that cannot be read."""
    found = []
    for verb in ("simulate", "train", "linearize", "prune", "analyze"):
        for path in _records(verb):
            seconds = seconds_taken(str(path.with_suffix("")))
            if seconds is None:
                continue
            try:
                recipe = json.loads(path.read_text(encoding="utf-8"))["recipe"]
                made = _made(verb, recipe, seconds)
            except (OSError, ValueError, LookupError, TypeError, ValidationError):
                continue  # of another version
            found.append(made)
    for path in islice(Path(layout.RESULTS, layout.FOLDERS["plot"]).glob("*.json"), SEEN):
        seconds = seconds_taken(str(path.with_suffix("")))
        if seconds is not None:
            found.append(Done("plot", 0.0, seconds, OTHERS["plot"]))
    return found


def _made(verb: str, recipe: Mapping[str, Any], seconds: float) -> Done:
    of = recipe["experiment_verb"]
    settings = SETTINGS[of](**recipe["settings"])
    points = math.prod(len(values) for values in recipe["together"].values())
    seeds = len(recipe["seeds"]) if "seeds" in recipe else 1
    return Done(
        kind(verb, settings), work(verb, settings, seeds, points), seconds, _start(verb, of)
    )


def slowness_seen(done: Sequence[Done]) -> float | None:
    """How much longer jobs took than where `SECONDS` were measured; None: too few to tell.

    By jobs that are little more than their start, which changes of a kernel leave as they are.
    """
    small = [job for job in done if not job.work or _listed(job.kind) * job.work < job.start]
    if len(small) < FEW:
        return None
    thought = sum(job.start + (job.work and _listed(job.kind) * job.work) for job in small)
    return sum(job.seconds for job in small) / thought


def learnt(done: Iterable[Done], slow: float) -> dict[str, float]:
    """Seconds of a unit of work, of each kind of which a job was done that tells.

    One tells whose work is longer than its start: of others the start and, once, the compilation
    of a kernel are all that was measured.

    Args:
        done: jobs.
        slow: how much longer than `STARTS` their starts took.
    """
    sums: dict[str, tuple[float, float]] = {}
    for job in done:
        start = job.start * slow
        if job.work and min(_listed(job.kind) * job.work * slow, job.seconds - start) > start:
            seconds, units = sums.get(job.kind, (0.0, 0.0))
            sums[job.kind] = seconds + job.seconds - start, units + job.work
    return {kind: seconds / units for kind, (seconds, units) in sums.items()}


def slowness() -> float:
    """How long this machine takes, as a multiple of what the one of `SECONDS` took.

    What else runs here counts: a loop's time is that of the processor, times how long it had to
    wait for it. A moment's wait is no more than what the machine had to do in the last minute.
    """
    least, passed, used = math.inf, 0.0, 0.0
    for _ in range(5):
        wall, own, value = time.perf_counter(), time.process_time(), 0
        for number in range(LOOP):
            value += number * number % 7
        own = time.process_time() - own
        passed, used, least = passed + time.perf_counter() - wall, used + own, min(least, own)
    try:
        crowd = (os.getloadavg()[0] + 1) / (os.cpu_count() or 1)
    except (AttributeError, OSError):  # not told on this system
        crowd = 1.0
    return least / LOOP_SECONDS * max(1.0, min(passed / used, crowd))


class Costs:
    """Seconds of jobs, on this machine.

    Args:
        done: jobs that are done here.
        slow: how much slower this machine is than the one of `SECONDS`; left out: as slow as
            `done` shows, or as that one.
    """

    def __init__(self, done: Sequence[Done] = (), slow: float | None = None) -> None:
        self._slow = slow or slowness_seen(done) or 1.0
        self._learnt = learnt(done, self._slow)

    def seconds(self, verb: str, cell: Cell, block: int | None = None) -> float:
        """Seconds of a verb's job for a cell, or for a block of its seeds."""
        seeds = len(cell.blocks[block]) if block is not None else sum(map(len, cell.blocks))
        points = math.prod(len(values) for values in cell.together.values())
        like = kind(verb, cell.settings)
        each = self._learnt.get(like) or _listed(like) * self._slow
        start = _start(verb, cell.verb) * self._slow
        return start + each * work(verb, cell.settings, seeds, points)

    def other(self, rule: str) -> float:
        """Seconds of a job that belongs to no cell."""
        return OTHERS.get(rule, 0.0) * self._slow


def costs_here() -> Costs:
    """Costs on this machine now, by what was done in this folder; else by a loop of 0.1 s."""
    done = done_here()
    return Costs(done, slowness_seen(done) or slowness())

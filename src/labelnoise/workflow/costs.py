"""How long a job takes: from jobs like it that are done here, or from what was measured elsewhere.

A job's time is that of its start, and its work times the seconds that a unit of work takes. Work is
counted in what grows with the settings (multiply-adds for simulations, images passed through a
network for trainings), and the seconds are learnt for each *kind* of job. Costs decide no result:
they order the jobs, and tell a person how long it will take.
"""

import csv
import json
import math
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

LANES = 8
"""Runs that a processor steps together: fewer take as long."""

SNAPSHOT = 100.0
"""Multiply-adds that recording one coordinate of one neuron is worth."""

SEEN = 12
"""Finished jobs that are looked at for each experiment and verb."""

FEW = 5
"""Fewer jobs do not tell how fast a machine is."""

LOOP = 300_000
"""Turns of the loop that measures a machine."""

LOOP_SECONDS = 0.0136
"""How long the loop took where `SECONDS` and `STARTS` were measured (Intel Xeon, AVX-512)."""

STARTS = {"torch": 2.6, "": 1.2}
"""Seconds that a job's process takes to start, with torch and without."""

SECONDS = {
    "simulate sgd": 2.4e-10,
    "simulate sam": 3.2e-10,
    "simulate gd": 3e-10,
    "simulate oscillation": 3e-10,
    "linearize sgd": 4e-10,
    "linearize gd": 4e-10,
    "analyze simulate": 4e-7,
    "train mlp": 1.5e-9,
    "train wide_resnet": 5e-8,
    "train resnet": 2.6e-8,
    "linearize mlp": 2.5e-9,
    "linearize wide_resnet": 6e-8,
    "prune resnet": 2.6e-8,
    "analyze train": 1e-6,
}
"""Seconds that a unit of work takes, by kind. `benchmarks/bench_workflow.py` measures them."""

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
    recorded = settings.neurons or settings.width
    if verb == "analyze":
        return float(runs * settings.snapshots)
    reduced = settings.reduce and settings.rule.reduces
    neurons = min(settings.width, settings.dim + 1) if reduced else settings.width
    lanes = math.ceil(runs / LANES) * LANES if reduced else runs
    steps = lanes * settings.steps * neurons * (settings.dim + 1)
    snapshots = runs * settings.snapshots * settings.dim * SNAPSHOT
    return steps + snapshots * (settings.width + recorded) / 2


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
    backend = "" if settings.backend == "compiled" or verb != "simulate" else f" {settings.backend}"
    return f"{verb} {settings.algorithm}{backend}"


@dataclass(frozen=True)
class Done:
    """A job that is done: its kind, its work, the seconds it took, and those of its start."""

    kind: str
    work: float
    seconds: float
    start: float


def _start(verb: str, experiment_verb: str) -> float:
    return STARTS["torch" if "torch" in verb_of(verb, experiment_verb).libraries else ""]


def _seconds_of(stem: str) -> float | None:
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
            seconds = _seconds_of(str(path.with_suffix("")))
            if seconds is None:
                continue
            try:
                recipe = json.loads(path.read_text(encoding="utf-8"))["recipe"]
                made = _made(verb, recipe, seconds)
            except (OSError, ValueError, LookupError, TypeError, ValidationError):
                continue  # of another version
            found.append(made)
    for path in islice(Path(layout.RESULTS, layout.FOLDERS["plot"]).glob("*.json"), SEEN):
        seconds = _seconds_of(str(path.with_suffix("")))
        if seconds is not None:
            found.append(Done("plot", 0.0, seconds, OTHERS["plot"]))
    return found


def _made(verb: str, recipe: Mapping[str, Any], seconds: float) -> Done:
    of = recipe["experiment_verb"]
    given = {name: value for name, value in recipe["settings"].items() if value is not None}
    settings = SETTINGS[of](**given)
    points = math.prod(len(values) for values in recipe["together"].values())
    seeds = len(recipe["seeds"]) if "seeds" in recipe else 1
    return Done(
        kind(verb, settings), work(verb, settings, seeds, points), seconds, _start(verb, of)
    )


def slowness_seen(done: Sequence[Done]) -> float | None:
    """How much longer jobs took than where `SECONDS` were measured; None: too few to tell.

    By jobs that are little more than their start, which changes of a kernel leave as they are.
    """
    small = [job for job in done if SECONDS.get(job.kind, 0.0) * job.work < job.start]
    if len(small) < FEW:
        return None
    thought = sum(job.start + SECONDS.get(job.kind, 0.0) * job.work for job in small)
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
        known = SECONDS.get(job.kind)
        thought = job.seconds - start if known is None else known * job.work * slow
        if min(thought, job.seconds - start) > start:
            seconds, units = sums.get(job.kind, (0.0, 0.0))
            sums[job.kind] = seconds + job.seconds - start, units + job.work
    return {kind: seconds / units for kind, (seconds, units) in sums.items()}


def slowness() -> float:
    """How long this machine takes, as a multiple of what the one of `SECONDS` took.

    What else runs here counts: a loop's time is that of the processor, times how long it had to
    wait for it.
    """
    least, passed, used = math.inf, 0.0, 0.0
    for _ in range(5):
        wall, own, value = time.perf_counter(), time.process_time(), 0
        for number in range(LOOP):
            value += number * number % 7
        own = time.process_time() - own
        passed, used, least = passed + time.perf_counter() - wall, used + own, min(least, own)
    return least / LOOP_SECONDS * max(1.0, passed / used)


class Costs:
    """Seconds of jobs, on this machine.

    Args:
        done: jobs that are done here.
        slow: how much slower this machine is than the one of `SECONDS`, where `done` does not tell.
    """

    def __init__(self, done: Sequence[Done] = (), slow: float = 1.0) -> None:
        self._slow = slowness_seen(done) or slow
        scaled = {name: value * self._slow for name, value in SECONDS.items()}
        self._seconds = scaled | learnt(done, self._slow)

    def seconds(self, verb: str, cell: Cell, block: int | None = None) -> float:
        """Seconds of a verb's job for a cell, or for a block of its seeds."""
        seeds = len(cell.blocks[block]) if block is not None else sum(map(len, cell.blocks))
        points = math.prod(len(values) for values in cell.together.values())
        each = self._seconds.get(kind(verb, cell.settings))
        if each is None:  # a network of the user's, or a backend that was never used
            each = 5e-9 * self._slow
        start = _start(verb, cell.verb) * self._slow
        return start + each * work(verb, cell.settings, seeds, points)

    def other(self, rule: str) -> float:
        """Seconds of a job that belongs to no cell."""
        return OTHERS.get(rule, 0.0) * self._slow

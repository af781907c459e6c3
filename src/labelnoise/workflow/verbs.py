"""What is done for the cells of an experiment: one row a verb and kind of experiment.

A verb is a row here, a rule, a script and the module that it names. The rows say what decides a
result beside the settings: which code, which libraries, which thresholds, which files.
"""

import functools
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from labelnoise.config.load import Cell
from labelnoise.simulate.algorithms import ENGINES
from labelnoise.simulate.settings import Settings

SAVED = "labelnoise.artifacts.store:write_dataset"
"""How an artifact is written decides its bytes, too."""

DRIFT = "labelnoise.train.observe:NTKDrift"

CHOSEN = (
    DRIFT,
    "labelnoise.simulate.algorithms:ALGORITHMS",
    "labelnoise.simulate.algorithms:ENGINES",
    "labelnoise:__version__",
)
"""Names that are not followed. What of them a job takes, its verb names: a row of a table, or the
measure of an NTK. The version is for people."""

NUMERICAL = ("numba", "numpy", "scipy", "xarray", "netCDF4")
ARRAYS = ("numpy", "xarray", "netCDF4")
DRAWN = ("matplotlib", "seaborn", "numpy", "pandas", "scipy", "xarray")


@dataclass(frozen=True)
class Verb:
    """What is done for the cells of one kind of experiment.

    Attributes:
        name: of the rule, its script and its folder.
        of: the kind of experiment, its `verb` in the configuration.
        entry: the function that computes it, as `module:function`.
        libraries: what decides the numbers beside the package's own code.
        per: whether a job does a block of seeds, or a whole cell.
        reads: the files it takes: the images, the trained weights of its block, or all blocks of
            the cell's runs.
        unread: settings that decide nothing of it.
        thresholds: what it takes from the section `analysis` of the configuration.
        on_gpu: whether it is torch code, which takes a GPU where there is one.
    """

    name: str
    of: Literal["simulate", "train"]
    entry: str
    libraries: tuple[str, ...]
    per: Literal["block", "cell"] = "block"
    reads: tuple[Literal["images", "weights", "runs"], ...] = ()
    unread: tuple[str, ...] = ()
    thresholds: tuple[str, ...] = ()
    on_gpu: bool = False

    def code(self, cell: Cell) -> list[str]:
        """The entry points of the code that decides the content, for `digests.closure`."""
        found, settings = [self.entry, SAVED], cell.settings
        if isinstance(settings, Settings):
            rule = settings.rule
            if self.name == "simulate":
                found.append(ENGINES[settings.backend])
                found += {"compiled": [rule.kernel], "torch": [rule.step]}.get(settings.backend, [])
            elif self.name == "linearize" and rule.linear_kernel:
                found.append(rule.linear_kernel)
        elif self.name == "train" and settings.ntk_drift:
            found.append(DRIFT)
        return found

    def uses(self, cell: Cell) -> list[str]:
        """The libraries whose versions decide the content."""
        settings = cell.settings
        # the GPU kernel's Triton is the one that torch's version names
        by_torch = isinstance(settings, Settings) and settings.backend != "compiled"
        return [*self.libraries, *["torch"] * (self.name == "simulate" and by_torch)]

    def gpus(self, cell: Cell, device: str, found: bool) -> int:
        """How many GPUs a job asks for.

        Args:
            cell: of the job.
            device: as configured: `auto`, `cpu` or `cuda`.
            found: whether this machine has a GPU.
        """
        if isinstance(cell.settings, Settings):
            if self.name != "simulate" or cell.settings.backend == "compiled":
                return 0
            if cell.settings.backend == "cuda":
                return 1
        elif not self.on_gpu:
            return 0
        return int(device == "cuda" or (device == "auto" and found))


TRAINED = ("torch", *NUMERICAL)
# a memory that may be used changes no number; how a linearised network is trained, none of another
MEMORY, LINEAR = ("ntk_memory",), ("linearisation",)

VERBS: Sequence[Verb] = (
    Verb(
        "simulate",
        of="simulate",
        entry="labelnoise.simulate.run:simulate_cell",
        libraries=NUMERICAL,
    ),
    Verb(
        "train",
        of="train",
        entry="labelnoise.train.run:train",
        libraries=(*TRAINED, "safetensors"),
        reads=("images",),
        unread=MEMORY + LINEAR,
        on_gpu=True,
    ),
    Verb(
        "linearize",
        of="simulate",
        entry="labelnoise.linearize.two_layer:linearize",
        libraries=NUMERICAL,
        unread=("neurons", "trace_steps", "trace_neurons", "reduce", "backend", "precision"),
    ),
    Verb(
        "linearize",
        of="train",
        entry="labelnoise.linearize.images:linearize",
        libraries=TRAINED,
        reads=("images",),
        unread=(*MEMORY, "ntk_drift", "measured_images"),
        on_gpu=True,
    ),
    Verb(
        "prune",
        of="train",
        entry="labelnoise.analyze.pruning:prune",
        libraries=TRAINED,
        reads=("images", "weights"),
        unread=MEMORY + LINEAR,
        thresholds=("channels_kept", "weights_kept"),
        on_gpu=True,
    ),
    Verb(
        "analyze",
        of="simulate",
        entry="labelnoise.analyze.summary:analyze",
        libraries=ARRAYS,
        per="cell",
        reads=("runs",),
        thresholds=("lazy_threshold", "alignment_onset"),
    ),
    Verb(
        "analyze",
        of="train",
        entry="labelnoise.analyze.training:analyze",
        libraries=ARRAYS,
        per="cell",
        reads=("runs",),
        unread=MEMORY + LINEAR,
    ),
)
"""Every verb, by the kind of experiment."""


def verb_of(name: str, kind: str) -> Verb:
    """The row of a verb for a kind of experiment.

    Raises:
        LookupError: there is none.
    """
    for row in VERBS:
        if (row.name, row.of) == (name, kind):
            return row
    raise LookupError(f"{name} is not done for experiments with verb: {kind}")


@functools.cache
def gpu_found() -> bool:
    """Whether this machine has an NVIDIA GPU, as its driver's tool tells."""
    return shutil.which("nvidia-smi") is not None

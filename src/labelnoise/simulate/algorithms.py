"""The algorithms that train a two-layer linear network: one value each, in one table.

What else an algorithm needs is its step in `rules` (torch, the reference), its kernel in `compiled`
or `blocks` and, where it has settings of its own, their fields in `settings`. Everything that has
to tell algorithms apart asks this table. It imports nothing: Snakemake reads it at every call.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

RULES = "labelnoise.simulate.rules"
KERNELS = "labelnoise.simulate.compiled"
BLOCKS = "labelnoise.simulate.blocks"

LABEL_NOISE = ("sigma", "noise", "schedule")
"""The settings of what steps on single samples: each has its label noise."""


@dataclass(frozen=True)
class Algorithm:
    """How a network is trained.

    Attributes:
        title: its name in words.
        stream: what a step reads: one sample and its label noise; the moments Σ̂ and ĉ of all
            samples; or these and the moves of the second layer's chain.
        reads: settings that it reads and not every algorithm does.
        step: the step in torch, as `module:function`.
        kernel: the compiled steps, as `module:function`.
        blocks: whether the kernel takes steps in blocks (`labelnoise.simulate.blocks`).
        arguments: settings whose values step and kernel take after η, in this order.
        memory: how many arrays of the state's shape it carries along, zero at the start.
        reduces: whether it changes [W | a] by a right multiplication that depends on PᵀP alone, so
            that the width reduces (`labelnoise.simulate.reduction`).
        linear_kernel: its steps on the network linearised at the start; None: not defined here.
        backends: what runs it.
        drive: the setting beside label noise that takes the network out of the lazy regime.
        plain: whether it is the label-noise SGD that Lemma 4.3 and Theorem 4.2 speak of.
    """

    title: str
    stream: Literal["samples", "moments", "chain"]
    reads: tuple[str, ...]
    step: str
    kernel: str
    blocks: bool = False
    arguments: tuple[str, ...] = ()
    memory: int = 0
    reduces: bool = True
    linear_kernel: str | None = None
    backends: tuple[str, ...] = ("compiled", "torch")
    drive: str | None = None
    plain: bool = False

    @property
    def decides(self) -> list[object]:
        """What of it decides a run's numbers, for the run's recipe."""
        return [
            *(self.stream, self.step, self.kernel, list(self.arguments), self.memory),
            *(self.reduces, self.linear_kernel),
        ]


ALGORITHMS: Mapping[str, Algorithm] = {
    "sgd": Algorithm(
        title="SGD",
        stream="samples",
        reads=LABEL_NOISE,
        step=f"{RULES}:sgd_step",
        kernel=f"{BLOCKS}:sgd",
        blocks=True,
        linear_kernel=f"{KERNELS}:linear",
        backends=("compiled", "torch", "cuda"),
        plain=True,
    ),
    "sam": Algorithm(
        title="SAM",
        stream="samples",
        reads=(*LABEL_NOISE, "rho"),
        step=f"{RULES}:sam_step",
        kernel=f"{BLOCKS}:sam",
        blocks=True,
        arguments=("rho",),
        backends=("compiled", "torch", "cuda"),
        drive="rho",
    ),
    "momentum": Algorithm(
        title="SGD with momentum",
        stream="samples",
        reads=(*LABEL_NOISE, "momentum"),
        step=f"{RULES}:momentum_step",
        kernel=f"{KERNELS}:momentum",
        arguments=("momentum",),
        memory=1,
    ),
    "gd": Algorithm(
        title="gradient descent",
        stream="moments",
        reads=(),
        step=f"{RULES}:gd_step",
        kernel=f"{KERNELS}:gd",
        linear_kernel=f"{KERNELS}:linear_gd",
    ),
    "oscillation": Algorithm(
        title="oscillating second layer",
        stream="chain",
        reads=("schedule", "delta", "transition"),
        step=f"{RULES}:oscillation_step",
        kernel=f"{KERNELS}:oscillate",
        reduces=False,
        drive="delta",
    ),
}
"""By the name that the configuration has."""

PARTICULAR = frozenset(name for algorithm in ALGORITHMS.values() for name in algorithm.reads)
"""Settings that not every algorithm reads."""

"""What a rule asks by its wildcards: functions that Snakemake calls for each job."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from labelnoise.config.load import Cell, Config

from . import layout
from .costs import Costs
from .recipes import Recipes
from .verbs import gpu_found, verb_of


class Wildcards(Protocol):
    """Those of a job for a cell; of a job for a block of its seeds, `block` too."""

    experiment: str
    cell: str


Asked = Callable[[Any], Any]
"""A function of a job's wildcards."""


@dataclass(frozen=True)
class Binding:
    """The jobs of a configuration, by their wildcards.

    Attributes:
        config: the checked configuration.
        recipes: its jobs' inputs and recipes.
    """

    config: Config
    recipes: Recipes

    def _job(self, wildcards: Wildcards) -> tuple[Cell, int | None]:
        block = getattr(wildcards, "block", None)
        return self.config.job(wildcards.experiment, wildcards.cell, block)

    def recipe(self, verb: str) -> Asked:
        """What decides a verb's result."""
        return lambda wildcards: self.recipes.job(verb, *self._job(wildcards))

    def inputs(self, verb: str) -> Asked:
        """The files that a verb reads, by name."""
        return lambda wildcards: self.recipes.inputs(verb, *self._job(wildcards))

    def gpus(self, verb: str) -> Asked:
        """How many GPUs a verb's job asks for."""

        def gpus(wildcards: Wildcards) -> int:
            cell, _ = self._job(wildcards)
            return verb_of(verb, cell.verb).gpus(cell, self.config.device, gpu_found())

        return gpus

    def ntk_memory(self, wildcards: Wildcards) -> int:
        """MiB that the Jacobians of an NTK may take: it changes no number, so it is no param."""
        cell, _ = self._job(wildcards)
        return int(getattr(cell.settings, "ntk_memory", 0))

    def _behind(self, figure: str) -> set[tuple[str, str]]:
        """The verbs that are done for a figure, each with an experiment that it is done for."""
        drawn = self.config.figures[figure]
        found = set()
        for cell in drawn.cells:
            for name in drawn.needs:
                if name != "linearize" or cell.is_linearized:
                    found.add((name, cell.experiment))
                    if {"runs", "weights"} & {*verb_of(name, cell.verb).reads}:
                        found.add((cell.verb, cell.experiment))
        return found

    @cached_property
    def order(self) -> list[str]:
        """The figures, the quick ones first, so that they come one after another."""
        costs, taken = Costs(), {}
        for figure in self.config.figures:
            pairs = self._behind(figure)
            taken[figure] = sum(
                costs.seconds(verb, cell, block)
                for verb, experiment in pairs
                for cell in self.config.cells[experiment]
                for block in (range(len(cell.blocks)) if verb != "analyze" else [None])
            )
        return sorted(taken, key=lambda figure: taken[figure])

    @cached_property
    def _urgency(self) -> dict[tuple[str, str], int]:
        """How urgent a verb's jobs for an experiment, or a figure, are; higher is sooner."""
        found: dict[tuple[str, str], int] = {}
        for place, figure in enumerate(reversed(self.order), 1):
            # what ends a figure goes before what another core could begin
            found[("plot", figure)] = 3 * place + 2
            for verb, experiment in self._behind(figure):
                found[(verb, experiment)] = 3 * place + (verb == "analyze")
        return found

    def priority(self, verb: str) -> Asked:
        """How urgent a verb's job is: the first figure's jobs first (`order`)."""
        return lambda wildcards: self._urgency.get((verb, wildcards.experiment), 0)

    def figure_priority(self, wildcards: Any) -> int:
        """How urgent it is to draw a figure."""
        return self._urgency[("plot", wildcards.figure)]

    @property
    def images_priority(self) -> int:
        """How urgent images are: every training waits for them."""
        return 3 * (len(self.config.figures) + 1)

    def seconds(self, costs: Costs, job: Any) -> float:
        """Seconds that a job of Snakemake's will take."""
        if hasattr(job.wildcards, "cell"):
            return costs.seconds(job.rule.name, *self._job(job.wildcards))
        return costs.other(job.rule.name)

    @staticmethod
    def made(job: Any) -> str:
        """What a person is told when a job has made a figure; nothing of other jobs."""
        if job.rule.name != "plot":
            return ""
        return f"{job.wildcards.figure}: {layout.figure(job.wildcards.figure)}.pdf"

    def figure_recipe(self, wildcards: Any) -> str:
        """What decides a figure."""
        return self.recipes.figure(wildcards.figure)

    def figure_inputs(self, wildcards: Any) -> list[str]:
        """The files that a figure reads."""
        return self.recipes.figure_inputs(wildcards.figure)

    def images_recipe(self, wildcards: Any) -> str:
        """What decides a source of images."""
        return self.recipes.images(wildcards.source)

    def images_inputs(self, wildcards: Any) -> list[str]:
        """What a source of images is read from."""
        return self.recipes.images_inputs(wildcards.source)

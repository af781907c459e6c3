"""What a rule asks by its wildcards: functions that Snakemake calls for each job."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from labelnoise.config.load import Cell, Config

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

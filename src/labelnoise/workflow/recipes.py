"""What each job needs to know: its input files, and its recipe, all that decides its result.

A recipe is the one param of a rule: Snakemake reruns a job when, and only when, this text or the
content of an input changes.
"""

import functools
import importlib.metadata
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelnoise.config.load import Cell, Config, ConfigError
from labelnoise.simulate.settings import Settings
from labelnoise.train.sources import CIFAR10_SHA256, CIFAR10_URL

from . import layout
from .digests import code_digest, foreign_digest
from .verbs import CHOSEN, DRAWN, MEMORY, SAVED, verb_of

SOURCES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "digits": ("labelnoise.train.images:digits", ("scikit-learn", "numpy", "xarray", "netCDF4")),
    "cifar10": (
        "labelnoise.train.archives:read_cifar10",
        ("pillow", "numpy", "xarray", "netCDF4"),
    ),
}
"""What reads each source of images, and the libraries that decide the result."""


@functools.cache
def _version(library: str) -> str:
    return importlib.metadata.version(library)


def canonical(content: Mapping[str, Any]) -> str:
    """JSON whose text depends on the content alone."""
    return json.dumps(content, sort_keys=True, ensure_ascii=False)


def read_settings(cell: Cell, unread: Iterable[str] = ()) -> dict[str, Any]:
    """The settings that decide a cell's result: those that its algorithm reads.

    Args:
        cell: the cell.
        unread: what decides nothing of the verb.
    """
    skipped = {*unread}
    if isinstance(cell.settings, Settings):
        skipped |= cell.settings.unread
    return cell.settings.model_dump(mode="json", exclude=skipped)


def describe(cell: Cell, unread: Iterable[str] = ()) -> dict[str, Any]:
    """A cell, as recipes have it."""
    return {
        "experiment": cell.experiment,
        "experiment_verb": cell.verb,
        # pairs, since JSON's keys have no order and a path's have one
        "grid": [list(pair) for pair in cell.grid.items()],
        "together": dict(cell.together),
        "settings": read_settings(cell, unread),
    }


def drawn_code(module: str) -> list[str]:
    """The entry points of the code that draws a figure."""
    figure = f"labelnoise.plot.figures.{module}"
    return [f"{figure}:draw", f"{figure}:Options", "labelnoise.plot.parts.style:save"]


@dataclass(frozen=True)
class Recipes:
    """The inputs and recipes of the jobs of one configuration.

    Attributes:
        config: the checked configuration.
        scripts: folder of the rules' scripts, which decide their results, too.
    """

    config: Config
    scripts: Path

    def _recipe(
        self, script: str, code: Iterable[str], libraries: Iterable[str], **content: Any
    ) -> str:
        digest = _code(self.scripts / f"{script}.py", tuple(code))
        versions = {name: _version(name) for name in libraries}
        return canonical(content | {"code": digest, "libraries": versions})

    def job(self, name: str, cell: Cell, block: int | None = None) -> str:
        """The recipe of a verb's job for a cell, or for a block of its seeds."""
        verb = verb_of(name, cell.verb)
        content = describe(cell, verb.unread)
        if block is not None:
            content["seeds"] = cell.blocks[block]
        if verb.thresholds:
            chosen = {*verb.thresholds}
            content["analysis"] = self.config.analysis.model_dump(mode="json", include=chosen)
        if isinstance(cell.settings, Settings):
            content["algorithm"] = cell.settings.rule.decides
        elif cell.settings.own_network:
            content["network_code"] = foreign_digest(cell.settings.network)
        return self._recipe(name, verb.code(cell), verb.uses(cell), **content)

    def inputs(self, name: str, cell: Cell, block: int | None = None) -> dict[str, str | list[str]]:
        """The files that a verb's job reads, by what they are (`Verb.reads`)."""
        verb = verb_of(name, cell.verb)
        found: dict[str, str | list[str]] = {}
        if "images" in verb.reads and not isinstance(cell.settings, Settings):
            found["images"] = f"{layout.images(cell.settings.source)}.nc"
        if "weights" in verb.reads and block is not None:
            stem = layout.block("train", cell.experiment, cell.path, block)
            found["weights"] = f"{stem}.safetensors"
        if "runs" in verb.reads:
            found["runs"] = self._own_files(cell.verb, cell)
        return found

    def files(self, name: str, cell: Cell) -> list[str]:
        """The data files that hold what a verb makes of a cell: those of the cell's home."""
        return self._own_files(name, self.config.home(cell))

    @staticmethod
    def _own_files(name: str, cell: Cell) -> list[str]:
        if verb_of(name, cell.verb).per == "cell":
            return [f"{layout.analysis(cell.experiment, cell.path)}.nc"]
        stems = (layout.block(name, cell.experiment, cell.path, n) for n in range(len(cell.blocks)))
        return [f"{stem}.nc" for stem in stems]

    def _read_by(self, figure: str, cell: Cell) -> dict[str, list[str]]:
        """The files of a cell that a figure reads, by the verb that makes them."""
        return {
            verb: self.files(verb, cell)
            for verb in self.config.figures[figure].needs
            if verb != "linearize" or cell.is_linearized
        }

    def _drawn(self, figure: str, cell: Cell) -> dict[str, Any]:
        """A cell, as the recipe of a figure has it."""
        content = describe(cell, MEMORY)
        content |= {"blocks": cell.blocks, "files": self._read_by(figure, cell)}
        home = self.config.home(cell)
        return content if home is cell else content | {"same_as": describe(home, MEMORY)}

    def figure(self, name: str) -> str:
        """The recipe of a figure."""
        figure = self.config.figures[name]
        return self._recipe(
            "plot",
            drawn_code(figure.drawn_by),
            DRAWN,
            drawn_by=figure.drawn_by,
            options=figure.options,
            cells=[self._drawn(name, cell) for cell in figure.cells],
        )

    def figure_inputs(self, name: str) -> list[str]:
        """The files that a figure reads."""
        return [
            path
            for cell in self.config.figures[name].cells
            for paths in self._read_by(name, cell).values()
            for path in paths
        ]

    def lost(self, name: str) -> list[str]:
        """The files that a figure which is made was drawn from, and that are no longer there.

        Snakemake asks for no file that only finished jobs have read: a target that lists these has
        them made again.
        """
        if not all(Path(path).is_file() for path in layout.figure_files(name)):
            return []
        return [path for path in self.figure_inputs(name) if not Path(path).is_file()]

    def images_inputs(self, source: str) -> list[str]:
        """What a source of images is read from: the CIFAR-10 archive, given or downloaded.

        Raises:
            ConfigError: the given one is no file.
        """
        if source == "digits":
            return []
        if self.config.images.cifar10 is None:
            return [layout.CIFAR10_ARCHIVE]
        archive = Path(self.config.images.cifar10).expanduser()
        if not archive.is_file():
            found = "is a folder; give" if archive.is_dir() else "is no file; give"
            raise ConfigError(
                f"images.cifar10: {archive} {found} the path of a CIFAR-10 archive (.tar.gz), or "
                "leave the key out to download the official one"
            )
        return [str(archive)]

    def images(self, source: str) -> str:
        """The recipe of a source of images."""
        entry, libraries = SOURCES[source]
        return self._recipe("images", [entry, SAVED], libraries, source=source)

    @staticmethod
    def download() -> str:
        """The recipe of the official archive: its checksum decides it, not how it is fetched."""
        return canonical({"sha256": CIFAR10_SHA256, "url": CIFAR10_URL})


@functools.cache
def _code(script: Path, entries: tuple[str, ...]) -> str:
    return code_digest(script, entries, CHOSEN)

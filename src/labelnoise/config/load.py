"""The configuration: experiments, their grids, and the figures that draw them.

The models (`models`, and the `Settings` of each verb) are the one source of defaults, ranges, the
JSON schema and the configuration reference in the docs. `load` turns what Snakemake read from YAML
into a `Config`, or raises `ConfigError` with one line for each mistake: the key, the value found
and what would be right.
"""

import importlib
import itertools
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from labelnoise.simulate.settings import Settings
from labelnoise.train.settings import TrainSettings

from .models import RULES, Analysis, Experiment, FigureEntry, File, Images, Tracking
from .validation import check, show, suggest

SETTINGS: Mapping[str, type[Settings] | type[TrainSettings]] = {
    "simulate": Settings,
    "train": TrainSettings,
}
"""What is set for each cell of an experiment, by its verb."""


class ConfigError(ValueError):
    """A configuration that cannot be run; one line for each mistake."""


@dataclass(frozen=True)
class Cell:
    """One point of an experiment's grid.

    Attributes:
        experiment: name of the experiment.
        verb: what is done for it, a key of `SETTINGS`.
        grid: the parameters that the path spells, in the order of the grid.
        settings: all settings, defaults filled in (of the first point, where there are more).
        blocks: the seeds of each job; the last block may be short.
        together: the setting that varies within the cell, and its values; empty for one point.
    """

    experiment: str
    verb: str
    grid: Mapping[str, object]
    settings: Settings | TrainSettings
    blocks: tuple[tuple[int, ...], ...]
    together: Mapping[str, list[object]]

    @property
    def is_linearized(self) -> bool:
        """Whether it has a linearised run to be set beside."""
        return self.settings.is_linearized

    @cached_property
    def essence(self) -> str:
        """What decides its runs, whatever its experiment is called: equal texts, equal runs."""
        return json.dumps(
            [self.verb, self.settings.essence, self.blocks, dict(self.together)], sort_keys=True
        )

    @cached_property
    def path(self) -> str:
        """`sigma=4.0/eta=0.001`; `single` for an experiment without a grid."""
        return "/".join(f"{key}={value}" for key, value in self.grid.items()) or "single"


@dataclass(frozen=True)
class Figure:
    """A checked figure.

    Attributes:
        drawn_by: module of `labelnoise.plot.figures`.
        cells: the cells of its experiments, in their order.
        options: the module's options, defaults filled in.
        needs: the verbs whose files it reads.
    """

    drawn_by: str
    cells: tuple[Cell, ...]
    options: Mapping[str, Any]
    needs: tuple[str, ...]


@dataclass(frozen=True)
class Config:
    """A checked configuration, its grids expanded."""

    cells: Mapping[str, tuple[Cell, ...]]
    figures: Mapping[str, Figure]
    analysis: Analysis
    images: Images
    tracking: Tracking
    device: Literal["auto", "cpu", "cuda"]

    @cached_property
    def _by_path(self) -> dict[tuple[str, str], Cell]:
        every = (cell for cells in self.cells.values() for cell in cells)
        return {(cell.experiment, cell.path): cell for cell in every}

    @cached_property
    def _homes(self) -> dict[str, Cell]:
        found: dict[str, Cell] = {}
        for cells in self.cells.values():
            for cell in cells:
                found.setdefault(cell.essence, cell)
        return found

    def home(self, cell: Cell) -> Cell:
        """The cell whose files hold a cell's runs: the first one that computes the same.

        A run that two experiments share, as the undisturbed network of Figures 3 and 5, is computed
        once.
        """
        return self._homes[cell.essence]

    def job(self, experiment: str, path: str, block: str | None) -> tuple[Cell, int | None]:
        """The cell of an experiment with this path, and the number of a block of its seeds.

        Raises:
            LookupError: there is no such cell, or no such block.
        """
        cell = self._by_path.get((experiment, path))
        if cell is None:
            paths = [cell.path for cell in self.cells[experiment]]
            raise LookupError(f"experiment {experiment} has no cell {path}; {suggest(path, paths)}")
        if block is None:
            return cell, None
        if int(block) >= len(cell.blocks):
            raise LookupError(
                f"{experiment}/{path} has no block {block} of seeds; the last one is "
                f"{len(cell.blocks) - 1}"
            )
        return cell, int(block)


def _expand(name: str, experiment: Experiment, problems: list[str]) -> tuple[Cell, ...]:
    where = f"experiments.{name}"
    for key in experiment.grid.keys() & experiment.settings.keys():
        problems.append(f"{where}.grid.{key}: also fixed in {where}.settings; keep one of the two")
    seeds = experiment.seeds
    if isinstance(seeds, int):
        seeds = list(range(seeds))
    elif len(set(seeds)) < len(seeds):
        problems.append(f"{where}.seeds: {show(seeds)} repeats a seed; list each one once")
    size = experiment.seeds_per_job
    blocks = tuple(tuple(seeds[i : i + size]) for i in range(0, len(seeds), size))

    axis = experiment.together
    if axis is not None and experiment.verb != "simulate":
        problems.append(f"{where}.together: has no place beside verb: {experiment.verb}")
        return ()
    if axis is not None and axis not in experiment.grid:
        hint = suggest(axis, experiment.grid)
        problems.append(f"{where}.together: {show(axis)} is not in the grid; {hint}")
        return ()
    outer = [key for key in experiment.grid if key != axis]
    cells: dict[str, Cell] = {}
    seen: set[str] = set()
    for values in itertools.product(*(experiment.grid[key] for key in outer)):
        points = []
        for value in experiment.grid[axis] if axis else [None]:
            point = dict(zip(outer, values, strict=True)) | ({axis: value} if axis else {})
            settings = _check_point(where, experiment, point, problems)
            if settings is not None:
                points.append(settings)
                spelled = "/".join(f"{key}={getattr(settings, key)}" for key in point)
                if spelled in seen:
                    problems.append(
                        f"{where}.grid: the cell {spelled} comes twice; list each value once"
                    )
                seen.add(spelled)
        if points:
            grid = {key: getattr(points[0], key) for key in outer}
            together: dict[str, list[object]] = {}
            if axis:
                together[axis] = [getattr(point, axis) for point in points]
            cell = Cell(name, experiment.verb, grid, points[0], blocks, together)
            cells[cell.path] = cell
    return tuple(cells.values())


def _check_point(
    where: str, experiment: Experiment, point: Mapping[str, object], problems: list[str]
) -> Settings | TrainSettings | None:
    """The settings of one point of a grid; a mistake is said once, under the key it is in."""
    for key, value in point.items():
        if not isinstance(value, str | int | float):
            line = f"{where}.grid.{key}: {show(value)} is not a single value; the path spells it"
            if line not in problems:
                problems.append(line)
            return None
    found: list[str] = []
    model: type[Settings] | type[TrainSettings] = SETTINGS[experiment.verb]
    settings = check(model, experiment.settings | dict(point), where, found)
    for problem in found:
        key, _, rest = problem.removeprefix(f"{where}.").partition(":")
        part = (
            "grid."
            if key in {name or '""' for name in point}
            else "settings."
            if problem[len(where)] == "."
            else ""
        )
        line = f"{where}.{part}{key}:{rest}" if part else problem
        if line not in problems:
            problems.append(line)
    return settings


def plot_modules() -> list[str]:
    """Names of the figure modules, what is in `labelnoise.plot.figures`."""
    files = (Path(__file__).parents[1] / "plot" / "figures").glob("[!_]*.py")
    return sorted(file.stem for file in files)


def _check_figure(
    name: str,
    entry: FigureEntry,
    experiments: Collection[object],
    removed: Collection[object],
    cells: Mapping[str, tuple[Cell, ...]],
    problems: list[str],
) -> Figure | None:
    """Check what a figure names; its options come back with the module's defaults filled in."""
    where = f"figures.{name}"
    for experiment in entry.experiments:
        if experiment in removed:
            problems.append(
                f"{where}.experiments: {experiment} is taken out (experiments.{experiment} is "
                f"null); take it out here too, or set {where}: null"
            )
        elif experiments and experiment not in experiments:
            hint = suggest(experiment, experiments)
            problems.append(f"{where}.experiments: no experiment {show(experiment)}; {hint}")
    if len(set(entry.experiments)) < len(entry.experiments):
        found = show(entry.experiments)
        problems.append(f"{where}.experiments: {found} repeats one; list each once")
    module = entry.drawn_by or name
    if module not in plot_modules():
        key = f"{where}.drawn_by" if entry.drawn_by else where
        hint = suggest(module, plot_modules())
        problems.append(f"{key}: no module {show(module)} in labelnoise.plot.figures; {hint}")
        return None
    drawn_by = importlib.import_module(f"labelnoise.plot.figures.{module}")
    options = check(drawn_by.Options, entry.options, f"{where}.options", problems)
    drawn = [cell for experiment in entry.experiments for cell in cells.get(experiment, ())]
    # a table may have rows about experiments of more than one verb
    verbs = (drawn_by.VERB,) if isinstance(drawn_by.VERB, str) else tuple(drawn_by.VERB)
    for other in {cell.experiment: cell.verb for cell in drawn if cell.verb not in verbs}:
        problems.append(
            f"{where}.experiments: {module} draws experiments with verb: {' or '.join(verbs)}; "
            f"{other} has another"
        )
    if "prune" in drawn_by.NEEDS:
        for cell in drawn:
            if isinstance(cell.settings, TrainSettings) and cell.settings.network != "resnet":
                problems.append(
                    f"{where}.experiments: {module} prunes networks, and only a resnet can be; "
                    f"{cell.experiment}/{cell.path} has network {cell.settings.network}"
                )
    if "linearize" in drawn_by.NEEDS and "simulate" in verbs:
        unlike = [c for c in drawn if c.verb == "simulate" and not c.is_linearized]
        for algorithm in sorted({c.settings.algorithm for c in unlike}):
            problems.append(f"{where}.experiments: algorithm {algorithm} has no linearised run")
    filled = options.model_dump(mode="json") if options else {}
    # what is wrong with an experiment or its verb is said once, not what follows from it
    wrong = tuple(f"experiments.{name}{end}" for name in entry.experiments for end in ".:")
    if options and drawn and not any(line.startswith((*wrong, f"{where}.")) for line in problems):
        problems += [f"{where}.{line}" for line in drawn_by.check(drawn, options)]
    return Figure(module, tuple(drawn), filled, tuple(drawn_by.NEEDS))


def load(raw: Mapping[str, Any]) -> Config:
    """Check a configuration and expand its grids.

    Args:
        raw: the configuration as read from YAML; an experiment, a figure or a key of a grid that is
            null is taken out.

    Raises:
        ConfigError: with one line for each mistake.
    """
    problems: list[str] = []
    sections = {key: value for key, value in raw.items() if key not in ("experiments", "figures")}
    nested: dict[str, dict[str, Any]] = {"experiments": {}, "figures": {}}
    removed: set[object] = set()
    for section, model in (("experiments", Experiment), ("figures", FigureEntry)):
        given = raw.get(section)
        if not isinstance(given, Mapping) or all(value is None for value in given.values()):
            found = f"got {show(raw[section])}" if section in raw else "is missing"
            problems.append(f"{section}: {found}; give at least one, as a mapping of names to keys")
            continue
        for name, value in given.items():
            if value is None:  # an overlay takes it out
                removed |= {name} if section == "experiments" else set()
                continue
            if name in RULES:
                problems.append(f"{section}.{name}: {name} is a rule of the workflow; rename it")
            if isinstance(value, Mapping) and isinstance(value.get("grid"), Mapping):
                grid = {key: values for key, values in value["grid"].items() if values is not None}
                value = {**value, "grid": grid}
            nested[section][name] = check(model, value, f"{section}.{name}", problems)
    top = check(File, sections | {"experiments": {}, "figures": {}}, "", problems)
    for section, entries in nested.items():
        check(
            File,
            {"experiments": {}, "figures": {}, section: {k: v for k, v in entries.items() if v}},
            "",
            problems,
        )
    cells = {k: _expand(k, v, problems) for k, v in nested["experiments"].items() if v}
    entries = {k: v for k, v in nested["figures"].items() if v}
    # one that is there but wrong is not said to be missing
    names = nested["experiments"].keys()
    checked = {k: _check_figure(k, v, names, removed, cells, problems) for k, v in entries.items()}
    if problems or top is None:
        raise ConfigError("\n".join(problems))
    figures = {name: figure for name, figure in checked.items() if figure}
    return Config(cells, figures, top.analysis, top.images, top.tracking, top.device)


def schema() -> dict[str, Any]:
    """The JSON schema of a configuration file, for editors: settings and grids included."""
    document = File.model_json_schema()
    settings: dict[str, Any] = {}
    for model in SETTINGS.values():
        for key, field in model.model_json_schema()["properties"].items():
            # a key of two verbs may be either's
            settings[key] = {"anyOf": [settings[key], field]} if key in settings else field
    experiment = document["$defs"]["Experiment"]["properties"]
    for key in ("settings", "grid"):
        experiment[key].update(
            additionalProperties=False,
            properties=settings
            if key == "settings"
            else {
                name: {"type": ["array", "null"], "minItems": 1, "items": item}
                for name, item in settings.items()
            },
        )
    document["title"] = "labelnoise configuration"
    # an overlay file (config/smoke.yaml) holds only what differs, and takes out what is null
    for section in ("experiments", "figures"):
        for part in ("additionalProperties", "patternProperties"):
            forms = document["properties"][section].get(part)
            if isinstance(forms, dict):
                node = {"": forms} if part == "additionalProperties" else forms
                for pattern, form in node.items():
                    node[pattern] = {"anyOf": [form, {"type": "null"}]}
                if part == "additionalProperties":
                    document["properties"][section][part] = node[""]
    for definition in (document, *document["$defs"].values()):
        definition.pop("required", None)
    return document

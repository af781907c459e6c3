"""The configuration: experiments, their grids, and the figures that draw them.

The models here (and the `Settings` of each verb) are the one source of defaults, ranges, the JSON
schema and the configuration reference in the docs. `load` turns what Snakemake read from YAML into
a `Config`, or raises `ConfigError` with one line for each mistake: the key, the value found and
what would be right.
"""

import difflib
import importlib
import itertools
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationError,
)

from .linearize import LINEARIZED
from .simulate.settings import Count, Real, Settings

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=60)]
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**32)]
# tagged, so that a mistake is reported against the one form that was meant
Seeds = Annotated[
    Annotated[int, Field(strict=True, ge=1, lt=2**20), Tag("(count)")]
    | Annotated[list[Seed], Field(min_length=1), Tag("(list)")],
    Discriminator(lambda value: "(list)" if isinstance(value, list) else "(count)"),
]


class ConfigError(ValueError):
    """A configuration that cannot be run; one line for each mistake."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Experiment(_Model):
    """A grid of cells that share a verb and fixed settings, each run for every seed."""

    verb: Literal["simulate"] = Field(description="what is done for each cell")
    description: str = Field(default="", description="one line on what it is for")
    settings: dict[str, Any] = Field(
        default={}, description="fixed settings; what is left out has its default"
    )
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(
        default={}, description="settings and their values; a cell for each combination"
    )
    seeds: Seeds = Field(default=8, description="how many seeds (0, 1, …), or a list of them")
    seeds_per_job: Count = Field(default=4, description="seeds that share a job and a file")
    together: Literal["eta", "sigma", "rho", "delta", "theta_star_norm"] | None = Field(
        default=None,
        description="a setting of the grid whose values share jobs and files, along a dimension of "
        "their own: for grids of very many short runs",
    )


class FigureEntry(_Model):
    """A figure: the module that draws it and the experiments that it draws."""

    description: str = Field(default="", description="one line on what it shows, for the report")
    drawn_by: Name | None = Field(
        default=None, description="module of `labelnoise.plot`; the figure's own name if left out"
    )
    experiments: Annotated[list[Name], Field(min_length=1)] = Field(
        description="experiments whose cells are drawn"
    )
    options: dict[str, Any] = Field(default={}, description="the module's `Options`")


class Analysis(_Model):
    """Thresholds of the analysis."""

    lazy_threshold: Real = Field(
        default=0.1,
        gt=0,
        description="a neuron has left the lazy regime when ‖w_i(t) − w_i(0)‖/‖w_i(0)‖ exceeds it",
    )
    alignment_onset: Real = Field(
        default=0.25,
        gt=0,
        lt=1,
        description="Phase II starts when the mean alignment has gone this share of its way to 1",
    )


class Tracking(_Model):
    """Where MLflow runs are kept."""

    enabled: Annotated[bool, Field(strict=True)] = Field(
        default=True, description="log finished artifacts when the workflow ends"
    )
    uri: str | None = Field(
        default=None,
        description="tracking store; MLFLOW_TRACKING_URI wins, left out: SQLite under results/",
    )


class _File(_Model):
    experiments: dict[Name, Experiment] = Field(description="experiments by name")
    figures: dict[Name, FigureEntry] = Field(description="figures by name; each is a target")
    analysis: Analysis = Field(default=Analysis(), description="thresholds of the analysis")
    tracking: Tracking = Field(default=Tracking(), description="where MLflow runs are kept")
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="device of torch code; auto: a GPU where there is one"
    )


@dataclass(frozen=True)
class Cell:
    """One point of an experiment's grid.

    Attributes:
        experiment: name of the experiment.
        grid: the parameters that the path spells, in the order of the grid.
        settings: all settings, defaults filled in (of the first point, where there are more).
        blocks: the seeds of each job; the last block may be short.
        together: the setting that varies within the cell, and its values; empty for one point.
    """

    experiment: str
    grid: Mapping[str, object]
    settings: Settings
    blocks: tuple[tuple[int, ...], ...]
    together: Mapping[str, list[object]]

    @cached_property
    def path(self) -> str:
        """`sigma=4.0/eta=0.001`; `single` for an experiment without a grid."""
        return "/".join(f"{key}={value}" for key, value in self.grid.items()) or "single"


@dataclass(frozen=True)
class Figure:
    """A checked figure.

    Attributes:
        drawn_by: module of `labelnoise.plot`.
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
    tracking: Tracking
    device: Literal["auto", "cpu", "cuda"]

    def cell(self, experiment: str, path: str) -> Cell:
        """The cell of an experiment with this path."""
        return next(cell for cell in self.cells[experiment] if cell.path == path)


_M = TypeVar("_M", bound=BaseModel)


def _suggest(key: object, known: Iterable[object]) -> str:
    names = sorted(map(str, known))
    close = difflib.get_close_matches(str(key), names, n=1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(names)}"


def _show(value: object) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except TypeError:  # YAML has keys that JSON has not, such as dates
        text = str(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _check(model: type[_M], value: object, where: str, problems: list[str]) -> _M | None:
    """Validate `value`; what is wrong goes to `problems`, prefixed with the key's full name."""
    if not isinstance(value, Mapping):
        problems.append(f"{where}: {_show(value)} is not a mapping of keys to values")
        return None
    try:
        return model.model_validate(dict(value))
    except ValidationError as error:
        for detail in error.errors():
            # pydantic adds the form of `Seeds` it took, and '[key]' after a bad key of a mapping
            parts = [part for part in detail["loc"] if part not in ("(count)", "(list)")]
            if parts[-1:] == ["[key]"] and detail["type"] != "extra_forbidden":
                parts.pop()
            location = [str(part) for part in parts]
            key = ".".join(filter(None, [where, *location]))
            if detail["type"] == "extra_forbidden":
                owner: Any = model
                for part in location[:-1]:
                    annotation = owner.model_fields[part].annotation
                    # the model itself, or the model of `Model | None`
                    owner = next(
                        (m for m in get_args(annotation) if m is not type(None)), annotation
                    )
                hint = _suggest(location[-1], owner.model_fields)
                problems.append(f"{key}: no such key; {hint}")
            elif detail["type"] == "missing":
                problems.append(f"{key}: is missing")
            elif detail["type"] == "value_error":
                problems.append(f"{key}: {detail['ctx']['error']}")
            else:
                problems.append(f"{key}: got {_show(detail['input'])}; {detail['msg']}")
        return None


def _expand(name: str, experiment: Experiment, problems: list[str]) -> tuple[Cell, ...]:
    where = f"experiments.{name}"
    for key in experiment.grid.keys() & experiment.settings.keys():
        problems.append(f"{where}.grid.{key}: also fixed in {where}.settings; keep one of the two")
    seeds = experiment.seeds
    if isinstance(seeds, int):
        seeds = list(range(seeds))
    elif len(set(seeds)) < len(seeds):
        problems.append(f"{where}.seeds: {_show(seeds)} repeats a seed; list each one once")
    size = experiment.seeds_per_job
    blocks = tuple(tuple(seeds[i : i + size]) for i in range(0, len(seeds), size))

    axis = experiment.together
    if axis is not None and axis not in experiment.grid:
        hint = _suggest(axis, experiment.grid)
        problems.append(f"{where}.together: {_show(axis)} is not in the grid; {hint}")
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
            cell = Cell(name, grid, points[0], blocks, together)
            cells[cell.path] = cell
    return tuple(cells.values())


def _check_point(
    where: str, experiment: Experiment, point: Mapping[str, object], problems: list[str]
) -> Settings | None:
    """The settings of one point of a grid; a mistake is said once, under the key it is in."""
    for key, value in point.items():
        if not isinstance(value, str | int | float):
            line = f"{where}.grid.{key}: {_show(value)} is not a single value; the path spells it"
            if line not in problems:
                problems.append(line)
            return None
    found: list[str] = []
    settings = _check(Settings, experiment.settings | dict(point), where, found)
    for problem in found:
        key, _, rest = problem.removeprefix(f"{where}.").partition(":")
        part = "grid." if key in point else "settings." if problem[len(where)] == "." else ""
        line = f"{where}.{part}{key}:{rest}" if part else problem
        if line not in problems:
            problems.append(line)
    return settings


def plot_modules() -> list[str]:
    """Names of the figure modules: what is in `labelnoise.plot` and has `Options` and `draw`."""
    files = (Path(__file__).parent / "plot").glob("*.py")
    return sorted(f.stem for f in files if "\ndef draw(" in f.read_text(encoding="utf-8"))


def _check_figure(
    name: str,
    entry: FigureEntry,
    experiments: Collection[object],
    cells: Mapping[str, tuple[Cell, ...]],
    problems: list[str],
) -> Figure | None:
    """Check what a figure names; its options come back with the module's defaults filled in."""
    where = f"figures.{name}"
    for experiment in entry.experiments:
        if experiments and experiment not in experiments:
            hint = _suggest(experiment, experiments)
            problems.append(f"{where}.experiments: no experiment {_show(experiment)}; {hint}")
    if len(set(entry.experiments)) < len(entry.experiments):
        found = _show(entry.experiments)
        problems.append(f"{where}.experiments: {found} repeats one; list each once")
    module = entry.drawn_by or name
    if module not in plot_modules():
        key = f"{where}.drawn_by" if entry.drawn_by else where
        hint = _suggest(module, plot_modules())
        problems.append(f"{key}: no module {_show(module)} in labelnoise.plot; {hint}")
        return None
    drawn_by = importlib.import_module(f"labelnoise.plot.{module}")
    options = _check(drawn_by.Options, entry.options, f"{where}.options", problems)
    drawn = [cell for experiment in entry.experiments for cell in cells.get(experiment, ())]
    if "linearize" in drawn_by.NEEDS:
        for algorithm in sorted({cell.settings.algorithm for cell in drawn} - set(LINEARIZED)):
            problems.append(
                f"{where}.experiments: algorithm {algorithm} has no linearised run; "
                f"{' and '.join(LINEARIZED)} have"
            )
    filled = options.model_dump(mode="json") if options else {}
    return Figure(module, tuple(drawn), filled, tuple(drawn_by.NEEDS))


def load(raw: Mapping[str, Any]) -> Config:
    """Check a configuration and expand its grids.

    Args:
        raw: the configuration as read from YAML.

    Raises:
        ConfigError: with one line for each mistake.
    """
    problems: list[str] = []
    sections = {key: value for key, value in raw.items() if key not in ("experiments", "figures")}
    nested: dict[str, dict[str, Any]] = {"experiments": {}, "figures": {}}
    for section, model in (("experiments", Experiment), ("figures", FigureEntry)):
        if not isinstance(raw.get(section), Mapping) or not raw[section]:
            problems.append(f"{section}: give at least one, as a mapping of names to entries")
            continue
        for name, value in raw[section].items():
            nested[section][name] = _check(model, value, f"{section}.{name}", problems)
    top = _check(_File, sections | {"experiments": {}, "figures": {}}, "", problems)
    for section, entries in nested.items():
        _check(
            _File,
            {"experiments": {}, "figures": {}, section: {k: v for k, v in entries.items() if v}},
            "",
            problems,
        )
    cells = {k: _expand(k, v, problems) for k, v in nested["experiments"].items() if v}
    entries = {k: v for k, v in nested["figures"].items() if v}
    # one that is there but wrong is not said to be missing
    names = nested["experiments"].keys()
    checked = {k: _check_figure(k, v, names, cells, problems) for k, v in entries.items()}
    if problems or top is None:
        raise ConfigError("\n".join(problems))
    figures = {name: figure for name, figure in checked.items() if figure}
    return Config(cells, figures, top.analysis, top.tracking, top.device)


def schema() -> dict[str, Any]:
    """The JSON schema of a configuration file, for editors: settings and grids included."""
    document = _File.model_json_schema()
    settings = Settings.model_json_schema()["properties"]
    experiment = document["$defs"]["Experiment"]["properties"]
    for key in ("settings", "grid"):
        experiment[key].update(
            additionalProperties=False,
            properties=settings
            if key == "settings"
            else {
                name: {"type": "array", "minItems": 1, "items": item}
                for name, item in settings.items()
            },
        )
    document["title"] = "labelnoise configuration"
    # an overlay file (config/smoke.yaml) holds only what differs
    for definition in (document, *document["$defs"].values()):
        definition.pop("required", None)
    return document

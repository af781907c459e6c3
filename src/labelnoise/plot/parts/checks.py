"""What a figure is asked before any job starts: whether it can draw these cells.

The `check` of each figure module is given the configured cells and its options, and gives a line
for each reason why they cannot be drawn; a line begins with the key that the figure is to change.
Nothing is imported here that is slow to import: every call of Snakemake reads the configuration.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from pydantic import BaseModel

from .style import NOISE, UNDISTURBED, disturbance, strength


class Planned(Protocol):
    """What a check sees of a configured cell."""

    @property
    def experiment(self) -> str:
        """Name of the experiment."""

    @property
    def grid(self) -> Mapping[str, Any]:
        """The parameters that tell the cell from the others."""

    @property
    def settings(self) -> BaseModel:
        """All settings."""

    @property
    def together(self) -> Mapping[str, Sequence[Any]]:
        """The setting that varies within the cell, and its values; empty for one point."""

    @property
    def is_linearized(self) -> bool:
        """Whether it has a linearised run to be set beside."""


def by_experiment(cells: Sequence[Planned]) -> dict[str, list[Planned]]:
    """The cells of each experiment."""
    found: dict[str, list[Planned]] = {}
    for cell in cells:
        found.setdefault(cell.experiment, []).append(cell)
    return found


def varied(cells: Sequence[Planned]) -> dict[str, list[Any]]:
    """The settings that the grid of these cells (of one experiment) is over, and their values."""
    found: dict[str, list[Any]] = {}
    for cell in cells:
        for name, value in cell.grid.items():
            found.setdefault(name, []).append(value)
        for name, values in cell.together.items():
            found.setdefault(name, []).extend(values)
    return {name: list(dict.fromkeys(values)) for name, values in found.items()}


def several(cells: Sequence[Planned]) -> dict[str, list[Any]]:
    """Those of `varied` that have more than one value."""
    return {name: values for name, values in varied(cells).items() if len(values) > 1}


def all_of(cell: Planned) -> dict[str, Any]:
    """All settings of a cell, as `draw` is given them."""
    return cell.settings.model_dump(mode="json")


def values_of(cells: Sequence[Planned], name: str) -> list[Any]:
    """The values that a setting has in these cells."""
    return list(dict.fromkeys(getattr(cell.settings, name) for cell in cells))


def single(cells: Sequence[Planned], figure: str) -> list[str]:
    """Refuse cells that are more than one point: a figure that averages would average them all."""
    return [
        f"experiments: {name} has together: {', '.join(group[0].together)}; {figure} draws one "
        f"value a cell; leave {name}.together out"
        for name, group in by_experiment(cells).items()
        if group[0].together
    ]


def told_apart(cells: Sequence[Planned], figure: str) -> list[str]:
    """Refuse more lines than there are colours, and cells that are more than one point."""
    disturbed = [disturbance(all_of(cell)) is not None for cell in cells]
    counts = {
        "": (disturbed.count(True), len(NOISE)),
        "undisturbed ": (disturbed.count(False), len(UNDISTURBED)),
    }
    return single(cells, figure) + [
        f"experiments: {count} {kind}lines cannot be told apart in {figure}; at most {most} can: "
        "shorten the grid, or make two figures"
        for kind, (count, most) in counts.items()
        if count > most
    ]


def only(
    cells: Sequence[Planned], name: str, allowed: Collection[Any], figure: str, why: str = ""
) -> list[str]:
    """Refuse experiments in which a setting has another value than these."""
    problems = []
    for experiment, group in by_experiment(cells).items():
        for value in values_of(group, name):
            if value not in allowed:
                right = " or ".join(map(str, allowed))
                problems.append(
                    f"experiments: {experiment} has {name}: {value}; {figure} needs {right}"
                    + (f", {why}" if why else "")
                )
    return problems


def not_positive(experiment: str, name: str, values: Sequence[float], figure: str) -> list[str]:
    """Refuse values that have no place on a logarithmic axis."""
    if min(values) > 0:
        return []
    return [
        f"experiments: {figure} has logarithmic axes: {experiment} has a {name} of "
        f"{min(values):g}; take it out of the grid"
    ]


def levels(cells: Sequence[Planned], by: str, figure: str) -> list[str]:
    """Refuse experiments without an undisturbed cell and others, each strength once."""
    problems = []
    found: set[float] = set()
    for name, group in by_experiment(cells).items():
        strengths = sorted(strength(all_of(cell), by) for cell in group)
        found |= set(strengths)
        if strengths[0] > 0 or len(set(strengths)) < len(strengths) or len(strengths) < 2:
            problems.append(
                f"experiments: {figure} needs one cell of {name} with {by}: 0 and at least one "
                f"with more, each value once; got {by}: {strengths}"
            )
    most = len(NOISE)
    if len(found - {0.0}) > most:
        problems.append(
            f"experiments: {len(found - {0.0})} values of {by} cannot be told apart in {figure}; "
            f"at most {most} can"
        )
    return problems

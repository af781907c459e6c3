"""What Figures 3 and 5 share: networks on few images beside their linearisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .style import (
    TEXT_WIDTH,
    CellData,
    Drawing,
    Look,
    apply_style,
    letter,
    looks,
    strength,
)

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes

QUANTITIES = {
    "train_loss": "training loss",
    "test_loss": "test loss",
    "norm_change_mean": "mean change of ‖$w_i$‖ [%]",
    "norm_change_std": "s.d. over neurons [%]",
}
"""What is drawn, a column each."""

PERCENT = ("norm_change_mean", "norm_change_std")

NETWORKS = {"mlp": "MLP", "wide_resnet": "WideResNet"}
SOURCES = {"digits": "digits", "cifar10": "CIFAR-10"}


@dataclass(frozen=True)
class Line:
    """One curve of every panel of a row.

    Attributes:
        label: what it is, for the legend.
        data: curves over (seed, step) of the runs that did not diverge.
        color: of the line.
        style: of the line.
    """

    label: str
    data: xr.Dataset
    color: str
    style: str


@dataclass(frozen=True)
class Row:
    """A network: its runs by the strength of what disturbs them, the undisturbed first.

    Attributes:
        title: which network on which images.
        tag: the same in the names of metrics.
        settings: of the disturbed runs.
        lines: the runs and the linearised networks.
        plain: the undisturbed run.
        disturbed: the most disturbed one.
        linear: the linearised network, without noise.
        mean_label: the linearised network on the labels that the noise leaves on average.
    """

    title: str
    tag: str
    settings: Mapping[str, Any]
    lines: Sequence[Line]
    plain: Line
    disturbed: Line
    linear: Line | None
    mean_label: Line | None


def name_of(settings: Mapping[str, Any]) -> str:
    """`MLP, CIFAR-10`: which network on which images."""
    network = NETWORKS.get(settings["network"], settings["network"])
    return f"{network}, {SOURCES[settings['source']]}"


def alive(data: xr.Dataset) -> xr.Dataset:
    """The runs that did not diverge."""
    return data.isel(seed=np.isnan(data["diverged_step"].values))


def rows(cells: Sequence[CellData], by: str) -> list[Row]:
    """The networks, one an experiment.

    Raises:
        ValueError: an experiment has no undisturbed cell, or nothing but that; all runs of a cell
            diverged.
    """
    found = []
    for name in dict.fromkeys(cell.experiment for cell in cells):
        group = sorted(
            (cell for cell in cells if cell.experiment == name),
            key=lambda cell: strength(cell.settings, by),
        )
        levels = [strength(cell.settings, by) for cell in group]
        if levels[0] > 0 or len(set(levels)) < len(levels) or len(levels) < 2:
            raise ValueError(
                f"experiments.{name}: one cell with {by}: 0 and at least one with more is needed, "
                f"got {by}: {levels}"
            )
        found.append(_row(group, by))
    return found


def _row(group: Sequence[CellData], by: str) -> Row:
    settings = group[0].settings
    runs = []
    for cell, look in zip(group, looks(group), strict=True):
        data = alive(cell.analysis)
        if not data.sizes["seed"]:
            raise ValueError(f"experiments.{cell.experiment}: all runs with {look.label} diverged")
        runs.append(Line(_name(cell, look, by), data, look.color, "-"))
    linear = mean_label = None
    if group[0].linearize:
        linear = Line("linearised", alive(group[0].linearized()), "black", "--")
    if by == "tau" and group[-1].linearize:
        # a light tone of the noise's colour would vanish in grey: the same one, dotted
        data = alive(group[-1].linearized())
        mean_label = Line("linearised, mean noisy label", data, runs[-1].color, ":")
    lines = [*runs, *(line for line in (linear, mean_label) if line)]
    tag = f"{settings['network']} {settings['source']}"
    disturbed = group[-1].settings
    return Row(name_of(settings), tag, disturbed, lines, runs[0], runs[-1], linear, mean_label)


def _name(cell: CellData, look: Look, by: str) -> str:
    if strength(cell.settings, by) > 0:
        return ("label noise, " if by == "tau" else "SAM, ") + look.label
    return "no label noise" if by == "tau" else "gradient descent"


def curve(line: Line, quantity: str) -> xr.DataArray:
    """A quantity over (seed, step), in percent where it is drawn so."""
    return line.data[quantity] * (100 if quantity in PERCENT else 1)


def draw_rows(found: Sequence[Row], text: str) -> Drawing:
    """Draw the networks, one a row; bands are over all seeds."""
    import matplotlib.pyplot as plt
    import pandas as pd

    apply_style()
    height = 0.35 + 1.75 * len(found)
    figure = plt.figure(figsize=(TEXT_WIDTH, height), layout="constrained")
    panels = figure.subplots(len(found), len(QUANTITIES), squeeze=False)
    handles: dict[str, object] = {}
    for number, (row, axes) in enumerate(zip(found, panels, strict=True)):
        for column, (one, quantity) in enumerate(zip(axes, QUANTITIES, strict=True)):
            for line in row.lines:
                handles.setdefault(line.label, _draw(one, line, quantity))
            _finish(one, row, quantity)
            letter(one, "abcdefghijklmnop"[number * len(QUANTITIES) + column])
            if number == len(found) - 1:
                one.set_xlabel("step")
        axes[0].set_title(row.title, loc="left", fontsize=8)
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=len(handles))
    numbers = pd.concat([_table(row) for row in found], ignore_index=True)
    return Drawing(figure, numbers, text, measured(found))


def _draw(axes: Axes, line: Line, quantity: str) -> object:
    values = curve(line, quantity)
    steps, several = values["step"].values, values.sizes["seed"] > 1
    if several:
        low, high = values.min("seed"), values.max("seed")
        axes.fill_between(steps, low, high, color=line.color, alpha=0.18, linewidth=0)
    (drawn,) = axes.plot(
        steps, values.mean("seed"), color=line.color, linestyle=line.style, linewidth=1.2
    )
    return drawn


def _finish(axes: Axes, row: Row, quantity: str) -> None:
    axes.set_ylabel(QUANTITIES[quantity])
    axes.margins(x=0.02)
    last = int(row.plain.data["step"].values[-1])
    axes.set_xticks([0, last / 2, last], ["0", f"{last / 2:,.0f}", f"{last:,}"])
    if quantity == "train_loss":
        axes.set_yscale("log")
    elif quantity == "test_loss":
        # the first steps, from outputs of order 1, would hide what is compared
        later = [curve(line, quantity).sel(step=slice(last / 20, None)) for line in row.lines]
        low, high = min(float(c.min()) for c in later), max(float(c.max()) for c in later)
        room = 0.06 * (high - low)
        axes.set_ylim(low - room, high + room)
    elif quantity == "norm_change_mean":
        axes.axhline(0, color="0.7", linewidth=0.6, zorder=0)


def _table(row: Row) -> pd.DataFrame:
    import pandas as pd

    frames = []
    for line in row.lines:
        names = [*QUANTITIES, "train_accuracy", "test_accuracy", "distance"]
        frame = line.data[names].to_dataframe().reset_index()
        melted = frame.melt(["seed", "step"], names, "quantity")
        frames.append(melted.assign(network=row.title, line=line.label))
    columns = ["network", "line", "seed", "step", "quantity", "value"]
    return pd.concat(frames, ignore_index=True)[columns]


def final(line: Line, quantity: str) -> np.ndarray:
    """A quantity at the last step, a value for each seed."""
    return np.asarray(curve(line, quantity).isel(step=-1).values)


def paired(one: Line, other: Line, quantity: str) -> np.ndarray:
    """The difference at the last step, seed by seed, of the seeds that both have."""
    both = np.intersect1d(one.data["seed"].values, other.data["seed"].values)
    first, second = (
        curve(line, quantity).isel(step=-1).sel(seed=both).values for line in (one, other)
    )
    return np.asarray(first - second)


def mean_spread(values: np.ndarray, digits: int = 4) -> str:
    """`0.1080 ± 0.0012`: mean and standard deviation over the seeds."""
    if len(values) < 2:
        return f"{values.mean():.{digits}f}"
    return f"{values.mean():.{digits}f} ± {values.std(ddof=1):.{digits}f}"


def share(holds: np.ndarray) -> str:
    """`8 of 8 seeds`: in how many of them something holds."""
    return f"{int(holds.sum())} of {len(holds)} seeds"


def lazy_claim(row: Row) -> str:
    """Whether the undisturbed network is nearer to its linearisation than the disturbed one."""
    if row.linear is None:
        return "It has no linearised run to compare with."
    plain, disturbed = (
        np.abs(paired(line, row.linear, "test_loss")) for line in (row.plain, row.disturbed)
    )
    end = mean_spread(final(row.linear, "test_loss"))
    text = (
        f"The linearised network's test loss ends at {end}: "
        f"{plain.mean():.4f} from the one with {row.plain.label}, {disturbed.mean():.4f} from the "
        f"one with {row.disturbed.label}"
    )
    if len(plain) == len(disturbed):
        text += f" (the first is nearer in {share(plain < disturbed)})"
    return text + "."


def better_claim(row: Row) -> str:
    """Whether the disturbed network tests better, and has the smaller first layer."""
    gain, shrunk = (
        paired(row.disturbed, row.plain, name) for name in ("test_loss", "norm_change_mean")
    )
    losses = [mean_spread(final(line, "test_loss")) for line in (row.disturbed, row.plain)]
    distances = [f"{final(line, 'distance').mean():.4f}" for line in (row.disturbed, row.plain)]
    return (
        f"With {row.disturbed.label} the test loss ends at {losses[0]}, with {row.plain.label} at "
        f"{losses[1]}: lower in {share(gain < 0)}. The first layer's mean norm is smaller in "
        f"{share(shrunk < 0)} (by {-shrunk.mean():.2g} %). All parameters together have moved by "
        f"{distances[0]} and {distances[1]} of their norm."
    )


def measured(found: Sequence[Row]) -> dict[str, float]:
    """Numbers to compare between versions of the figure."""
    numbers = {}
    for row in found:
        gain = paired(row.disturbed, row.plain, "test_loss")
        numbers[f"{row.tag} test_loss_gain"] = float(-gain.mean())
        numbers[f"{row.tag} test_loss_plain"] = float(final(row.plain, "test_loss").mean())
        if row.linear is not None:
            gap = paired(row.plain, row.linear, "test_loss")
            numbers[f"{row.tag} linearised_gap"] = float(np.abs(gap).mean())
    return numbers

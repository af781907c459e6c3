"""What Figures 3 and 5 share: networks on few images beside their linearisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .panels import seeds as counted
from .style import (
    NO_NOISE,
    PALETTES,
    TEXT_WIDTH,
    CellData,
    Drawing,
    alive_seeds,
    apply_style,
    band_handle,
    divergence_note,
    legend_above,
    letter,
    parameter,
    step_axis,
    strength,
    typeset,
)

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

QUANTITIES = {
    "train_loss": "training loss",
    "test_loss": "test loss",
    "norm_change_mean": "mean change of ‖w_i‖ [%]",
    "norm_change_std": "s.d. over neurons [%]",
}
"""What is drawn, a column each."""

LOSSES = ("train_loss", "test_loss")

PERCENT = ("norm_change_mean", "norm_change_std")

NETWORKS = {"mlp": "MLP", "wide_resnet": "WideResNet"}
SOURCES = {"digits": "digits", "cifar10": "CIFAR-10"}


@dataclass(frozen=True)
class Line:
    """One curve of every panel of a row.

    Attributes:
        label: what it is, for the legend.
        data: curves over (seed, step), of the same seeds for all lines of a row.
        color: of the line.
        style: of the line.
        linearised: whether it is of a linearised network.
    """

    label: str
    data: xr.Dataset
    color: str
    style: str
    linearised: bool = False


@dataclass(frozen=True)
class Row:
    """A network: its runs by the strength of what disturbs them, the undisturbed first.

    Attributes:
        title: which network on which images.
        tag: its experiment, in the table and in the names of metrics.
        settings: of the disturbed runs.
        lines: the runs and the linearised networks.
        plain: the undisturbed run.
        disturbed: the most disturbed one.
        linear: the linearised network, without noise.
        mean_label: the linearised network on the labels that the noise leaves on average.
        left_out: which runs diverged; empty if none did.
    """

    title: str
    tag: str
    settings: Mapping[str, Any]
    lines: Sequence[Line]
    plain: Line
    disturbed: Line
    linear: Line | None
    mean_label: Line | None
    left_out: str


def name_of(settings: Mapping[str, Any]) -> str:
    """`MLP, CIFAR-10`: which network on which images."""
    network = NETWORKS.get(settings["network"], settings["network"])
    return f"{network}, {SOURCES[settings['source']]}"


def rows(cells: Sequence[CellData], by: str) -> list[Row]:
    """The networks, one an experiment.

    Raises:
        ValueError: an experiment has no undisturbed cell, or nothing but that; a run of every
            seed diverged.
    """
    found = []
    named = [name_of(cell.settings) for cell in {cell.experiment: cell for cell in cells}.values()]
    highest = set()
    strengths = [strength(cell.settings, by) for cell in cells]
    colors = colors_of(strengths, by)
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
        highest.add(levels[-1])
        title = name_of(group[0].settings)
        if by == "tau" and group[0].settings["noise"] == "flip":
            title += ", flipped labels"
        # two rows of the same network are told apart by their experiments
        title += f" ({name})" if named.count(title) > 1 else ""
        found.append((group, title))
    return [_row(group, title, by, colors, len(highest) > 1) for group, title in found]


def colors_of(strengths: Sequence[float], by: str) -> dict[float, str]:
    """A colour for each strength, the same in every row; grey for 0."""
    disturbed = sorted(set(strengths) - {0.0})
    palette = PALETTES["noise" if by == "tau" else "sam"]
    if len(disturbed) > len(palette):
        raise ValueError(f"{by}: {disturbed}: no more than {len(palette)} can be told apart")
    return {0.0: NO_NOISE} | dict(zip(disturbed, palette, strict=False))


def _row(
    group: Sequence[CellData], title: str, by: str, colors: Mapping[float, str], differ: bool
) -> Row:
    """One network; `differ`: its largest strength is not that of every other."""
    name, left_out = group[0].experiment, divergence_note(group)
    # lines are compared seed by seed, since a seed draws its own images
    seeds = sorted(set.intersection(*(set(alive_seeds(cell.analysis)) for cell in group)))
    if not seeds:
        raise ValueError(
            f"experiments.{name}: a run of every seed diverged ({left_out}); take a smaller eta"
        )
    levels = [strength(cell.settings, by) for cell in group]
    runs = [
        Line(_name(level, by), cell.analysis.sel(seed=seeds), colors[level], "-")
        for cell, level in zip(group, levels, strict=True)
    ]
    linear = _linearised("linearised", group[0], seeds, "black", "--")
    mean_label = None
    if by == "tau":
        # a light tone of the noise's colour would vanish in grey: the same one, dotted
        color = runs[-1].color
        label = "linearised, mean noisy label"
        label += f" ({parameter(by, levels[-1])})" if differ else ""
        mean_label = _linearised(label, group[-1], seeds, color, ":")
    return Row(
        title=title,
        tag=name,
        settings=group[-1].settings,
        lines=[*runs, *(line for line in (linear, mean_label) if line)],
        plain=runs[0],
        disturbed=runs[-1],
        linear=linear,
        mean_label=mean_label,
        left_out=left_out,
    )


def _linearised(
    label: str, cell: CellData, seeds: Sequence[int], color: str, style: str
) -> Line | None:
    """A cell's linearised runs; None where it has none, or where one of them diverged."""
    if not cell.linearize:
        return None
    data = cell.linearized().sel(seed=seeds)
    return None if data["diverged_step"].notnull().any() else Line(label, data, color, style, True)


def _name(level: float, by: str) -> str:
    if level > 0:
        return ("label noise, " if by == "tau" else "SAM, ") + parameter(by, level)
    return "no label noise" if by == "tau" else "gradient descent"


def curve(line: Line, quantity: str) -> xr.DataArray:
    """A quantity over (seed, step), in percent where it is drawn so."""
    return line.data[quantity] * (100 if quantity in PERCENT else 1)


def drawn(line: Line, plain: Line, quantity: str, *, relative: bool) -> xr.DataArray:
    """What a panel shows of a line, over (seed, step).

    Args:
        line: whose.
        plain: the undisturbed runs.
        quantity: a loss, or of the norms.
        relative: give losses as their relative difference to the undisturbed runs, in percent.
    """
    values = curve(line, quantity)
    if relative and quantity in LOSSES:
        difference: xr.DataArray = 100 * (values / curve(plain, quantity) - 1)
        return difference
    return values


BAND = "seed by seed, difference to the grey line"
"""What `band` gives, for a legend."""

BANDS = (
    "Lines are means over seeds. A band spans the differences to the grey line, seed by seed: "
    "where it leaves that line out, all seeds agree. Bands are drawn as smooth envelopes."
)
"""What `band` gives, for a caption."""


def band(values: xr.DataArray, plain: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """From the least to the greatest difference to the undisturbed runs, above their mean.

    Runs of a seed share images and start, so that they differ much less than the seeds do.

    Args:
        values: over seed and another dimension.
        plain: the same of the undisturbed runs.
    """
    difference, mean = values - plain, plain.mean("seed").values
    low, high = difference.min("seed").values, difference.max("seed").values
    if values.sizes["seed"] == 1:
        return mean + low, mean + high  # nothing to span
    return mean - envelope(-low), mean + envelope(high)


ENVELOPE = 40
"""The envelope of a curve looks this part of it ahead and back."""


def envelope(values: np.ndarray) -> np.ndarray:
    """A smooth curve that is nowhere below these values.

    The mean, over a window, of the largest values in the windows about each point: each of these
    windows holds the point in the middle. Curves of few points are left as they are.
    """
    from scipy.ndimage import maximum_filter1d, uniform_filter1d

    size = 1 + 2 * (len(values) // ENVELOPE)
    if size == 1:
        return values
    smooth = uniform_filter1d(maximum_filter1d(values, size, mode="nearest"), size, mode="nearest")
    return np.asarray(np.maximum(smooth, values))  # but for rounding


def draw_rows(found: Sequence[Row], text: str, *, relative: bool = False) -> Drawing:
    """Draw the networks, one a row.

    Args:
        found: the networks.
        text: what is said of them.
        relative: draw losses as their relative difference to the undisturbed runs.
    """
    import matplotlib.pyplot as plt
    import pandas as pd

    apply_style()
    height = 0.45 + 1.75 * len(found)
    figure = plt.figure(figsize=(TEXT_WIDTH, height), layout="constrained")
    panels = figure.subplots(len(found), len(QUANTITIES), squeeze=False)
    handles: dict[str, Artist] = {}
    for number, (row, axes) in enumerate(zip(found, panels, strict=True)):
        for column, (one, quantity) in enumerate(zip(axes, QUANTITIES, strict=True)):
            shown = {
                line.label: drawn(line, row.plain, quantity, relative=relative)
                for line in row.lines
            }
            for line in row.lines:
                handle = _draw(one, line, shown[line.label], shown[row.plain.label])
                handles.setdefault(line.label, handle)
            _finish(one, list(shown.values()), quantity, relative=relative)
            letter(one, chr(ord("a") + number * len(QUANTITIES) + column))
            if number < len(found) - 1:
                one.set_xlabel("")
        axes[0].set_title(row.title, loc="left", fontsize=8)
    legend_above(figure, [*handles.values(), band_handle(BAND)])
    numbers = pd.concat([_table(row) for row in found], ignore_index=True)
    return Drawing(figure, numbers, text, measured(found))


def _draw(axes: Axes, line: Line, values: xr.DataArray, plain: xr.DataArray) -> Artist:
    from matplotlib.patheffects import Normal, Stroke

    steps = values["step"].values
    low, high = band(values, plain)
    axes.fill_between(steps, low, high, color=line.color, alpha=0.18, linewidth=0)
    (one,) = axes.plot(
        steps,
        values.mean("seed"),
        color=line.color,
        linestyle=line.style,
        # thin over thick: a linearised network may lie on the network itself
        linewidth=1.0 if line.linearised else 1.6,
        label=line.label,
        zorder=3 if line.linearised else 2,
    )
    if line.style == ":":
        one.set(linewidth=1.3, path_effects=[Stroke(linewidth=2.9, foreground="white"), Normal()])
    return one


def _finish(axes: Axes, shown: Sequence[xr.DataArray], quantity: str, *, relative: bool) -> None:
    relative = relative and quantity in LOSSES
    name = QUANTITIES[quantity]
    axes.set_ylabel(f"difference in {name} [%]" if relative else typeset(name))
    last = int(shown[0]["step"][-1])
    step_axis(axes, last)
    if quantity == "train_loss" and not relative:
        axes.set_yscale("log")
    elif quantity in LOSSES:
        # the first steps, from outputs of order 1, would hide what is compared
        later = [values.sel(step=slice(last / 20, None)) for values in shown]
        bands = np.array([band(values, later[0]) for values in later])
        low, high = bands.min(), bands.max()
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
        frames.append(melted.assign(experiment=row.tag, line=line.label))
    columns = ["experiment", "line", "seed", "step", "quantity", "value"]
    return pd.concat(frames, ignore_index=True)[columns]


def final(line: Line, quantity: str) -> np.ndarray:
    """A quantity at the last step, a value for each seed."""
    return np.asarray(curve(line, quantity).isel(step=-1).values)


def paired(one: Line, other: Line, quantity: str) -> np.ndarray:
    """The difference of two lines of a row at the last step, seed by seed."""
    return np.asarray(final(one, quantity) - final(other, quantity))


def mean_spread(values: np.ndarray, digits: int = 4) -> str:
    """`0.1080 ± 0.0012`: mean and standard deviation over the seeds."""
    if len(values) < 2:
        return f"{values.mean():.{digits}f}"
    return f"{values.mean():.{digits}f} ± {values.std(ddof=1):.{digits}f}"


def share(holds: np.ndarray) -> str:
    """`8 of 8 seeds`: in how many of them something holds."""
    return f"{int(holds.sum())} of {counted(len(holds))}"


def lazy_claim(row: Row) -> str:
    """Whether the undisturbed network is nearer to its linearisation than the disturbed one."""
    if row.linear is None:
        return "It has no linearised run to compare with, or one that diverges."
    plain, disturbed = (
        np.abs(paired(line, row.linear, "test_loss")) for line in (row.plain, row.disturbed)
    )
    end = mean_spread(final(row.linear, "test_loss"))
    return (
        f"The linearised network's test loss ends at {end}: "
        f"{plain.mean():.4f} from the one with {row.plain.label}, {disturbed.mean():.4f} from the "
        f"one with {row.disturbed.label}. The first is nearer in {share(plain < disturbed)}."
    )


def compared(change: np.ndarray, less: str, more: str) -> str:
    """`lower in 8 of 8 seeds`: which way something goes on average, and in how many seeds."""
    if change.mean() < 0:
        return f"{less} in {share(change < 0)}"
    return f"{more} in {share(change > 0)}"


def better_claim(row: Row) -> str:
    """Whether the disturbed network tests better, and has the smaller first layer."""
    change, grown = (
        paired(row.disturbed, row.plain, name) for name in ("test_loss", "norm_change_mean")
    )
    losses = [mean_spread(final(line, "test_loss")) for line in (row.disturbed, row.plain)]
    distances = [f"{final(line, 'distance').mean():.4f}" for line in (row.disturbed, row.plain)]
    return (
        f"With {row.disturbed.label}, the test loss is {compared(change, 'lower', 'higher')}: it "
        f"ends at {losses[0]}, with {row.plain.label} at {losses[1]}. The first layer's mean norm "
        f"is {compared(grown, 'smaller', 'larger')} (by {abs(grown.mean()):.2g} %). All "
        f"parameters together have moved by {distances[0]} and {distances[1]} of their norm."
    )


def claims(row: Row) -> str:
    """What is said of a network in both figures."""
    said = [f"**{row.title}.**", better_claim(row), lazy_claim(row)]
    if row.left_out:
        said.append(f"{row.left_out}, with all other runs of those seeds.")
    return " ".join(said)


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

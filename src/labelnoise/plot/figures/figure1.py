"""Figure 1: training with label noise, its test accuracy and loss, and how it takes pruning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from labelnoise.plot.parts.checks import Planned, by_experiment, several, values_of
from labelnoise.plot.parts.few_images import BANDS, SOURCES, band, colors_of, mean_spread, share
from labelnoise.plot.parts.style import (
    TEXT_WIDTH,
    CellData,
    Drawing,
    alive_seeds,
    apply_style,
    divergence_note,
    letter,
    parameter,
    strength,
)

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

VERB = "train"
NEEDS = ("analyze", "prune")

STYLES: Sequence[Any] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
"""Lines of the cells in the order of τ: they differ without colour too."""

KEPT = {"merged": "channels_kept", "magnitude": "weights_kept"}
"""Ways of pruning, and what they go by."""

DROP = 5.0
"""Percentage points of accuracy whose loss ends the range in which pruning is said to be taken."""


class Options(BaseModel):
    """Figure 1 has no options."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Trained:
    """The runs of one τ, of the seeds that diverged at none.

    Attributes:
        label: what it is, for the legend.
        color: of its lines.
        style: of its lines.
        settings: of the training.
        curves: over (seed, step).
        pruned: accuracy over what is kept, a variable for each way of pruning.
    """

    label: str
    color: str
    style: Any
    settings: dict[str, Any]
    curves: xr.Dataset
    pruned: xr.Dataset

    @property
    def images(self) -> int:
        """How many training images there are."""
        return int(self.curves.attrs["train_images"])

    @property
    def batch(self) -> int:
        """Images of a step."""
        return self.settings["batch_size"] or self.images

    @property
    def epochs(self) -> np.ndarray:
        """The steps in epochs."""
        return np.asarray(self.curves["step"].values * self.batch / self.images)

    def final(self, name: str) -> np.ndarray:
        """A curve's last value, by seed."""
        return np.asarray(self.curves[name].isel(step=-1).values)

    def taken(self, method: str) -> np.ndarray:
        """The least share of parameters, in percent, at which no more than `DROP` points are lost.

        Every larger share pruned to keeps as much.
        """
        dim = KEPT[method]
        accuracy = 100 * self.pruned[f"{method}_test_accuracy"].sortby(dim, ascending=False)
        kept = self.pruned[f"{method}_parameters"].sortby(dim, ascending=False)
        good = (accuracy >= accuracy.sel({dim: 1.0}) - DROP).cumprod(dim)
        return 100 * np.asarray(kept.where(good > 0).min(dim).values)


def check(cells: Sequence[Planned], options: Options) -> list[str]:
    """Why it cannot draw these cells: a line for each reason."""
    groups = by_experiment(cells)
    if len(groups) > 1:
        return [f"experiments: figure1 draws one experiment, got {', '.join(groups)}"]
    ((name, group),) = groups.items()
    others = several(group).keys() - {"tau"}
    if others:
        return [
            "experiments: figure1 draws an experiment over tau and nothing else; "
            f"{name} varies {', '.join(sorted(others))} too"
        ]
    problems = []
    taus = values_of(group, "tau")
    if 0 not in taus:
        problems.append(f"experiments: figure1 compares with tau: 0; {name} has {taus}")
    if len(taus) > len(STYLES):
        problems.append(
            f"experiments: {len(taus)} values of tau cannot be told apart in figure1; "
            f"at most {len(STYLES)} can"
        )
    return problems


def draw(cells: Sequence[CellData], options: Options) -> Drawing:
    """Draw accuracy and loss against the epoch, and accuracy against the parameters kept.

    Args:
        cells: the cells of one experiment, over τ, 0 among them.
        options: none.

    Raises:
        ValueError: no cell has τ = 0; there are more than can be told apart; no seed is left.
    """
    import matplotlib.pyplot as plt
    import pandas as pd

    shown = _trained(cells)
    apply_style()
    figure = plt.figure(figsize=(TEXT_WIDTH, 2.3), layout="constrained")
    accuracy, loss, *pruning = figure.subplots(1, 4)
    handles: dict[str, Line2D] = {}
    for one in shown:
        both = one, shown[0]
        accuracies = [100 * it.curves["test_accuracy"] for it in both]
        handles[one.label] = _line(accuracy, one, one.epochs, *accuracies)
        _line(loss, one, one.epochs, *(it.curves["test_loss"] for it in both))
        for axes, method in zip(pruning, KEPT, strict=True):
            kept = 100 * one.pruned[f"{method}_parameters"].mean("seed").values
            _line(axes, one, kept, *(100 * it.pruned[f"{method}_test_accuracy"] for it in both))
    _finish_training(accuracy, loss, shown)
    for axes, title in zip(pruning, ("features merged", "smallest weights cut"), strict=True):
        axes.set(xlabel="parameters kept [%]", ylabel="test accuracy [%]", xscale="log")
        axes.set_ylim(0, 100)
        axes.invert_xaxis()
        axes.xaxis.set_major_formatter("{x:g}")
        axes.axhline(100 / shown[0].curves.attrs["classes"], color="0.7", linewidth=0.6, zorder=0)
        axes.set_title(title, fontsize=8)
    for axes, name in zip((accuracy, loss, *pruning), "abcd", strict=True):
        letter(axes, name)
    names = list(handles)
    figure.legend(
        [handles[name] for name in names], names, loc="outside upper center", ncols=len(names)
    )
    numbers = pd.concat([table for one in shown for table in _tables(one)], ignore_index=True)
    text = "\n\n".join(filter(None, [_text(shown), divergence_note(cells)]))
    return Drawing(figure, numbers, text, _metrics(shown))


def _trained(cells: Sequence[CellData]) -> list[Trained]:
    import xarray as xr

    cells = sorted(cells, key=lambda cell: strength(cell.settings, "tau"))
    name = f"experiments.{cells[0].experiment}"
    if strength(cells[0].settings, "tau") > 0:
        raise ValueError(f"{name}: a cell with tau: 0 is needed to compare with")
    if len(cells) > len(STYLES):
        raise ValueError(f"{name}: {len(cells)} values of tau, at most {len(STYLES)} can be told")
    seeds = sorted(set.intersection(*(set(alive_seeds(cell.analysis)) for cell in cells)))
    if not seeds:
        raise ValueError(f"{name}: no seed is left that diverged at no tau")
    levels = [strength(cell.settings, "tau") for cell in cells]
    colors = colors_of(levels, "tau")
    return [
        Trained(
            parameter("tau", level),
            colors[level],
            style,
            dict(cell.settings),
            cell.analysis.sel(seed=seeds),
            xr.concat(cell.prune, "seed").sel(seed=seeds),
        )
        for cell, level, style in zip(cells, levels, STYLES, strict=False)
    ]


def _line(
    axes: Axes, one: Trained, x: np.ndarray, values: xr.DataArray, plain: xr.DataArray
) -> Line2D:
    """The mean over seeds and the band of differences to those without noise."""
    low, high = band(values, plain)
    axes.fill_between(x, low, high, color=one.color, alpha=0.18, linewidth=0)
    mean = values.mean("seed").values
    (drawn,) = axes.plot(x, mean, color=one.color, linestyle=one.style)
    return drawn


def _finish_training(accuracy: Axes, loss: Axes, shown: Sequence[Trained]) -> None:
    accuracy.set(xlabel="epoch", ylabel="test accuracy [%]")
    loss.set(xlabel="epoch", ylabel="test loss")
    # the first epochs would hide what is compared
    curves = [100 * one.curves["test_accuracy"].mean("seed").values for one in shown]
    top = max(curve.max() for curve in curves)
    least = min(np.quantile(curve, 0.25) for curve in curves)
    accuracy.set_ylim(max(0.0, 2 * least - top), top + 0.1 * (top - least) + 0.5)
    loss.set_ylim(0, 2.5 * max(float(one.final("test_loss").mean()) for one in shown))


def _tables(one: Trained) -> list[pd.DataFrame]:
    names = ["train_loss", "test_loss", "train_accuracy", "test_accuracy"]
    curves = one.curves.assign_coords(epoch=("step", one.epochs))
    trained = curves[names].to_dataframe().reset_index()
    frames = [trained.melt(["seed", "epoch"], names, "quantity").assign(panel="training")]
    for method, dim in KEPT.items():
        names = [str(n) for n in one.pruned.data_vars if str(n).startswith(method)]
        frame = one.pruned[names].to_dataframe().reset_index()
        melted = frame.melt(["seed", dim], names, "quantity").rename(columns={dim: "kept"})
        frames.append(melted.assign(panel=method))
    names = ["effective_rank", "participation_ratio"]
    frame = one.pruned[names].to_dataframe().reset_index()
    frames.append(frame.melt(["seed", "layer"], names, "quantity").assign(panel="sparsity"))
    columns = ["panel", "cell", "seed", "epoch", "kept", "layer", "quantity", "value"]
    return [frame.assign(cell=one.label).reindex(columns=columns) for frame in frames]


def _method(settings: dict[str, Any]) -> str:
    """The algorithm, and what it has beside η."""
    extra = {"momentum": settings["momentum"], "weight decay": settings["weight_decay"]}
    told = [f"{name} {value:g}" for name, value in extra.items() if value]
    if strength(settings, "rho") > 0:
        told.insert(0, f"ρ = {settings['rho']:g}")
        return f"SAM ({', '.join(told)})"
    return f"SGD (with {' and '.join(told)})" if told else "plain SGD"


def _text(shown: Sequence[Trained]) -> str:
    plain, settings = shown[0], shown[0].settings
    head = (
        f"A ResNet of {settings['depth'] or 18} layers and width {settings['width'] or 64} trained "
        f"on {plain.images:,} images ({SOURCES[settings['source']]}) for {plain.epochs[-1]:.0f} "
        f"epochs by {_method(settings)} with η = {settings['eta']:g} "
        f"({settings['eta_schedule']}) and batches of {plain.batch}; labels are redrawn with "
        "probability τ at every step. Test accuracy and loss, and the accuracy of pruned networks, "
        "not trained again: features "
        "merged (IFM; real, smaller networks) or the smallest weights of all layers set to zero. "
        f"{BANDS} The thin line is chance."
    )
    rows = [
        f"| τ | test accuracy [%] | test loss | parameters [%] at −{DROP:g} points, merged | "
        "the same, by magnitude | effective rank | participation ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in shown:
        columns = [
            f"{one.settings['tau']:g}",
            mean_spread(100 * one.final("test_accuracy"), 2),
            mean_spread(one.final("test_loss"), 3),
            mean_spread(one.taken("merged"), 1),
            mean_spread(one.taken("magnitude"), 1),
            mean_spread(one.pruned["effective_rank"].mean("layer").values, 3),
            mean_spread(one.pruned["participation_ratio"].mean("layer").values, 3),
        ]
        rows.append("| " + " | ".join(columns) + " |")
    claims = []
    for one in shown[1:]:
        gain = one.final("test_accuracy") - plain.final("test_accuracy")
        smaller = {method: one.taken(method) < plain.taken(method) for method in KEPT}
        claims.append(
            f"{one.label}: more accurate than without noise in {share(gain > 0)} (by "
            f"{100 * gain.mean():+.2f} points), smaller at −{DROP:g} points in "
            f"{share(smaller['merged'])} (merged) and {share(smaller['magnitude'])} (by magnitude)."
        )
    return "\n\n".join([head, "\n".join(rows), " ".join(claims)])


def _metrics(shown: Sequence[Trained]) -> dict[str, float]:
    numbers = {}
    for one in shown:
        tag = f"tau:{one.settings['tau']:g}"
        numbers[f"test_accuracy {tag}"] = float(one.final("test_accuracy").mean())
        for method in KEPT:
            numbers[f"{method}_kept {tag}"] = float(one.taken(method).mean())
    return numbers

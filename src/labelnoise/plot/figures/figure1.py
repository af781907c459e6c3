"""Figure 1: training with label noise, its test accuracy and loss, and how it takes pruning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from labelnoise.plot.parts.checks import Planned, by_experiment, several, values_of
from labelnoise.plot.parts.few_images import (
    BAND,
    BANDS,
    SOURCES,
    band,
    colors_of,
    mean_spread,
    share,
)
from labelnoise.plot.parts.style import (
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
    strength,
    thousands,
)

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

VERB = "train"
NEEDS = ("analyze", "prune")

STYLES: Sequence[Any] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
"""Lines of the cells in the order of τ: they differ without colour too."""

KEPT = {"merged": "channels_kept", "magnitude": "weights_kept"}
"""Ways of pruning, and what they go by."""

DROP = 5.0
"""Percentage points of accuracy whose loss ends the range in which pruning is said to be taken."""


NOISES = {"redraw": "redrawn from all classes", "flip": "flipped to another class"}
"""What is done to labels."""


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

    def taken(self, method: str) -> tuple[np.ndarray, np.ndarray]:
        """The share of parameters, in percent, at which `DROP` points are lost first, by seed.

        Returns:
            As `share_at_drop`, each over the seeds.
        """
        dim = KEPT[method]
        pruned = self.pruned.sortby(dim, ascending=False)
        accuracy, kept = (
            100 * pruned[f"{method}_{name}"].transpose("seed", dim).values
            for name in ("test_accuracy", "parameters")
        )
        found = [share_at_drop(*one) for one in zip(kept, accuracy, strict=True)]
        shares, reached = zip(*found, strict=True)
        return np.array(shares), np.array(reached)


def share_at_drop(kept: np.ndarray, accuracy: np.ndarray) -> tuple[float, bool]:
    """The share of parameters at which accuracy is first `DROP` points below that of all of them.

    Interpolated between the shares that were pruned to, along the logarithm of the share as drawn.

    Args:
        kept: shares pruned to, in percent, the largest (all parameters) first.
        accuracy: at each of them, in percent.

    Returns:
        The share; and whether so much was lost at all: if not, it is the least share pruned to.
    """
    lost = accuracy[0] - accuracy
    below = np.flatnonzero(lost >= DROP)
    if not below.size:
        return float(kept[-1]), False
    at = slice(below[0] - 1, below[0] + 1)
    return float(np.exp(np.interp(DROP, lost[at], np.log(kept[at])))), True


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
    """Draw accuracy and loss against the epoch; and, against the parameters kept, the differences
    in accuracy of pruned networks.

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
    handles: list[Artist] = []
    for one in shown:
        both = one, shown[0]
        accuracies = [100 * it.curves["test_accuracy"] for it in both]
        handles.append(_line(accuracy, one, one.epochs, *accuracies))
        _line(loss, one, one.epochs, *(it.curves["test_loss"] for it in both))
        for axes, method in zip(pruning, KEPT, strict=True):
            kept = 100 * one.pruned[f"{method}_parameters"].mean("seed").values
            mine, plain = (100 * it.pruned[f"{method}_test_accuracy"] for it in both)
            _line(axes, one, kept, mine - plain, 0 * plain)
    _finish_training(accuracy, loss, shown)
    for axes, title in zip(pruning, ("features merged", "smallest weights cut"), strict=True):
        axes.set(xlabel="parameters kept [%]", ylabel="gain in accuracy [points]", xscale="log")
        axes.invert_xaxis()
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
        axes.set_title(title, fontsize=8)
    for axes, name in zip((accuracy, loss, *pruning), "abcd", strict=True):
        letter(axes, name)
    legend_above(figure, [*handles, band_handle(BAND)])
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
) -> Artist:
    """The mean over seeds and the band of differences to those without noise."""
    low, high = band(values, plain)
    axes.fill_between(x, low, high, color=one.color, alpha=0.18, linewidth=0)
    mean = values.mean("seed").values
    (drawn,) = axes.plot(x, mean, color=one.color, linestyle=one.style, label=one.label)
    return drawn


def _finish_training(accuracy: Axes, loss: Axes, shown: Sequence[Trained]) -> None:
    accuracy.set(xlabel="epoch", ylabel="test accuracy [%]")
    loss.set(xlabel="epoch", ylabel="test loss")
    # the first epochs would hide what is compared; every band of the second half is seen
    curves = [100 * one.curves["test_accuracy"] for one in shown]
    least = min(np.quantile(curve.mean("seed"), 0.25) for curve in curves)
    half = curves[0].sizes["step"] // 2
    bands = [band(curve, curves[0]) for curve in curves]
    low = min(band_low[half:].min() for band_low, _ in bands)
    high = max(band_high[half:].max() for _, band_high in bands)
    low = max(0.0, min(2 * least - high, low))
    accuracy.set_ylim(low, high + 0.05 * (high - low) + 0.2)
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
    claims = " ".join(_claim(one, plain) for one in shown[1:])
    rows = [
        f"| τ | test accuracy [%] | test loss | parameters [%] at −{DROP:g} points, merged | "
        "the same, pruned by magnitude | effective rank | participation ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in shown:
        columns = [
            f"{one.settings['tau']:g}",
            mean_spread(100 * one.final("test_accuracy"), 2),
            mean_spread(one.final("test_loss"), 3),
            *(_taken(one, method) for method in KEPT),
            mean_spread(one.pruned["effective_rank"].mean("layer").values, 3),
            mean_spread(one.pruned["participation_ratio"].mean("layer").values, 3),
        ]
        rows.append("| " + " | ".join(columns) + " |")
    about = (
        f"A ResNet of {settings['depth'] or 18} layers and width {settings['width'] or 64} is "
        f"trained on {thousands(plain.images)} images ({SOURCES[settings['source']]}) for "
        f"{plain.epochs[-1]:.0f} epochs by {_method(settings)}, with η = {settings['eta']:g} "
        f"({settings['eta_schedule']}) and batches of {plain.batch}. Labels are "
        f"{NOISES[settings['noise']]} with probability τ at every step. "
        "Panels a and b show test accuracy and test loss; the first epochs lie outside. "
        "Panels c and d show how much more accurate than without noise a pruned network is. It is "
        "not trained again. Either features are merged (IFM; real, smaller networks), or the "
        "smallest weights of all layers are set to zero. The table has "
        f"the share of parameters at which a network is {DROP:g} points below its own accuracy "
        f"with all of them. Shares between those pruned to are interpolated. {BANDS}"
    )
    return "\n\n".join(filter(None, [claims, "\n".join(rows), about]))


def _taken(one: Trained, method: str) -> str:
    """`50.1 ± 3.2`, and in how many seeds the accuracy never falls so far."""
    shares, reached = one.taken(method)
    text = mean_spread(shares, 1)
    if reached.all():
        return text
    return f"≤ {text} ({share(~reached)}: less than {shares[~reached].max():.1f})"


def _claim(one: Trained, plain: Trained) -> str:
    """What label noise of this strength does, and in how many seeds."""
    gain = one.final("test_accuracy") - plain.final("test_accuracy")
    gained = f"{100 * gain.mean():+.2f}".replace("-", "−")
    return (
        f"With {one.label} the network is more accurate than without noise in {share(gain > 0)} "
        f"(by {gained} points). At −{DROP:g} points it is "
        f"{_smaller(one, plain, 'merged')} when features are merged, and "
        f"{_smaller(one, plain, 'magnitude')} when weights are cut."
    )


def _smaller(one: Trained, plain: Trained, method: str) -> str:
    """`smaller in 2 of 4 seeds, the same in 1`: where neither loses so much, none is smaller."""
    (mine, falls), (base, plain_falls) = (it.taken(method) for it in (one, plain))
    equal = np.isclose(mine, base, rtol=1e-9) | ~(falls | plain_falls)
    text = f"smaller in {share((mine < base) & ~equal)}"
    return f"{text} (the same in {equal.sum()})" if equal.any() else text


def _metrics(shown: Sequence[Trained]) -> dict[str, float]:
    numbers = {}
    for one in shown:
        tag = f"tau:{one.settings['tau']:g}"
        numbers[f"test_accuracy {tag}"] = float(one.final("test_accuracy").mean())
        for method in KEPT:
            numbers[f"{method}_kept {tag}"] = float(one.taken(method)[0].mean())
    return numbers

"""Figure 1: training with label noise, its test accuracy and loss, and how it takes pruning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict

from .few_images import SOURCES, alive, mean_spread, share
from .style import NO_NOISE, TEXT_WIDTH, CellData, Drawing, apply_style, letter, looks, strength

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes

VERB = "train"
NEEDS = ("analyze", "prune")

STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
"""Lines of the cells in the order of τ: they differ without colour too."""

DROP = 5.0
"""Percentage points of accuracy whose loss ends the range in which pruning is said to be taken."""


class Options(BaseModel):
    """Figure 1 has no options."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def draw(cells: Sequence[CellData], options: Options) -> Drawing:
    """Draw accuracy and loss against the epoch, and accuracy against the parameters kept.

    Args:
        cells: the cells of one experiment, over τ, 0 among them.
        options: none.

    Raises:
        ValueError: no cell has τ = 0; all runs of a cell diverged.
    """
    import matplotlib.pyplot as plt
    import pandas as pd

    cells = sorted(cells, key=lambda cell: strength(cell.settings, "tau"))
    if strength(cells[0].settings, "tau") > 0:
        raise ValueError(f"experiments.{cells[0].experiment}: a cell with tau: 0 is needed")
    apply_style()
    figure = plt.figure(figsize=(TEXT_WIDTH, 2.3), layout="constrained")
    panels = figure.subplots(1, 4)
    titles = ("during training", "during training", "features merged", "smallest weights cut")
    for axes, name, title in zip(panels, "abcd", titles, strict=True):
        letter(axes, name)
        axes.set_title(title, fontsize=8)
    handles, frames = {}, []
    for cell, look, style in zip(cells, looks(cells), STYLES, strict=False):
        curves, pruned = alive(cell.analysis), _pruned(cell)
        if not curves.sizes["seed"]:
            raise ValueError(f"experiments.{cell.experiment}: all runs with {look.label} diverged")
        color = NO_NOISE if strength(cell.settings, "tau") == 0 else look.color
        how = {"color": color, "linestyle": style}
        epoch = _epochs(cell, curves)
        handles[look.label] = _line(panels[0], epoch, 100 * curves["test_accuracy"], how)
        _line(panels[1], epoch, curves["test_loss"], how)
        for axes, method in zip(panels[2:], ("merged", "magnitude"), strict=True):
            kept = 100 * pruned[f"{method}_parameters"].mean("seed").values
            _line(axes, kept, 100 * pruned[f"{method}_test_accuracy"], how)
        frames += _tables(look.label, curves.assign_coords(epoch=("step", epoch)), pruned)
    _finish(panels, cells[0])
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=len(handles))
    numbers = pd.concat(frames, ignore_index=True)
    return Drawing(figure, numbers, _text(cells), _metrics(cells))


def _pruned(cell: CellData) -> xr.Dataset:
    """The pruned networks of the runs that did not diverge."""
    import xarray as xr

    return xr.concat(cell.prune, "seed").sel(seed=alive(cell.analysis)["seed"].values)


def _epochs(cell: CellData, curves: xr.Dataset) -> np.ndarray:
    batch = cell.settings["batch_size"] or curves.attrs["train_images"]
    return np.asarray(curves["step"].values * batch / curves.attrs["train_images"])


def _line(axes: Axes, x: np.ndarray, values: xr.DataArray, how: dict[str, object]) -> object:
    """The mean over seeds and a band over all of them."""
    if values.sizes["seed"] > 1:
        low, high = values.min("seed").values, values.max("seed").values
        axes.fill_between(x, low, high, color=how["color"], alpha=0.18, linewidth=0)
    (drawn,) = axes.plot(x, values.mean("seed").values, **how)
    return drawn


def _finish(panels: Sequence[Axes], cell: CellData) -> None:
    accuracy, loss, merged, magnitude = panels
    for axes in (accuracy, loss):
        axes.set_xlabel("epoch")
    accuracy.set_ylabel("test accuracy [%]")
    loss.set_ylabel("test loss")
    # the first epochs would hide what is compared
    top = max(line.get_ydata()[-1] for line in accuracy.get_lines())
    least = min(np.quantile(line.get_ydata(), 0.25) for line in accuracy.get_lines())
    accuracy.set_ylim(max(0, least - (top - least)), None)
    loss.set_ylim(0, max(2 * line.get_ydata()[-1] for line in loss.get_lines()))
    for axes in (merged, magnitude):
        axes.set_xlabel("parameters kept [%]")
        axes.set_ylabel("test accuracy [%]")
        axes.set_xscale("log")
        axes.invert_xaxis()
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_ylim(0, 100)
        axes.axhline(100 / len(_classes(cell)), color="0.7", linewidth=0.6, zorder=0)


def _classes(cell: CellData) -> range:
    return range(cell.analysis.attrs["classes"])


def _tables(label: str, curves: xr.Dataset, pruned: xr.Dataset) -> list[pd.DataFrame]:
    names = ["train_loss", "test_loss", "train_accuracy", "test_accuracy"]
    trained = curves[names].to_dataframe().reset_index().drop(columns="step")
    frames = [trained.melt(["seed", "epoch"], names, "quantity").assign(panel="training")]
    for method, dim in (("merged", "channels_kept"), ("magnitude", "weights_kept")):
        names = [str(n) for n in pruned.data_vars if str(n).startswith(method)]
        frame = pruned[names].to_dataframe().reset_index()
        melted = frame.melt(["seed", dim], names, "quantity").rename(columns={dim: "kept"})
        frames.append(melted.assign(panel=method))
    names = ["effective_rank", "participation_ratio"]
    frame = pruned[names].to_dataframe().reset_index()
    frames.append(frame.melt(["seed", "layer"], names, "quantity").assign(panel="sparsity"))
    columns = ["panel", "cell", "seed", "epoch", "kept", "layer", "quantity", "value"]
    return [frame.assign(cell=label).reindex(columns=columns) for frame in frames]


def _taken(pruned: xr.Dataset, method: str) -> np.ndarray:
    """The least share of parameters, in percent, with at most `DROP` points of accuracy lost."""
    dim = {"merged": "channels_kept", "magnitude": "weights_kept"}[method]
    accuracy = 100 * pruned[f"{method}_test_accuracy"]
    whole = accuracy.sel({dim: 1.0})
    kept = pruned[f"{method}_parameters"].where(accuracy >= whole - DROP)
    return 100 * np.asarray(kept.min(dim).values)


def _final(cell: CellData, name: str) -> np.ndarray:
    return np.asarray(alive(cell.analysis)[name].isel(step=-1).values)


def _text(cells: Sequence[CellData]) -> str:
    settings, plain = cells[0].settings, cells[0]
    images = plain.analysis.attrs["train_images"]
    epochs = settings["steps"] * (settings["batch_size"] or images) / images
    width = settings["width"] or 64
    head = (
        f"A ResNet of {settings['depth'] or 18} layers and width {width} trained on {images:,} "
        f"images ({SOURCES[settings['source']]}) for {epochs:.0f} epochs by plain SGD with η = "
        f"{settings['eta']:g} ({settings['eta_schedule']}) and batches of "
        f"{settings['batch_size'] or images}; labels are redrawn with probability τ at every step. "
        "Test accuracy and loss, and the accuracy of pruned networks, not trained again: features "
        "merged (IFM; real, smaller networks) or the smallest weights of all layers set to zero. "
        "Lines are means over seeds, bands span them."
    )
    rows = [
        "| τ | test accuracy [%] | test loss | parameters kept at −5 points, merged [%] | "
        "the same, by magnitude [%] | effective rank | participation ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for cell in cells:
        pruned = _pruned(cell)
        columns = [
            f"{cell.settings['tau']:g}",
            mean_spread(100 * _final(cell, "test_accuracy"), 2),
            mean_spread(_final(cell, "test_loss"), 3),
            mean_spread(_taken(pruned, "merged"), 1),
            mean_spread(_taken(pruned, "magnitude"), 1),
            mean_spread(pruned["effective_rank"].mean("layer").values, 3),
            mean_spread(pruned["participation_ratio"].mean("layer").values, 3),
        ]
        rows.append("| " + " | ".join(columns) + " |")
    claims = []
    for cell in cells[1:]:
        gain = _paired(cell, plain, "test_accuracy")
        sparser = [
            _paired_values(cell, plain, lambda c, m=method: _taken(_pruned(c), m))
            for method in ("merged", "magnitude")
        ]
        claims.append(
            f"τ = {cell.settings['tau']:g}: more accurate than τ = 0 in {share(gain > 0)} (by "
            f"{100 * gain.mean():+.2f} points), smaller at −5 points in {share(sparser[0] < 0)} "
            f"(merged) and {share(sparser[1] < 0)} (by magnitude)."
        )
    return "\n\n".join([head, "\n".join(rows), " ".join(claims)])


def _paired(cell: CellData, plain: CellData, name: str) -> np.ndarray:
    return _paired_values(cell, plain, lambda c: _final(c, name))


def _paired_values(
    cell: CellData, plain: CellData, measure: Callable[[CellData], np.ndarray]
) -> np.ndarray:
    """The difference of a measure, seed by seed, of the seeds that both have."""
    first, second = (
        dict(zip(alive(c.analysis)["seed"].values.tolist(), measure(c), strict=True))
        for c in (cell, plain)
    )
    return np.array([first[seed] - second[seed] for seed in first if seed in second])


def _metrics(cells: Sequence[CellData]) -> dict[str, float]:
    numbers = {}
    for cell in cells:
        tag = f"tau:{cell.settings['tau']:g}"
        numbers[f"test_accuracy {tag}"] = float(_final(cell, "test_accuracy").mean())
        numbers[f"merged_at_minus_5 {tag}"] = float(_taken(_pruned(cell), "merged").mean())
    return numbers

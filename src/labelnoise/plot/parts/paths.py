"""One neuron's way through the norm–alignment plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .panels import Shown
from .style import thousands, typeset

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes


def _path(shown: Shown, neuron: int) -> xr.Dataset:
    """Norm and alignment of one neuron over the steps.

    Raises:
        ValueError: that neuron was not recorded.
    """
    run = shown.cell.runs(shown.seed)
    if neuron not in run["neuron"]:
        raise ValueError(
            f"options.neuron: {neuron} was not recorded; the runs of experiment "
            f"{shown.cell.experiment} have the neurons 0 … {run.sizes['neuron'] - 1}"
        )
    path: xr.Dataset = run[["w_norm", "alignment"]].sel(neuron=neuron).load()
    return path


def _draw_main(axes: Axes, path: xr.Dataset, color: str, steps: Sequence[int]) -> None:
    """The path, darker with time, and where it is at the planes' times."""
    import seaborn as sns
    from matplotlib.collections import LineCollection
    from matplotlib.colors import Normalize

    # not from white: the start must be seen
    shades = sns.blend_palette([sns.light_palette(color, 5)[1], color], as_cmap=True)
    points = np.stack([path["w_norm"].values, path["alignment"].values], axis=-1)
    segments = np.stack([points[:-1], points[1:]], axis=1)
    middle = (path["step"].values[:-1] + path["step"].values[1:]) / 2
    time = Normalize(0, float(path["step"][-1]))
    line = LineCollection(list(segments), cmap=shades, norm=time, linewidths=1.3, capstyle="round")
    line.set_array(middle)
    axes.add_collection(line)
    at = path.sel(step=list(steps), method="nearest")
    axes.scatter(
        at["w_norm"],
        at["alignment"],
        c=at["step"],
        cmap=shades,
        norm=time,
        s=13,
        linewidths=0.5,
        edgecolors="0.15",
        zorder=3,
    )
    figure = axes.figure
    bar = figure.colorbar(line, ax=axes, aspect=16, pad=0.04, ticks=[0, float(path["step"][-1])])
    bar.ax.yaxis.set_major_formatter(lambda value, _: thousands(value))
    bar.ax.tick_params(rotation=90)
    low, high = bar.ax.get_yticklabels()
    low.set_verticalalignment("bottom")
    high.set_verticalalignment("top")
    bar.set_label("step", labelpad=-6)
    bar.outline.set_visible(False)


def _describe(path: xr.Dataset, neuron: int, seed: int) -> str:
    """Where the neuron starts, where it ends, and when it turned."""
    norm, alignment = path["w_norm"].values, path["alignment"].values
    text = (
        f"Neuron {neuron} of seed {seed} goes from norm {norm[0]:.2f} and alignment "
        f"{alignment[0]:.2f} to norm {norm[-1]:.3f} and alignment {alignment[-1]:.2f}"
    )
    turned = np.flatnonzero(alignment >= 0.5)
    if alignment[0] < 0.5 and turned.size:
        first = turned[0]
        step = thousands(int(path["step"][first]))
        text += (
            f". Its alignment first exceeds ½ at step {step}, where its norm is {norm[first]:.3f}"
        )
    return text + "."


def draw_path(
    axes: Axes, pair: Sequence[Shown], neuron: int, steps: Sequence[int]
) -> tuple[pd.DataFrame, str]:
    """One neuron's way over the whole run; returns what was drawn, and what is seen in words.

    Args:
        axes: a panel that shares its axes with the norm–alignment planes.
        pair: the cells; the path of the last one is coloured by time.
        neuron: number of the neuron, the same of both.
        steps: where the path is marked.

    Raises:
        ValueError: that neuron was not recorded.
    """
    import pandas as pd

    frames = []
    for shown in pair:
        path = _path(shown, neuron)
        if shown is pair[-1]:
            _draw_main(axes, path, shown.look.color, steps)
        else:
            axes.plot(
                path["w_norm"],
                path["alignment"],
                color=shown.look.color,
                # a ring where it starts: undisturbed, it hardly moves
                marker="o",
                markevery=[0],
                markersize=7,
                fillstyle="none",
            )
        frame = path.to_dataframe().reset_index().assign(cell=shown.look.label, seed=shown.seed)
        frames.append(frame)
    axes.set_title(f"neuron {neuron}", pad=3)
    axes.set_xlabel(typeset("norm ‖w_i‖"))
    identity = ["cell", "seed", "step", "neuron"]
    melted = pd.concat(frames).melt(identity, ["w_norm", "alignment"], "quantity")
    told = _describe(path, neuron, pair[-1].seed)
    return melted.assign(panel="path"), f"{pair[-1].look.label}: {told}" if len(pair) > 2 else told

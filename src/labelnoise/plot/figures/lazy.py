"""The network beside its linearisation: the lazy regime ends where they part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from labelnoise.plot.parts.checks import Planned, told_apart
from labelnoise.plot.parts.panels import COLUMNS, seeds, spread, stability_note, table
from labelnoise.plot.parts.style import (
    ALL_SEEDS,
    TEXT_WIDTH,
    CellData,
    Drawing,
    Look,
    apply_style,
    band_handle,
    legend_above,
    letter,
    looks,
    note_below,
    shared,
)

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

VERB = "simulate"
NEEDS = ("analyze", "linearize")

LOSS = "test_loss"
MODELS: dict[str, dict[str, Any]] = {
    "network": {"linestyle": "-", "linewidth": 1.6},
    "linearised": {"linestyle": (0, (3, 1.5)), "linewidth": 0.9},
}
LINEARISED = "0.1"
"""Colour of what is linearised: thin and dark over the network's line, which it may cover."""

PARTS: Literal[":"] = ":"
ESCAPES: Literal["-"] = "-"
"""Line styles of the steps at which a cell's losses part, and its neurons have all left."""

LOSS_FLOOR, DIFFERENCE_FLOOR = 1e-4, 1e-5


class Options(BaseModel):
    """Options of the comparison with the linearised network."""

    model_config = ConfigDict(extra="forbid")

    parting: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.1,
        description="network and linearisation have parted when their test losses differ by this "
        "share of the linearised one's (or of its value at the start, if that is more)",
    )


@dataclass(frozen=True)
class _Pair:
    """A cell of which, for some seeds, neither the network nor its linearisation diverged."""

    look: Look
    network: xr.Dataset
    linearised: xr.Dataset

    @property
    def difference(self) -> xr.DataArray:
        """|L − L_lin|/max(L_lin, L_lin(0)) of the test losses, over (seed, step)."""
        ours, theirs = self.network[LOSS], self.linearised[LOSS]
        start = theirs.isel(step=0, drop=True)
        difference: xr.DataArray = abs(ours - theirs) / theirs.clip(min=start)
        return difference

    def parting_step(self, share: float) -> xr.DataArray:
        """The step at which the difference first reaches `share`, of each seed."""
        from labelnoise.analyze.phases import first_crossing

        return first_crossing(self.difference, share)


def _pairs(cells: Sequence[CellData]) -> tuple[list[_Pair], str]:
    """The seeds that can be compared, and what to say of those that cannot."""
    pairs, notes = [], []
    for cell, look in zip(cells, looks(cells), strict=True):
        linearised = cell.linearized().sel(seed=cell.analysis["seed"])
        gone = {
            "diverged": np.isfinite(cell.analysis["diverged_step"].values),
            "have a linearisation that diverged": np.isfinite(linearised["diverged_step"].values),
        }
        for what, which in gone.items():
            if which.any():
                notes.append(f"{look.label}: {which.sum()} of {which.size} runs {what}")
        alive = ~np.any(list(gone.values()), axis=0)
        if alive.any():
            pairs.append(_Pair(look, cell.analysis.isel(seed=alive), linearised.isel(seed=alive)))
    note = "; ".join(notes)
    return pairs, f"{note}; these are left out" if note else ""


def _palette(pairs: Sequence[_Pair]) -> dict[str, str]:
    return {pair.look.label: pair.look.color for pair in pairs}


def _numbers(pairs: Sequence[_Pair]) -> pd.DataFrame:
    """Everything that is drawn, as rows of the table and the model that they are of."""
    frames = []
    for pair in pairs:
        for model in MODELS:
            rows = getattr(pair, model)[LOSS].to_dataframe(name="value").reset_index()
            rows = rows.assign(quantity=LOSS)
            frames.append(rows.assign(panel=model, cell=pair.look.label))
        rows = pair.difference.to_dataframe(name="value").reset_index()
        rows = rows.assign(panel="difference", quantity="test_loss_difference")
        frames.append(rows.assign(cell=pair.look.label))
    return table(frames)


def _draw(axes: Axes, rows: pd.DataFrame, palette: dict[str, str], **style: Any) -> None:
    """The mean over seeds, and a band over all of them, of each cell."""
    import seaborn as sns

    sns.lineplot(
        rows,
        x="step",
        y="value",
        hue="cell",
        palette=palette,
        errorbar=("pi", 100),
        err_kws={"alpha": 0.2, "linewidth": 0},
        legend=False,
        ax=axes,
        **style,
    )


def _draw_losses(axes: Axes, numbers: pd.DataFrame, pairs: Sequence[_Pair]) -> None:
    rows = numbers[numbers["quantity"] == LOSS]
    for model, style in MODELS.items():
        palette = _palette(pairs)
        if model == "linearised":
            palette = dict.fromkeys(palette, LINEARISED)
        _draw(axes, rows[rows["panel"] == model], palette, **style)
    # without noise both fall to rounding: nothing is to be seen down there
    least = 0.3 * rows.loc[rows["value"] > 0, "value"].min()
    axes.set_ylim(max(LOSS_FLOOR, least), 2 * max(rows["value"].max(), LOSS_FLOOR))
    axes.set_ylabel("test loss")


def _draw_difference(
    axes: Axes, numbers: pd.DataFrame, pairs: Sequence[_Pair], options: Options
) -> None:
    rows = numbers[numbers["panel"] == "difference"]
    # what is below the axis has no place on it
    rows = rows.assign(value=rows["value"].clip(lower=0.1 * DIFFERENCE_FLOOR))
    _draw(axes, rows, _palette(pairs))
    axes.axhline(options.parting, color="0.2", linewidth=0.7, linestyle=(0, (4, 2)))
    least = 0.3 * rows.loc[rows["step"] > 0, "value"].min()
    axes.set_ylim(min(max(DIFFERENCE_FLOOR, least), 0.3 * options.parting), 2)
    axes.set_ylabel("relative loss difference")


def _mark(panels: Sequence[Axes], pair: _Pair, options: Options) -> None:
    """Mark where a cell's curves part, and where its neurons have left the lazy regime."""
    for steps, linestyle in (
        (pair.parting_step(options.parting), PARTS),
        (pair.network["escape_step"], ESCAPES),
    ):
        step = float(np.median(np.where(np.isnan(steps), np.inf, steps)))
        first, last = panels[0].get_xlim()
        if not first <= step <= last:  # never in most runs, or before the first snapshot
            continue
        for axes in panels:
            axes.axvline(step, color=pair.look.color, linewidth=0.8, linestyle=linestyle, zorder=1)


def _describe(pair: _Pair, options: Options) -> tuple[str, dict[str, float]]:
    """Where one cell's curves part, and where its neurons have left the lazy regime."""
    parting = pair.parting_step(options.parting).values
    escape = pair.network["escape_step"].values
    parted, escaped = np.isfinite(parting), np.isfinite(escape)
    head = f"{pair.look.label} ({seeds(parting.size)}): the test losses "
    largest = float(pair.difference.max())
    if parted.any():
        text = (
            f"{head}part by {100 * options.parting:g} % at step {spread(parting)} in "
            f"{parted.sum()} of {parted.size} runs"
        )
    else:
        text = f"{head}never part by {100 * options.parting:g} % (at most {100 * largest:.2g} %)"
    text += (
        f". Every neuron has left the lazy regime by step {spread(escape)} in {escaped.sum()} of "
        f"{escaped.size} runs"
        if escaped.any()
        else ". In no run does every neuron leave the lazy regime"
    )
    both = parted & escaped
    if both.any():
        at_escape = [
            float(np.interp(step, pair.difference["step"], one))
            for step, one in zip(escape[both], pair.difference.values[both], strict=True)
        ]
        ratio = float(np.median(escape[both] / parting[both]))
        text += (
            f": {ratio:.1f} times as late (median). The losses differ by "
            f"{100 * float(np.mean(at_escape)):.0f} % there"
        )
    numbers = {"parting_step": parting, "escape_step": escape}
    metrics = {
        f"{name} {pair.look.tag}": float(np.nanmedian(values))
        for name, values in numbers.items()
        if np.isfinite(values).any()
    }
    return f"{text}.", metrics | {f"largest_difference {pair.look.tag}": largest}


def check(cells: Sequence[Planned], options: Options) -> list[str]:
    """Why it cannot draw these cells: a line for each reason."""
    return told_apart(cells, "lazy")


def draw(cells: Sequence[CellData], options: Options) -> Drawing:
    """Draw the test losses of the network and of its linearisation, under the same noise.

    Args:
        cells: the cells of the experiments, of algorithms that have a linearised run.
        options: see `Options`.
    """
    import matplotlib.pyplot as plt
    import pandas as pd
    from matplotlib.lines import Line2D

    apply_style()
    figure = plt.figure(figsize=(TEXT_WIDTH, 2.7), layout="constrained")
    pairs, note = _pairs(cells)
    note = "; ".join(filter(None, [note, stability_note(cells)]))
    note_below(figure, note)
    if not pairs:
        return Drawing(figure, pd.DataFrame(columns=COLUMNS), f"Nothing to compare. {note}.")
    numbers = _numbers(pairs)
    panels = figure.subplots(1, 2)
    _draw_losses(panels[0], numbers, pairs)
    _draw_difference(panels[1], numbers, pairs, options)
    # step 0 has no place on a logarithmic axis
    steps = numbers.loc[numbers["step"] > 0, "step"]
    for axes, name in zip(panels, "ab", strict=True):
        axes.set(xscale="log", yscale="log", xlabel="step")
        axes.set_xlim(min(steps.min(), 0.1 * steps.max()), steps.max())
        letter(axes, name)
    for pair in pairs:
        _mark(panels, pair, options)
    handles: list[Artist] = [
        Line2D([], [], color=c, linewidth=2, label=n) for n, c in _palette(pairs).items()
    ]
    handles += [Line2D([], [], color="0.2", label=name, **style) for name, style in MODELS.items()]
    part = f"losses part by {100 * options.parting:g} %"
    handles += [
        Line2D([], [], color="0.3", linewidth=0.8, linestyle=linestyle, label=label)
        for linestyle, label in ((PARTS, part), (ESCAPES, "every neuron has left"))
    ]
    handles.append(band_handle(ALL_SEEDS))
    title = shared(cells)
    legend_above(figure, handles, f"{title} in all" if title else "")
    told = [_describe(pair, options) for pair in pairs]
    more = [f"{note}." if note else "", f"All have {title}." if title else ""]
    text = " ".join(filter(None, [*(text for text, _ in told), *more]))
    metrics = {name: value for _, some in told for name, value in some.items()}
    return Drawing(figure, table([numbers]), text, metrics)

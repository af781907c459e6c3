"""Figure 3: networks on few images, with and without label noise, beside their linearisation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from labelnoise.plot.parts.checks import Planned, levels
from labelnoise.plot.parts.few_images import BANDS, Row, claims, draw_rows, final, paired, rows
from labelnoise.plot.parts.style import CellData, Drawing

VERB = "train"
NEEDS = ("analyze", "linearize")


NOISES = {"redraw": ("Redrawing", "½τ²(C − 1)/C²"), "flip": ("Flipping", "½τ²/(C − 1)")}
"""What is done to labels, and the loss of the mean of what becomes of them."""


class Options(BaseModel):
    """Figure 3 has no options."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def check(cells: Sequence[Planned], options: Options) -> list[str]:
    """Why it cannot draw these cells: a line for each reason."""
    return levels(cells, "tau", "figure3")


def draw(cells: Sequence[CellData], options: Options) -> Drawing:
    """Draw losses and first-layer norms, a row for each network (paper, Figure 3).

    Args:
        cells: the cells of the experiments, over τ, 0 among them; each experiment is a network.
        options: none.

    Raises:
        ValueError: as `few_images.rows`.
    """
    found = rows(cells, "tau")
    return draw_rows(found, _text(found))


def _text(found: Sequence[Row]) -> str:
    parts = []
    for row in found:
        lines = [claims(row)]
        if row.settings["loss"] == "mse":
            lines.append(_mean_label(row))
        parts.append(" ".join(lines))
    parts.append(
        "Drawn are the training loss (on the true labels), the test loss, and the relative change "
        "of the first layer's norms: its mean and its standard deviation over the neurons. Each "
        f"seed has images of its own. {BANDS}"
    )
    return "\n\n".join(parts)


def _mean_label(row: Row) -> str:
    """How much of what label noise does a lazy network does as well, from the labels' mean."""
    from labelnoise.train.noise import mean_shares

    tau, classes = row.settings["tau"], row.plain.data.attrs["classes"]
    own, other = mean_shares(tau, classes, row.settings["noise"])
    level = ((1 - own) ** 2 + (classes - 1) * other**2) / classes / 2
    does, formula = NOISES[row.settings["noise"]]
    reached = final(row.disturbed, "train_loss").mean()
    text = (
        f"{does} labels moves their mean. A network that fits the mean noisy label has a "
        f"training loss of {formula} = {level:.4f} (measured: {reached:.4f})."
    )
    if row.linear is None or row.mean_label is None:
        return text
    lazy = -paired(row.mean_label, row.linear, "test_loss").mean()
    seen = -paired(row.disturbed, row.plain, "test_loss").mean()
    apart = np.abs(paired(row.disturbed, row.mean_label, "test_loss")).mean()
    what = "gain" if seen > 0 else "harm"
    verdict = (
        f"so much of the {what} needs no leaving of the lazy regime"
        if lazy * seen > 0
        else f"the {what} is not one of the labels' mean"
    )
    return (
        f"{text} The linearised network, given that mean label, {_goes(lazy)} in test loss where "
        f"the network {_goes(seen)}. They end {apart:.4f} apart: {verdict}."
    )


def _goes(gain: float) -> str:
    return f"{'gains' if gain > 0 else 'loses'} {abs(gain):.4f}"

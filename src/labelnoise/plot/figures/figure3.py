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
    parts = [
        "Networks on few images: training loss (on the true labels), test loss, and the "
        "relative change of the first layer's norms, its mean and its standard deviation over the "
        f"neurons. A seed draws the images too. {BANDS}"
    ]
    for row in found:
        lines = [claims(row)]
        if row.settings["loss"] == "mse":
            lines.append(_mean_label(row))
        parts.append(" ".join(lines))
    return "\n\n".join(parts)


def _mean_label(row: Row) -> str:
    """How much of the gain a lazy network has as well, from the labels' mean alone."""
    tau, classes = row.settings["tau"], row.plain.data.attrs["classes"]
    level = tau**2 * (classes - 1) / classes**2 / 2
    reached = final(row.disturbed, "train_loss").mean()
    text = (
        "Redrawing labels moves their mean: a network that fits the mean noisy label has a "
        f"training loss of ½τ²(C − 1)/C² = {level:.4f} (measured: {reached:.4f})."
    )
    if row.linear is None or row.mean_label is None:
        return text
    lazy = -paired(row.mean_label, row.linear, "test_loss").mean()
    seen = -paired(row.disturbed, row.plain, "test_loss").mean()
    apart = np.abs(paired(row.disturbed, row.mean_label, "test_loss")).mean()
    if seen <= 0:
        verdict = "there is no gain to explain"
    elif lazy <= 0:
        verdict = "the gain is not one of the labels' mean"
    else:
        verdict = "so much of the gain needs no leaving of the lazy regime"
    return (
        f"{text} The linearised network, given that mean label, gains {lazy:.4f} in test loss "
        f"where the network gains {seen:.4f}, and ends {apart:.4f} from it: {verdict}."
    )

"""Figure 5: networks on few images under SAM and gradient descent, beside their linearisation."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from labelnoise.plot.parts.checks import Planned, levels, only
from labelnoise.plot.parts.few_images import BANDS, claims, draw_rows, rows
from labelnoise.plot.parts.style import CellData, Drawing

VERB = "train"
NEEDS = ("analyze", "linearize")


class Options(BaseModel):
    """Figure 5 has no options."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def check(cells: Sequence[Planned], options: Options) -> list[str]:
    """Why it cannot draw these cells: a line for each reason."""
    return levels(cells, "rho", "figure5") + only(
        cells, "tau", [0.0], "figure5", "SAM and gradient descent without label noise"
    )


def draw(cells: Sequence[CellData], options: Options) -> Drawing:
    """Draw losses and first-layer norms, a row for each network (paper, Figure 5).

    Args:
        cells: the cells of the experiments, over ρ, 0 among them (gradient descent); each
            experiment is a network.
        options: none.

    Raises:
        ValueError: as `few_images.rows`.
    """
    found = rows(cells, "rho")
    parts = [claims(row) for row in found]
    parts.append(
        "Drawn are the training loss and the test loss, as relative differences to gradient "
        "descent, and the relative change of the first layer's norms: its mean and its standard "
        f"deviation over the neurons. Each seed has images of its own. {BANDS}"
    )
    return draw_rows(found, "\n\n".join(parts), relative=True)

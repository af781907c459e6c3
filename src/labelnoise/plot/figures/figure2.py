"""Figure 2: label noise takes a wide network out of the lazy regime, and then aligns it."""

from __future__ import annotations

from collections.abc import Sequence

from labelnoise.plot.parts.checks import Planned, told_apart
from labelnoise.plot.parts.style import TEXT_WIDTH, CellData, Drawing, apply_style
from labelnoise.plot.parts.two_phases import TwoPhaseOptions, two_phases

VERB = "simulate"
NEEDS = ("analyze", "simulate")


class Options(TwoPhaseOptions):
    """Options of Figure 2."""


def check(cells: Sequence[Planned], options: Options) -> list[str]:
    """Why it cannot draw these cells: a line for each reason."""
    return told_apart(cells, "figure2")


def draw(cells: Sequence[CellData], options: Options) -> Drawing:
    """Draw the two phases under label noise (paper, Figure 2).

    Args:
        cells: the cells of the experiments, over σ; the one with the most label noise is the one
            whose phases are marked, the one with the least is its contrast.
        options: see `Options`.
    """
    import matplotlib.pyplot as plt

    apply_style()
    figure = plt.figure(figsize=(TEXT_WIDTH, 4.3), layout="constrained")
    return two_phases(figure, cells, options, by="sigma")

"""Figure 4: SAM without label noise takes the network through the same two phases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from labelnoise.plot.parts.checks import Planned, all_of, by_experiment, told_apart
from labelnoise.plot.parts.style import TEXT_WIDTH, CellData, Drawing, apply_style
from labelnoise.plot.parts.two_phases import TwoPhaseOptions, two_phases

VERB = "simulate"
NEEDS = ("analyze", "simulate")


class Options(TwoPhaseOptions):
    """Options of Figure 4."""

    neuron: Annotated[int, Field(strict=True, ge=0)] = Field(
        default=0, description="neuron whose way through the norm–alignment plane is drawn"
    )


def check(cells: Sequence[Planned], options: Options) -> list[str]:
    """Why it cannot draw these cells: a line for each reason."""
    problems = told_apart(cells, "figure4")
    for name, group in by_experiment(cells).items():
        every = [all_of(cell) for cell in group]
        recorded = min(settings["neurons"] or settings["width"] for settings in every)
        if options.neuron >= recorded:
            problems.append(
                f"options.neuron: {options.neuron} is not recorded; the runs of {name} have the "
                f"neurons 0 … {recorded - 1}"
            )
    return problems


def draw(cells: Sequence[CellData], options: Options) -> Drawing:
    """Draw the two phases under SAM, and one neuron's way through them (paper, Figure 4).

    Args:
        cells: the cells of the experiments, over ρ; the one with the largest is the one whose
            phases are marked, the one with the least (ρ = 0 is SGD) is its contrast.
        options: see `Options`.

    Raises:
        ValueError: the neuron was not recorded.
    """
    import matplotlib.pyplot as plt

    apply_style()
    figure = plt.figure(figsize=(TEXT_WIDTH, 4.3), layout="constrained")
    return two_phases(figure, cells, options, by="rho", path_of=options.neuron)

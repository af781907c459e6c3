"""Table 1: what the theory claims, and what the runs say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from labelnoise.analyze import claims
from labelnoise.analyze.claims import Row
from labelnoise.analyze.scaling import PowerLaw, fit_power_law
from labelnoise.analyze.theory import residual_inflation
from labelnoise.plot.parts.checks import (
    Planned,
    all_of,
    by_experiment,
    not_positive,
    only,
    several,
    single,
)
from labelnoise.plot.parts.style import (
    SYMBOLS,
    CellData,
    Drawing,
    apply_style,
    divergence_note,
    parameter,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VERB = "simulate"
NEEDS = ("analyze",)

PREDICTED = (
    ("sigma", "escape_step", -2.0),
    ("eta", "escape_step", -2.0),
    ("width", "escape_step", -0.5),
    ("width", "radius_step", -0.5),
)
"""What T₁ scales with, the radius that it is the escape from, and Theorem 4.2's exponent."""

FIXED = (
    "a neuron's drift, σ²η² a step, takes it out of a fixed radius as fast at any width; the "
    "theorem comes out for a radius that shrinks as √(ln m/m) (next row)"
)

COLUMNS = ("claim", "statement", "setting", "predicted", "measured", "verdict", "note")
WIDTHS = {"claim": 14, "setting": 27, "predicted": 33, "measured": 37, "verdict": 10, "note": 33}
"""Characters that a column of the picture takes."""

PAGE = 8.2
"""Width of the picture, inches."""


class Options(BaseModel):
    """Table 1 has no options."""

    model_config = ConfigDict(extra="forbid")


def _one(cells: Sequence[CellData], experiment: str) -> list[CellData]:
    found = [cell for cell in cells if cell.experiment == experiment]
    if not found:
        raise ValueError(f"table1 needs the experiment {experiment}; name it in its experiments")
    return found


def _setting(cells: Sequence[CellData], *names: str) -> str:
    """The settings that tell a claim's runs from the table's common ones, and how many seeds."""
    told = [parameter(name, cells[0].value(name)) for name in names]
    return ", ".join([*told, f"{cells[0].analysis.sizes['seed']} seeds"])


def _escape_laws(
    cells: Sequence[CellData], name: str, which: str
) -> tuple[np.ndarray, PowerLaw, PowerLaw]:
    """The values of a parameter, the power law of T₁ in it, and that with the inflation out."""
    if name in cells[0].together:
        times = cells[0].analysis[which].transpose(name, "seed").values
        values = cells[0].values(name)
    else:
        times = np.stack([cell.analysis[which].values for cell in cells])
        values = np.array([cell.value(name) for cell in cells], dtype=np.float64)
    own = {other: cells[0].value(other) for other in ("eta", "width", "dim")}
    growth = residual_inflation(**own | ({name: values} if name in own else {}))
    inflated = times * np.broadcast_to(growth, values.shape)[:, None]
    return values, fit_power_law(values, times), fit_power_law(values, inflated)


def rows(cells: Sequence[CellData]) -> list[tuple[Row, str]]:
    """The rows of the table and the setting that each was checked in."""
    by_noise = sorted(_one(cells, "two_phases"), key=lambda cell: float(cell.settings["sigma"]))
    quiet, noisy = by_noise[0], by_noise[-1]
    settings, analysis = noisy.settings, noisy.analysis
    here = _setting([noisy], "sigma")
    traced = f"{here}, the first {settings['trace_steps']:,} steps"
    found = [
        (claims.lazy_without_noise(quiet.analysis), _setting([quiet], "sigma")),
        (claims.step_identity(analysis), traced),
        (claims.drift_sign(analysis, settings["width"], settings["dim"]), here),
        (claims.clear_drift(analysis), here),
        (claims.escape_time(analysis), here),
    ]
    for name, which, exponent in PREDICTED:
        scaled = _one(cells, f"scaling_{name}")
        values, law, small_eta = _escape_laws(scaled, name, which)
        fixed = [other for other in ("sigma", "eta", "width") if other != name]
        ends = " … ".join(f"{value:g}" for value in values[[0, -1]])
        radius = "√(ln m/m)" if which == "radius_step" else "a fixed radius"
        row = claims.escape_exponent(SYMBOLS[name], radius, exponent, law, small_eta)
        if (name, which) == ("width", "escape_step") and row.verdict == "does not hold":
            row = replace(row, note=FIXED)
        found.append((row, f"{SYMBOLS[name]} = {ends}, {_setting(scaled, *fixed)}"))
    (chain,) = _one(cells, "oscillation")
    decay = claims.chain_decay(chain.analysis, chain.learning_rate, chain.settings["delta"])
    found.append((decay, _setting([chain], "delta", "steps")))
    found.append(
        (
            claims.small_weights(
                analysis, noisy.learning_rate, settings["width"], settings["theta_star_norm"]
            ),
            here,
        )
    )
    descents = _one(cells, "phase_two")
    summaries = {cell.learning_rate: cell.analysis for cell in descents}
    norm = descents[0].settings["theta_star_norm"]
    for claim in (claims.gd_alignment, claims.gd_convergence):
        found.append((claim(summaries, norm), f"GD, {_setting(descents)}"))
    return found


def _common(cells: Sequence[CellData]) -> str:
    """What holds for all rows that say nothing else."""
    names = ("samples", "width", "dim", "eta", "theta_star_norm", "steps")
    cell = _one(cells, "two_phases")[0]
    return "Unless said otherwise " + ", ".join(parameter(n, cell.value(n)) for n in names) + "."


def _markdown(table: list[dict[str, str]], notes: Sequence[str]) -> str:
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    for entry in table:
        lines.append("| " + " | ".join(entry[c].replace("|", "\\|") for c in COLUMNS) + " |")
    return "\n".join([*lines, "", *notes])


def _typeset(text: str) -> str:
    """Subscripts as such, and no line broken around an equals sign."""
    return text.replace("w_i", "wᵢ").replace("a_i", "aᵢ").replace(" = ", "\u00a0=\u00a0")


def _picture(table: list[dict[str, str]], notes: Sequence[str]) -> Figure:
    """The table as a page: the statement of a claim, and its numbers below."""
    import textwrap

    import matplotlib.pyplot as plt

    apply_style()
    line, gap = 0.125, 0.09  # inches
    table = [{name: _typeset(text) for name, text in entry.items()} for entry in table]
    cells = [
        {name: textwrap.wrap(entry[name], width - 2) for name, width in WIDTHS.items()}
        for entry in table
    ]
    heights = [
        line * max(len(cell["claim"]), 1 + max(len(cell[name]) for name in cell if name != "claim"))
        for cell in cells
    ]
    total = sum(heights) + len(table) * gap + 0.4 + line * len(notes)
    figure = plt.figure(figsize=(PAGE, total))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, sum(WIDTHS.values()) + 2), ylim=(total, 0))
    axes.axis("off")
    lefts = {name: 1 + sum(list(WIDTHS.values())[:k]) for k, name in enumerate(WIDTHS)}

    def write(name: str, y: float, text: str, **style: Any) -> None:
        axes.text(lefts[name], y, text, fontsize=6.5, va="top", linespacing=1.25, **style)

    y = 0.08
    for name in WIDTHS:
        write(name, y, name, fontweight="bold")
    y += 0.2
    for entry, cell, height in zip(table, cells, heights, strict=True):
        axes.axhline(y, 0.005, 0.995, color="0.6", linewidth=0.4)
        write("claim", y + gap / 2, "\n".join(cell["claim"]), fontweight="bold")
        write("setting", y + gap / 2, entry["statement"], fontweight="bold", color="0.3")
        for name in list(WIDTHS)[1:]:
            write(name, y + gap / 2 + line, "\n".join(cell[name]))
        y += height + gap
    axes.axhline(y, 0.005, 0.995, color="0.6", linewidth=0.4)
    write("claim", y + gap / 2, "\n".join(notes), color="0.3")
    return figure


SCALED = ("sigma", "eta", "width")

USED = ("two_phases", *(f"scaling_{name}" for name in SCALED), "oscillation", "phase_two")
"""The experiments that the rows are about."""


def check(cells: Sequence[Planned], options: Options) -> list[str]:
    """Why it cannot draw these cells: a line for each reason."""
    groups = by_experiment(cells)
    missing = [name for name in USED if name not in groups]
    unused = [name for name in groups if name not in USED]
    problems = []
    if missing:
        problems.append(f"experiments: table1 needs {', '.join(missing)} too; name them")
    if unused:
        problems.append(
            f"experiments: table1 has no row for {', '.join(unused)}; it needs {', '.join(USED)}"
        )
    for name, algorithm in (("oscillation", "oscillation"), ("phase_two", "gd")):
        problems += only(groups.get(name, ()), "algorithm", [algorithm], "table1")
        problems += single(groups.get(name, ()), "table1")
    for name in ("two_phases", *USED[1:4]):
        problems += only(groups.get(name, ()), "algorithm", ["sgd"], "table1")
    why = "since Theorem 4.2 speaks of the width at a fixed η"
    problems += only(groups.get("scaling_width", ()), "eta_unit", ["1"], "table1", why)
    grids = {name: several(group) for name, group in groups.items()}
    for name in SCALED:
        experiment = f"scaling_{name}"
        grid = grids.get(experiment)
        if grid is None:
            continue
        if list(grid) != [name]:
            problems.append(
                f"experiments: table1 needs {experiment} over two or more values of {name} and "
                f"nothing else; it has the grid {grid}"
            )
        else:
            problems += not_positive(experiment, name, grid[name], "table1")
    if "two_phases" in groups:
        problems += single(groups["two_phases"], "table1")
        grid = grids["two_phases"]
        values = grid.get("sigma", [])
        if list(grid) != ["sigma"] or 0 not in values:
            problems.append(
                "experiments: table1 needs two_phases over sigma, 0 and at least one more value, "
                f"and nothing else; it has the grid {grid}"
            )
        for cell in groups["two_phases"]:
            settings = all_of(cell)
            if settings["sigma"] == max(values, default=0) and not settings["trace_steps"]:
                problems.append(
                    "experiments: two_phases has trace_steps: 0; table1 needs some, to check "
                    "Lemma 4.3 in"
                )
    if len(groups.get("oscillation", ())) > 1:
        problems.append(
            "experiments: table1 needs oscillation without a grid; it has the grid "
            f"{grids['oscillation']}"
        )
    if grids.get("phase_two", {}).keys() - {"eta"}:
        problems.append(
            "experiments: table1 needs phase_two over eta and nothing else; it has the grid "
            f"{grids['phase_two']}"
        )
    return problems


def draw(cells: Sequence[CellData], options: Options) -> Drawing:
    """Draw Table 1.

    Args:
        cells: of the experiments two_phases, scaling_sigma, scaling_eta, scaling_width,
            oscillation and phase_two.
        options: none.

    Raises:
        ValueError: an experiment is missing.
    """
    import pandas as pd

    table, numbers = [], []
    for row, setting in rows(cells):
        entry = {name: str(getattr(row, name, "")) for name in COLUMNS} | {"setting": setting}
        table.append(entry)
        numbers.append(entry | {"values": "; ".join(f"{k}={v:.6g}" for k, v in row.values.items())})
    metrics = {"claims": float(len(table))}
    for verdict in ("holds", "holds in part", "not reached", "does not hold"):
        count = sum(entry["verdict"] == verdict for entry in table)
        metrics["claims_" + verdict.replace(" ", "_")] = float(count)
    note = divergence_note([cell for cell in cells if not cell.together])
    notes = [_common(cells), *([f"{note}."] if note else [])]
    return Drawing(_picture(table, notes), pd.DataFrame(numbers), _markdown(table, notes), metrics)

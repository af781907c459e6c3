"""Table 1: what the theory claims, and what the runs say."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from labelnoise.analyze import chain_claims, claims, figure_claims
from labelnoise.analyze.claims import Row
from labelnoise.analyze.flow.limits import early_steps
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
    strength,
)

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

VERB = ("simulate", "train")
NEEDS = ("analyze",)

SCALED: dict[str, tuple[Literal["small", "large"] | None, bool]] = {
    "sigma": (None, True),
    "eta": ("small", True),
    "width": ("large", False),
}
"""What T₁ scales with; the limit that Theorem 4.2 is about, and whether the flow has its power."""

COLUMNS = (
    "claim",
    "statement",
    "setting",
    "predicted",
    "measured",
    "verdict",
    "note",
    "conditions",
)
WIDTHS = {"claim": 14, "setting": 27, "predicted": 33, "measured": 37, "verdict": 10, "note": 33}
"""Characters that a column of the picture takes."""

VERDICTS: dict[str, dict[str, Any]] = {
    "holds": {"color": "#1b6e3c", "fontweight": "bold"},
    "holds in part": {"color": "#8a5a00", "fontweight": "bold"},
    "not reached": {"color": "0.35", "fontweight": "bold"},
    "does not hold": {"color": "#a11d33", "fontweight": "bold"},
}
"""How a verdict is written."""

PAGE = 8.2
"""Width of the picture, inches."""


CONDITION = (
    "Conditions are those of docs/theory.md: η/η_max < 1, d/m small, n/d large, ησ²d^{3/2}/‖θ*‖ "
    "small. The paper's Condition 1 (A1–A6) is not evaluated: its text is not in this project."
)


class Options(BaseModel):
    """Table 1 has no options."""

    model_config = ConfigDict(extra="forbid")


Found = tuple[Row, str, str]
"""A row, the setting that it was checked in, and what the derivations ask of that setting."""


def _some(cells: Sequence[CellData], experiment: str) -> list[CellData]:
    return [cell for cell in cells if cell.experiment == experiment]


def _one(cells: Sequence[CellData], experiment: str) -> list[CellData]:
    found = _some(cells, experiment)
    if not found:
        raise ValueError(f"table1 needs the experiment {experiment}; name it in its experiments")
    return found


def _setting(cells: Sequence[CellData], *names: str) -> str:
    """The settings that tell a claim's runs from the table's common ones, and how many seeds."""
    told = [parameter(name, cells[0].value(name)) for name in names]
    return ", ".join([*told, f"{cells[0].analysis.sizes['seed']} seeds"])


def _conditions(cells: Sequence[CellData]) -> str:
    """What the derivations ask, at the settings of these simulations."""
    points = []
    for cell in cells:
        own = {**cell.settings, "eta": cell.learning_rate}
        axes = [(name, cell.values(name)) for name in cell.together]
        points += [own | {name: float(v)} for name, values in axes for v in values] or [own]
    return claims.conditions(points)


def _scaled(cells: Sequence[CellData], name: str) -> Found:
    """The row of Theorem 4.2 in one parameter."""

    def escape(cell: CellData) -> xr.DataArray:
        # on its way to divergence a run leaves for another reason
        return cell.analysis["escape_step"].where(cell.analysis["diverged_step"].isnull())

    if name in cells[0].together:
        times = escape(cells[0]).transpose(name, "seed").values
        values = cells[0].values(name)
    else:
        times = np.stack([escape(cell).values for cell in cells])
        values = np.array([cell.value(name) for cell in cells], dtype=np.float64)
    order = np.argsort(values)
    values, times = values[order], times[order]
    own = {other: cells[0].value(other) for other in ("sigma", "eta", "width", "dim")}
    own = {key: np.broadcast_to(np.float64(v), values.shape) for key, v in own.items()}
    own[name] = values
    m = own["width"]
    bound = np.sqrt(np.log(m) / m) / (own["sigma"] * own["eta"]) ** 2
    flow: Callable[[float], np.ndarray] = partial(early_steps, **own)
    limit, has_it = SCALED[name]
    row = claims.escape_law(
        SYMBOLS[name], values, times, bound, flow, limit=limit, flow_has_it=has_it
    )
    fixed = [other for other in SCALED if other != name]
    ends = " … ".join(f"{value:g}" for value in values[[0, -1]])
    setting = f"{SYMBOLS[name]} = {ends}, {_setting(cells, *fixed)}"
    return row, setting, _conditions(cells)


def _phase_one(cells: Sequence[CellData]) -> list[Found]:
    by_noise = sorted(_one(cells, "two_phases"), key=lambda cell: float(cell.settings["sigma"]))
    quiet, noisy = by_noise[0], by_noise[-1]
    settings, analysis = noisy.settings, noisy.analysis
    sizes = settings["width"], settings["dim"]
    found = [
        claims.drift_sign(analysis, *sizes),
        claims.clear_drift(analysis),
        claims.positive_drift(analysis, *sizes),
        claims.initial_second_layer(analysis, settings["width"]),
        claims.bounded_through_phase_one(
            analysis, noisy.learning_rate, float(settings["sigma"]), *sizes
        ),
        claims.escape_time(analysis),
    ]
    lazy = claims.lazy_without_noise(quiet.analysis)
    told = _setting([noisy], "sigma"), _conditions([noisy])
    return [
        (lazy, _setting([quiet], "sigma"), _conditions([quiet])),
        *((row, *told) for row in found),
        *(_scaled(_one(cells, f"scaling_{name}"), name) for name in SCALED),
    ]


def _chain(cells: Sequence[CellData]) -> list[Found]:
    """The rows of the oscillating second layer."""
    chains = _one(cells, "oscillation_norms")
    first = chains[0]
    summaries = {float(cell.settings["theta_star_norm"]): cell.analysis for cell in chains}
    decay = chain_claims.decay(summaries, first.learning_rate, first.settings["delta"])
    told = _setting([first], "delta", "steps"), _conditions(chains)
    others = _some(cells, "oscillation_aperiodic")
    least = min(chains, key=lambda cell: float(cell.settings["theta_star_norm"]))
    alternation = chain_claims.alternation(
        least.analysis,
        least.settings["transition"],
        {tuple(map(tuple, cell.settings["transition"])): cell.analysis for cell in others},
    )
    return [(decay, *told), (alternation, _setting([least], "delta"), _conditions([least]))]


def _phase_two(cells: Sequence[CellData]) -> list[Found]:
    noisy = max(_one(cells, "two_phases"), key=lambda cell: float(cell.settings["sigma"]))
    small = claims.small_weights(
        noisy.analysis,
        noisy.learning_rate,
        noisy.settings["width"],
        noisy.settings["theta_star_norm"],
    )
    found = [(small, _setting([noisy], "sigma"), _conditions([noisy]))]
    starts: tuple[tuple[str, Literal["small", "aligned"]], ...] = (
        ("phase_two", "small"),
        ("phase_two_aligned", "aligned"),
    )
    for experiment, start in starts:
        group = (_one if start == "small" else _some)(cells, experiment)
        if not group:
            continue
        summaries = {cell.learning_rate: cell.analysis for cell in group}
        norm = float(group[0].settings["theta_star_norm"])
        ratio = group[0].settings["dim"] / group[0].settings["samples"]
        slowest = float((1 - np.sqrt(ratio)) ** 2)
        mine = [claims.gd_convergence(summaries, norm, start, slowest)]
        if start == "small":
            mine = [
                claims.gd_alignment(summaries, norm, "mean"),
                claims.gd_alignment(summaries, norm, "any"),
                *mine,
            ]
        found += [(row, f"GD, {_setting(group)}", _conditions(group)) for row in mine]
    return found


def _sam(cells: Sequence[CellData]) -> list[Found]:
    found: list[Found] = []
    ascents = sorted(_some(cells, "sam"), key=lambda cell: float(cell.settings["rho"]))
    if len(ascents) > 1:
        row = figure_claims.sam(ascents[0].analysis, ascents[-1].analysis)
        found.append((row, _setting(ascents[-1:], "rho", "sigma"), _conditions(ascents[-1:])))
    both = _some(cells, "sam_noise")
    if both:
        summaries = {float(cell.settings["sigma"]): cell.analysis for cell in both}
        told = parameter("rho", both[0].settings["rho"])
        row = figure_claims.sam_with_noise(summaries, told)
        found.append((row, _setting(both, "rho"), _conditions(both)))
    return found


def _images(cells: Sequence[CellData]) -> list[Found]:
    """A row for each experiment on images, against its own undisturbed cell."""
    found: list[Found] = []
    groups: dict[str, list[CellData]] = {}
    for cell in cells:
        if "tau" in cell.settings:
            groups.setdefault(cell.experiment, []).append(cell)
    for name, group in groups.items():
        by: Literal["tau", "rho"] = (
            "rho" if any(strength(cell.settings, "rho") > 0 for cell in group) else "tau"
        )
        ordered = sorted(group, key=lambda cell: strength(cell.settings, by))
        settings = ordered[-1].settings
        levels = [strength(cell.settings, by) for cell in ordered]
        told = f"{name}: {settings['network']} on {settings['source']}, {_setting(ordered[-1:])}"
        if settings["loss"] == "cross_entropy" and by == "tau":
            kind = {"redraw": "redrawn labels", "flip": "flipped labels"}[settings["noise"]]
            table = dict(zip(levels, (cell.analysis for cell in ordered), strict=True))
            row = figure_claims.generalisation(table, kind)
        else:
            figure = f"Figure {'3' if by == 'tau' else '5'}, {settings['network']}"
            words = {"tau": "label noise", "rho": "SAM"}[by]
            row = figure_claims.few_images(ordered[0].analysis, ordered[-1].analysis, figure, words)
            told = f"{parameter(by, levels[-1])}, {told}"
        found.append((row, told, ""))
    return found


def rows(cells: Sequence[CellData]) -> list[Found]:
    """The rows of the table, in the order of the paper, and the setting of each."""
    return [
        *_phase_one(cells),
        *_chain(cells),
        *_phase_two(cells),
        *_sam(cells),
        *_images(cells),
    ]


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


TYPESET = (
    (r"\bw_i\b", "wᵢ"),
    (r"\ba_i\b", "aᵢ"),
    (r"d\^\{3/2\}", "d√d"),
    (r"(?<!\w)-(?=\d)", "−"),
    (r" = ", "\u00a0=\u00a0"),
    (r" ln(?=\W)", "\u00a0ln"),
)
"""Subscripts and minus signs as such, and no line broken around an equals sign or a logarithm."""


def _typeset(text: str) -> str:
    for plain, typeset in TYPESET:
        text = re.sub(plain, typeset, text)
    return text


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
            style = VERDICTS[entry[name]] if name == "verdict" else {}
            write(name, y + gap / 2 + line, "\n".join(cell[name]), **style)
        y += height + gap
    axes.axhline(y, 0.005, 0.995, color="0.6", linewidth=0.4)
    write("claim", y + gap / 2, "\n".join(map(_typeset, notes)), color="0.3")
    return figure


NEEDED = ("two_phases", *(f"scaling_{name}" for name in SCALED), "oscillation_norms", "phase_two")
"""The experiments without which there is no table."""

FURTHER = ("oscillation_aperiodic", "phase_two_aligned", "sam", "sam_noise")
"""Further simulations that have rows; and so has every experiment with verb: train."""

ALGORITHMS = {
    "two_phases": "sgd",
    **{f"scaling_{name}": "sgd" for name in SCALED},
    "oscillation_norms": "oscillation",
    "oscillation_aperiodic": "oscillation",
    "phase_two": "gd",
    "phase_two_aligned": "gd",
    "sam": "sam",
    "sam_noise": "sam",
}

GRIDS = {
    "oscillation_norms": "theta_star_norm",
    "oscillation_aperiodic": "",
    "phase_two": "eta",
    "phase_two_aligned": "eta",
    "sam": "rho",
    "sam_noise": "sigma",
}
"""What an experiment may vary, if anything."""


def _is_on_images(cells: Sequence[Planned]) -> bool:
    return "tau" in all_of(cells[0])


def _check_images(name: str, group: Sequence[Planned]) -> list[str]:
    """An experiment on images is compared with its own undisturbed cell."""
    grid = several(group)
    levels = [value for values in grid.values() for value in values]
    if len(grid) != 1 or not grid.keys() <= {"tau", "rho"} or 0 not in levels:
        return [
            f"experiments: table1 needs {name} over tau or rho, 0 and at least one more value, "
            f"and nothing else; it has the grid {grid}"
        ]
    return []


def check(cells: Sequence[Planned], options: Options) -> list[str]:
    """Why it cannot draw these cells: a line for each reason."""
    groups = by_experiment(cells)
    images = {name: group for name, group in groups.items() if _is_on_images(group)}
    missing = [name for name in NEEDED if name not in groups]
    unused = [name for name in groups if name not in (*NEEDED, *FURTHER, *images)]
    problems = []
    if missing:
        problems.append(f"experiments: table1 needs {', '.join(missing)} too; name them")
    if unused:
        problems.append(
            f"experiments: table1 has no row for {', '.join(unused)}; it needs "
            f"{', '.join(NEEDED)}, and may have {', '.join(FURTHER)} and any with verb: train"
        )
    for name, group in images.items():
        problems += _check_images(name, group)
    groups = {name: group for name, group in groups.items() if name in ALGORITHMS}
    for name, group in groups.items():
        problems += only(group, "algorithm", [ALGORITHMS[name]], "table1")
        if not name.startswith("scaling_"):
            problems += single(group, "table1")
    why = "since Theorem 4.2 speaks of the width at a fixed η"
    problems += only(groups.get("scaling_width", ()), "eta_unit", ["1"], "table1", why)
    why = "since Lemma 4.6 starts there"
    problems += only(
        groups.get("phase_two_aligned", ()), "initialisation", ["aligned"], "table1", why
    )
    grids = {name: several(group) for name, group in groups.items()}
    for name in SCALED:
        experiment = f"scaling_{name}"
        grid = grids.get(experiment)
        if grid is None:
            continue
        if list(grid) != [name] or len(grid[name]) < 3:
            problems.append(
                f"experiments: table1 needs {experiment} over three or more values of {name} and "
                f"nothing else; it has the grid {grid}"
            )
        else:
            problems += not_positive(experiment, name, grid[name], "table1")
    grid = grids.get("two_phases", {})
    if "two_phases" in groups and (list(grid) != ["sigma"] or 0 not in grid["sigma"]):
        problems.append(
            "experiments: table1 needs two_phases over sigma, 0 and at least one more value, "
            f"and nothing else; it has the grid {grid}"
        )
    for name, varied in GRIDS.items():
        if grids.get(name, {}).keys() - {varied}:
            problems.append(
                f"experiments: table1 needs {name} "
                + (f"over {varied} and nothing else" if varied else "without a grid")
                + f"; it has the grid {grids[name]}"
            )
    return problems


def draw(cells: Sequence[CellData], options: Options) -> Drawing:
    """Draw Table 1.

    Args:
        cells: of the experiments in `NEEDED`, and perhaps in `FURTHER`; and any on images.
        options: none.

    Raises:
        ValueError: an experiment is missing.
    """
    import pandas as pd

    table, numbers = [], []
    for row, setting, conditions in rows(cells):
        entry = {name: str(getattr(row, name, "")) for name in COLUMNS}
        entry |= {"setting": setting, "conditions": conditions}
        table.append(entry)
        numbers.append(entry | {"values": "; ".join(f"{k}={v:.6g}" for k, v in row.values.items())})
    metrics = {"claims": float(len(table))}
    for verdict in VERDICTS:
        count = sum(entry["verdict"] == verdict for entry in table)
        metrics["claims_" + verdict.replace(" ", "_")] = float(count)
    note = divergence_note([cell for cell in cells if not cell.together])
    notes = [_common(cells), CONDITION, *([f"{note}."] if note else [])]
    return Drawing(_picture(table, notes), pd.DataFrame(numbers), _markdown(table, notes), metrics)

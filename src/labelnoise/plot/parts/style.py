"""One style for all figures: sizes, fonts, colours, the names of parameters, and saving."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelnoise.artifacts.store import replacing, write_text
from labelnoise.simulate.settings import Settings

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

TEXT_WIDTH = 7.0
"""Width of a two-column figure, inches (AAAI)."""

NO_NOISE = "#9a9a9a"
"""Colour of runs that nothing disturbs (no label noise, no SAM, no chain), in every figure."""

NOISE = ("#0b4f9e", "#c65102", "#1b7a43", "#7b2d8b", "#8a6d00", "#a61c3c")
"""Colours of runs with noise, in the order of the grid; dark, so that they differ from NO_NOISE
in grey too. The first one is the colour of the paper's σ = 4."""

UNDISTURBED = (NO_NOISE, "#4d4d4d", "#c9c9c9")
"""Colours of such runs where a figure has more than one line of them."""

PALETTES = {"noise": NOISE, "sam": NOISE[::-1], "chain": NOISE[2:] + NOISE[:2]}
"""The same colours, beginning with another one for each kind of disturbance: one figure's first
colour means the same as another's."""

SYMBOLS = {
    "samples": "n",
    "width": "m",
    "dim": "d",
    "eta": "η",
    "sigma": "σ",
    "tau": "τ",
    "rho": "ρ",
    "delta": "δ",
    "theta_star_norm": "‖θ*‖",
}

IN_TEXT = re.compile(r"‖θ\*‖|θ\*|‖w_i‖|\ba_\w\b|√η|[ηστρδ]|\b[nmd]\b(?= =)")
"""The paper's symbols as texts have them; n, m and d are other things too, but not before a =."""

RC: dict[str, Any] = {
    "font.family": ["STIXGeneral", "DejaVu Serif"],  # the second for symbols the first lacks
    "mathtext.fontset": "stix",
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.title_fontsize": 7,
    "legend.frameon": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "lines.linewidth": 1.2,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.dpi": 100,
    "savefig.dpi": 300,
    "pdf.fonttype": 42,  # fonts embedded as TrueType
    "path.simplify": True,
}


@dataclass(frozen=True)
class CellData:
    """What a figure is given of one cell of an experiment.

    Attributes:
        experiment: name of the experiment.
        grid: the parameters that tell the cell from the others.
        together: the setting that varies within the cell, and its values; empty for one point.
        settings: all its settings.
        simulate: trajectories, one dataset a block of seeds, opened lazily.
        train: trainings, likewise.
        linearize: linearised runs, one dataset a block of seeds.
        prune: pruned networks, one dataset a block of seeds.
        analyze: curves and phases over all seeds, one dataset.

    A figure is given the files of those verbs that its module `NEEDS`.
    """

    experiment: str
    grid: Mapping[str, Any]
    together: Mapping[str, Sequence[float]]
    settings: Mapping[str, Any]
    simulate: Sequence[xr.Dataset] = ()
    train: Sequence[xr.Dataset] = ()
    linearize: Sequence[xr.Dataset] = ()
    prune: Sequence[xr.Dataset] = ()
    analyze: Sequence[xr.Dataset] = ()

    @property
    def learning_rate(self) -> float:
        """η, whatever the unit of the setting."""
        return Settings(**self.settings).learning_rate

    def value(self, name: str) -> Any:
        """A setting as numbers use it: of `eta` the learning rate that it stands for."""
        return self.learning_rate if name == "eta" else self.settings[name]

    def values(self, name: str) -> np.ndarray:
        """As `value`, of a setting that varies within the cell (`together`)."""
        found = np.asarray(self.together[name], np.float64)
        return Settings(**self.settings).as_learning_rate(found) if name == "eta" else found

    @property
    def analysis(self) -> xr.Dataset:
        """Curves and phases over all seeds (`labelnoise.analyze.summary.summarize`)."""
        (analysis,) = self.analyze
        return analysis

    def runs(self, seed: int) -> xr.Dataset:
        """The trajectories of one seed."""
        return next(block for block in self.simulate if seed in block["seed"].values).sel(seed=seed)

    def linearized(self) -> xr.Dataset:
        """The linearised runs of all seeds."""
        import xarray as xr

        return xr.concat(self.linearize, "seed")


@dataclass(frozen=True)
class Drawing:
    """A drawn figure, the numbers behind it (tidy) and what they say.

    Attributes:
        figure: the matplotlib figure.
        numbers: every number drawn, one a row.
        text: what is seen, with the measured values, in Markdown.
        metrics: the values that a person would compare between versions of the figure.
    """

    figure: Figure
    numbers: pd.DataFrame
    text: str
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Look:
    """How a cell is drawn: its colour and its label; and its tag in the names of metrics."""

    color: str
    label: str
    tag: str


def parameter(name: str, value: object) -> str:
    """`σ = 4`: a parameter by the paper's symbol where it has one."""
    text = (
        thousands(value)
        if isinstance(value, int) and not isinstance(value, bool)
        else _short(value)
        if isinstance(value, float)
        else str(value)
    )
    return f"{SYMBOLS.get(name, name)} = {text}"


def _short(value: float) -> str:
    """With few digits, or with all where few would make two values look the same."""
    text = f"{value:g}"
    return text if float(text) == value else repr(value)


def strength(settings: Mapping[str, Any], name: str) -> float:
    """How strong a disturbance is: `sigma`, `tau`, or `rho`, which is 0 of all but SAM."""
    if name == "rho" and settings["algorithm"] != "sam":
        return 0.0
    return float(settings[name])


def disturbance(settings: Mapping[str, Any]) -> str | None:
    """What takes a run out of the lazy regime, a key of `PALETTES`; None if nothing does."""
    if settings["algorithm"] == "oscillation":
        return "chain"
    if strength(settings, "rho") > 0:
        return "sam"
    noise = "tau" if "tau" in settings else "sigma"
    return "noise" if strength(settings, noise) > 0 else None


def thousands(value: float) -> str:
    """`12,000`: a count, in texts and at axes."""
    return f"{value:,.0f}"


def typeset(text: str) -> str:
    """A text as a picture has it: the paper's symbols set as mathematics.

    Args:
        text: with symbols as in captions, such as `mean norm ‖w_i‖` or `η = 0.001`.
    """

    def mathematics(found: re.Match[str]) -> str:
        symbol = found[0].replace("*", r"^{\ast}").replace("√η", r"\sqrt{η}")
        return f"${symbol}$"

    return IN_TEXT.sub(mathematics, text)


def _differing(cells: Sequence[CellData]) -> set[str]:
    """The parameters of the grids that tell some of these cells from others."""
    keys = {key for cell in cells for key in cell.grid}
    return {key for key in keys if len({str(cell.grid.get(key)) for cell in cells}) > 1}


def shared(cells: Sequence[CellData]) -> str:
    """`σ = 4`: what the grid says of all cells alike, which their labels leave out.

    Empty for a single cell, whose label has it.
    """
    same = cells[0].grid.keys() - _differing(cells) if _differing(cells) else set()
    return ", ".join(parameter(*item) for item in cells[0].grid.items() if item[0] in same)


def _label(cell: CellData, told: set[str]) -> str:
    """The parameters in which it differs from others; all of them where there are none."""
    own = {key: value for key, value in cell.grid.items() if key in told} or cell.grid
    return ", ".join(parameter(*item) for item in own.items()) or cell.experiment


def names(cells: Sequence[CellData], among: Sequence[CellData] = ()) -> list[tuple[str, str]]:
    """A label (for legends and tables) and a tag (for metrics) for each cell, no two the same.

    A label spells the parameters of the grid that differ from cell to cell, a tag all of them; and
    both the experiment too where the grids of two experiments look the same.

    Args:
        cells: the cells to name.
        among: all cells of the figure, where it names a part of them.
    """
    told = _differing(among or cells)
    everyone = [_label(cell, told) for cell in among or cells]
    alike = len(set(everyone)) < len(everyone)
    found = []
    for cell in cells:
        label = _label(cell, told)
        # MLflow takes no other letters than ASCII's
        tag = " ".join(f"{key}:{value}" for key, value in cell.grid.items()) or cell.experiment
        if alike and cell.grid:
            label, tag = f"{cell.experiment}: {label}", f"{cell.experiment} {tag}"
        found.append((label, tag))
    return found


def looks(cells: Sequence[CellData], among: Sequence[CellData] = ()) -> list[Look]:
    """A look for each cell, no two the same: grey where nothing disturbs, else of its palette.

    Args:
        cells: the cells that share a panel.
        among: all cells of the figure, where panels have colours of their own.

    Raises:
        ValueError: there are more cells than colours.
    """
    found: list[Look] = []
    used: set[str] = set()
    for cell, (label, tag) in zip(cells, names(cells, among), strict=True):
        kind = disturbance(cell.settings)
        palette = UNDISTURBED if kind is None else PALETTES[kind]
        color = next((color for color in palette if color not in used), None)
        if color is None:
            raise ValueError(f"{label}: no more than {len(palette)} such lines can be told apart")
        used.add(color)
        found.append(Look(color, label, tag))
    return found


def apply_style() -> None:
    """Set seaborn's and matplotlib's defaults to this project's style.

    Nothing of what was set before is left, such as by a user's matplotlibrc.
    """
    import matplotlib as mpl
    import seaborn as sns

    mpl.use("agg")
    mpl.rcdefaults()
    sns.set_theme(style="ticks", rc=RC)


def sequence(count: int) -> list[str]:
    """Colours for an ordered parameter, light to dark: readable in grey, colour-blind safe."""
    import matplotlib as mpl

    shades = mpl.colormaps["cividis_r"](np.linspace(0.12, 1, count))
    return [mpl.colors.to_hex(shade) for shade in shades]


def letter(axes: Axes, text: str) -> None:
    """The panel's letter, above its upper left corner."""
    axes.annotate(
        text,
        (0, 1),
        (-16, 4),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="right",
        fontsize=9,
        fontweight="bold",
    )


def step_axis(axes: Axes, last: float, parts: int = 2) -> None:
    """An axis of steps from 0 to `last`, both named and, where they are round, steps between.

    Step 0 has room beside it: what falls at once is not hidden by the axis.

    Args:
        axes: the panel.
        last: the last step.
        parts: the most parts that named steps divide the axis into.
    """
    axes.set(xlabel="step", xlim=(-0.02 * last, last))
    # round: whole, and of at most two digits before its zeros
    named = (
        count
        for count in range(parts, 1, -1)
        if last % count == 0 and float(f"{last / count:.1e}") == last / count
    )
    axes.set_xticks(np.linspace(0, last, next(named, 1) + 1))
    axes.xaxis.set_major_formatter(lambda value, _: thousands(value))


def band_handle(text: str) -> Artist:
    """What a band around a line spans, for a legend."""
    from matplotlib.patches import Patch

    return Patch(color="0.45", alpha=0.3, linewidth=0, label=f"band: {text}")


ALL_SEEDS = "all seeds"
"""What a band spans in most figures."""


def legend_above(figure: Figure | SubFigure, handles: Sequence[Artist], title: str = "") -> None:
    """A legend over the whole figure, in as many rows as its labels need."""
    names = [str(handle.get_label()) for handle in handles]
    # inches of an entry: its label, and the line before it
    wide = [0.5 + 0.047 * len(name) for name in names]
    columns = len(names) if sum(wide) < TEXT_WIDTH else max(1, int(TEXT_WIDTH / max(wide)))
    figure.legend(
        list(handles),
        list(map(typeset, names)),
        loc="outside upper center",
        ncols=min(columns, len(names)),
        title=typeset(title) or None,
    )


def note_below(figure: Figure, note: str) -> None:
    """What is to be said of runs that are left out, under the figure; nothing if empty."""
    if note:
        figure.supxlabel(typeset(textwrap.fill(note, 125)), fontsize=6.5, color="0.3")


def alive_seeds(analysis: xr.Dataset) -> list[int]:
    """Seeds whose run did not diverge."""
    return [int(s) for s in analysis["seed"].values[np.isnan(analysis["diverged_step"].values)]]


def divergence_note(cells: Sequence[CellData]) -> str:
    """What to say of runs that diverged and are left out of means; empty if none did."""
    notes = []
    for cell, (label, _) in zip(cells, names(cells), strict=True):
        steps = cell.analysis["diverged_step"].values
        gone = np.isfinite(steps)
        if gone.any():
            first = thousands(np.min(steps[gone]))
            notes.append(
                f"{label}: {gone.sum()} of {len(steps)} runs diverged (the first at step "
                f"{first}) and are left out"
            )
    return "; ".join(notes)


GRID = np.pi * 1e-7
"""Spacing of the layout's grid, in shares of the figure. Layouts are made of round numbers; an
irrational spacing keeps them from lying half-way between two of its points."""


def _on_grid(values: np.ndarray) -> np.ndarray:
    return np.asarray(GRID * np.round(values / GRID))


def settle(figure: Figure) -> None:
    """Lay a figure out, and put its layout on a grid finer than can be seen.

    The last bits of what matplotlib's layout solver finds depend on memory addresses, and would
    show in the last printed digit of a coordinate now and then.
    """
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    waiting = list(figure.subfigs)
    while waiting:
        part = waiting.pop()
        waiting += part.subfigs
        part.bbox_relative.p0 = _on_grid(part.bbox_relative.p0)
        part.bbox_relative.p1 = _on_grid(part.bbox_relative.p1)
    for axes in figure.axes:
        axes.set_position(Bbox(_on_grid(axes.get_position(original=True).get_points())))


def save(drawing: Drawing, pdf: Path, png: Path, csv: Path, md: Path) -> None:
    """Write a drawing and its numbers; the same drawing gives the same bytes."""
    import matplotlib as mpl

    # much is read from the settings only when a figure is saved
    with mpl.rc_context():
        apply_style()
        settle(drawing.figure)
        with replacing(pdf) as path:
            drawing.figure.savefig(path, metadata={"CreationDate": None})
        with replacing(png) as path:
            drawing.figure.savefig(path, metadata={"Software": None})
    with replacing(csv) as path:
        drawing.numbers.to_csv(path, index=False, float_format="%.9g", lineterminator="\n")
    write_text(drawing.text + "\n", md)

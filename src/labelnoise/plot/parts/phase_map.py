"""One half of the phase diagram as numbers: regimes, fitted escape times, what they say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .runs import run_table, varied
from .style import SYMBOLS, CellData

if TYPE_CHECKING:
    import pandas as pd

    from labelnoise.analyze.scaling import ProductLaw

ORDER = ("lazy", "rich", "noisy", "collapsed", "diverged")
"""Regimes as the legend and the text list them."""


def definitions(cells: Sequence[CellData]) -> str:
    """What the names of the regimes mean, in one sentence."""
    from labelnoise.analyze.regimes import COLLAPSED, TAIL

    moved = cells[0].analysis["escape_step"].attrs["threshold"]
    return (
        "By its last steps a run is *diverged* if its weights went beyond all bounds, *collapsed* "
        f"if ‖Wᵀa‖ is under {COLLAPSED:g}‖θ*‖, else *lazy* if the first layer moved by less than "
        f"{100 * moved:g} % of its norm, else *noisy* if ‖Wᵀa − θ*‖² is at least ‖θ*‖² (no better "
        "than predicting 0), else *rich*; both norms are means over the last "
        f"{100 * TAIL:g} % of the steps."
    )


@dataclass(frozen=True)
class Panel:
    """One experiment, its runs and what is predicted of them.

    Attributes:
        experiment: its name.
        parameter: what it varies beside η.
        runs: a row a run; `regime` in words, `predicted_escape_step`.
        first: the commonest regime of each (η, parameter); NaN (no code) where there is no run.
        second: the second commonest regime; NaN where the seeds agree.
        limit: η at which the first steps cease to be stable.
        law: the escape time fitted to the runs, for SAM.
        constant: C of Theorem 4.2, for SGD; NaN if no run escaped.
        fitted: which runs either was fitted to.
    """

    experiment: str
    parameter: str
    runs: pd.DataFrame
    first: pd.DataFrame
    second: pd.DataFrame
    limit: float
    law: ProductLaw | None
    constant: float
    fitted: pd.Series[bool]

    @property
    def symbol(self) -> str:
        """The parameter's symbol."""
        return SYMBOLS[self.parameter]

    @property
    def steps(self) -> int:
        """Steps of every run."""
        return int(self.runs["steps"].iloc[0])

    def escape_time(self, x: np.ndarray, eta: np.ndarray) -> np.ndarray | None:
        """The predicted T₁; None if there is no prediction."""
        from labelnoise.analyze.theory import escape_time

        if np.isfinite(self.constant):
            return escape_time(x, eta, float(self.runs["width"].iloc[0]), self.constant)
        return self.law(**{self.parameter: x, "eta": eta}) if self.law else None


def _ranked(codes: pd.Series[Any], rank: int) -> float:
    """The code that is commonest (rank 0) or second commonest (1); of equals the lower one."""
    counts = codes.value_counts()
    ranked = sorted(counts.index, key=lambda code: (-counts[code], code))
    return float(ranked[rank]) if rank < len(ranked) else float("nan")


def make_panel(experiment: str, cells: Sequence[CellData], fit_up_to: float) -> Panel:
    """Sort the runs of one experiment onto its grid, and fit what is fitted.

    Raises:
        ValueError: it does not vary η and one other setting, or has one that is not positive.
    """
    from labelnoise.analyze.flow.limits import stability_limit
    from labelnoise.analyze.regimes import REGIMES
    from labelnoise.analyze.scaling import fit_product_law
    from labelnoise.analyze.theory import escape_constant

    names = varied(cells)
    others = [name for name in names if name != "eta"]
    if len(others) != 1 or "eta" not in names:
        raise ValueError(
            "phase_diagram draws experiments over eta and one other setting; "
            f"{experiment} varies {', '.join(names) or 'none'}"
        )
    (parameter,) = others
    runs = run_table(cells, ["regime", "escape_step", "diverged_step"])
    if (runs[parameter] <= 0).any():
        raise ValueError(
            f"phase_diagram has logarithmic axes: {experiment} has a {parameter} of "
            f"{runs[parameter].min():g}; take it out of the grid"
        )
    codes = runs.groupby(["eta", parameter])["regime"]
    first, second = (codes.agg(_ranked, rank).unstack() for rank in (0, 1))
    runs["regime"] = [REGIMES[int(code)] for code in runs["regime"]]

    limit = stability_limit(int(runs["width"].iloc[0]), int(runs["dim"].iloc[0]))
    # T₁ on the way to divergence is another thing than the one predicted
    fitted = (
        runs["escape_step"].notna()
        & runs["diverged_step"].isna()
        & (runs["eta"] <= fit_up_to * limit)
    )
    measured = runs["escape_step"].where(fitted).to_numpy(np.float64)
    arrays = {name: runs[name].to_numpy(np.float64) for name in ("eta", "width", parameter)}
    law, constant = None, float("nan")
    if parameter == "sigma" and (runs["algorithm"] == "sgd").all():
        constant = escape_constant(measured, arrays["sigma"], arrays["eta"], arrays["width"])
    else:
        law = fit_product_law({parameter: arrays[parameter], "eta": arrays["eta"]}, measured)
    panel = Panel(experiment, parameter, runs, first, second, limit, law, constant, fitted)
    predicted = panel.escape_time(arrays[parameter], arrays["eta"])
    runs["predicted_escape_step"] = np.nan if predicted is None else predicted
    return panel


def sentences(panel: Panel) -> str:
    """The shares of the regimes of one panel, and where the predictions hold."""
    runs = panel.runs
    counts = runs["regime"].value_counts()
    shares = ", ".join(f"{name} {100 * counts.get(name, 0) / len(runs):.1f} %" for name in ORDER)
    text = [f"**{panel.experiment}** ({len(runs)} runs of {panel.steps:,} steps): {shares}."]
    split, shown = int(panel.second.notna().sum().sum()), int(panel.first.notna().sum().sum())
    seeds = runs["seed"].nunique()
    if seeds > 1:
        text.append(
            f"A cell is coloured by the commonest regime of its {seeds} seeds; where they disagree "
            f"({split} of {shown} cells) its upper right half shows the second commonest one "
            "(of equals, the first listed is below)."
        )
    return " ".join([*text, *_stability(panel), *_escape(panel)])


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _of(part: pd.Series[Any]) -> str:
    return f"{int(part.sum())} of {len(part)}"


def _stability(panel: Panel) -> list[str]:
    """Where the runs diverged, beside the predicted limit."""
    runs = panel.runs
    diverged, above = runs["regime"] == "diverged", runs["eta"] > panel.limit
    text = [
        f"Stability: above the predicted limit η(d + m)(1 + 2/d) = 2, η = {panel.limit:.3g}, "
        f"{_of(diverged[above])} runs diverged; below it {_of(diverged[~above])}"
    ]
    early = runs[diverged & ~above]
    if len(early):
        text[0] += f", all at {panel.symbol} ≥ {early[panel.parameter].min():g}"
    return [text[0] + "."]


def _left_out(panel: Panel) -> str:
    """How many runs tell no time, or are not asked for one, and why."""
    runs = panel.runs
    gone, left = runs["diverged_step"].notna(), runs["escape_step"].notna()
    near = int((left & ~gone & ~panel.fitted).sum())
    return (
        f"left out are {int(gone.sum())} runs that diverged, {int((~gone & ~left).sum())} that "
        f"never left and {near} near the stability limit"
    )


def _escape(panel: Panel) -> list[str]:
    """Which runs left the lazy regime in time, beside the predicted time."""
    runs = panel.runs[panel.runs["diverged_step"].isna()]
    if panel.escape_time(np.ones(1), np.ones(1)) is None:
        return ["Too few runs left the lazy regime to fit an escape time."]
    if panel.law:
        exponents = panel.law.exponents
        text = (
            "Escape: the paper's statement on SAM is qualitative; the contours are a fit to "
            f"{panel.law.used} runs, T₁ ∝ {panel.symbol}^{_signed(exponents[panel.parameter])} "
            f"η^{_signed(exponents['eta'])} (typical error a factor {10**panel.law.scatter:.2g}); "
            f"{_left_out(panel)}."
        )
    else:
        text = (
            f"Escape: the contours are T₁ = C/(σ²η²√m), Theorem 4.2 without its √(log m), with "
            f"C = {panel.constant:.3g} the median over {int(panel.fitted.sum())} runs; "
            f"{_left_out(panel)}."
        )
    ratio = runs["escape_step"] / runs["predicted_escape_step"]
    fitted = panel.fitted[runs.index]
    low, high = np.quantile(ratio[fitted], [0.05, 0.95])
    text += f" Measured over predicted T₁ is between {low:.2g} and {high:.2g} for 90 % of them"
    nearer = ratio[runs["eta"] > runs.loc[fitted, "eta"].max()]
    near = nearer.dropna()
    text += (
        f", and {near.median():.2g} (median) for the {len(near)} of {len(nearer)} runs at larger η "
        "that left."
        if len(near)
        else "."
    )
    due = runs["predicted_escape_step"] <= panel.steps
    agree = (runs["regime"] != "lazy") == due
    wrong = runs[~agree]
    return [
        text,
        f"Of the runs that did not diverge, {_of(agree)} are on the predicted side of "
        f"T₁ = {panel.steps:,}: "
        f"{int((wrong['regime'] == 'lazy').sum())} stayed lazy that should have left, "
        f"{int((wrong['regime'] != 'lazy').sum())} moved that should not have.",
    ]

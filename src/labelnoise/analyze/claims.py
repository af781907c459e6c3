"""The paper's claims, each checked against measured runs: the rows of Table 1.

Every function takes the analyses (`labelnoise.analyze.summary.summarize`) of the runs that a claim
speaks of and returns what it predicts, what was measured, and a verdict that follows from the two.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from .scaling import PowerLaw

Verdict = Literal["holds", "holds in part", "not reached", "does not hold"]


@dataclass(frozen=True)
class Row:
    """One claim and what the runs say of it.

    Attributes:
        claim: where the paper makes it.
        statement: what it says.
        predicted: what that means for what is measured.
        measured: what was measured.
        verdict: whether the two agree.
        values: the measured numbers by name.
        note: which assumption fails, or how loose a bound is; empty if there is nothing to say.
    """

    claim: str
    statement: str
    predicted: str
    measured: str
    verdict: Verdict
    values: Mapping[str, float]
    note: str = ""


def _verdict(holds: bool) -> Verdict:
    return "holds" if holds else "does not hold"


def lazy_without_noise(summary: xr.Dataset) -> Row:
    """Definition 4.1: without label noise every ‖w_i(t) − w_i(0)‖ stays small beside ‖w_i(0)‖."""
    threshold = float(summary["escape_step"].attrs["threshold"])
    largest = float(summary["displacement_max"].max())
    return Row(
        "Definition 4.1",
        "without label noise the network stays lazy",
        f"every ‖w_i(t) − w_i(0)‖/‖w_i(0)‖ under {threshold:g}",
        f"at most {largest:.4f}, over all neurons, steps and seeds",
        _verdict(largest < threshold),
        {"displacement_max": largest},
    )


def step_identity(summary: xr.Dataset) -> Row:
    """Lemma 4.3: η²(∂ℓ̂)²(x·w_i)² = (a_i(t+1) − a_i(t))² exactly, step by step."""
    error = float(summary["identity_error"].max())
    return Row(
        "Lemma 4.3, identity",
        "η²(∂ℓ̂)²(x·w_i)² = (a_i(t+1) − a_i(t))² in every step",
        "equal",
        f"largest deviation {error:.0e} of the largest square",
        _verdict(error < 1e-10),
        {"identity_error": error},
    )


def drift_sign(summary: xr.Dataset, width: int, dim: int) -> Row:
    """Lemma 4.3: the drift of ‖w_i‖² in a step is negative with probability near 1.

    At the start (x·w_i)² and a_i²‖x‖² are squares of normals of standard deviations ‖w_i‖ and
    about √(d/m), so that the probability is 1 − (2/π) arctan √(d/m), near 1 where m ≫ d.
    """
    share = summary["drift_negative_share"].mean("seed")
    start, end = float(share[0]), float(share[-1])
    escape = float(summary["escape_step"].mean())
    at_escape = float(share.interp(step=escape)) if np.isfinite(escape) else float("nan")
    predicted = 1 - 2 / np.pi * np.arctan(np.sqrt(dim / width))
    error = float(summary["drift_negative_share"].isel(step=0).std()) / summary.sizes["seed"] ** 0.5
    agrees = abs(start - predicted) < max(3 * error, 0.02)
    return Row(
        "Lemma 4.3, sign",
        "the drift of ‖w_i‖² is negative with probability near 1",
        f"1 − (2/π) arctan √(d/m) = {predicted:.3f} at the start",
        f"{start:.3f} at the start, {at_escape:.3f} at T₁, {end:.3f} at the end",
        "holds" if agrees and at_escape > 0.8 else "holds in part" if agrees else "does not hold",
        {"start": start, "escape": at_escape, "end": end, "predicted": float(predicted)},
        "near 1 only while m ≫ d and the norms are of order 1: as they fall the two terms balance",
    )


def clear_drift(summary: xr.Dataset) -> Row:
    """Lemma 4.3: the drift is clearly negative with constant probability (throughout Phase I).

    Clearly: (x·w_i)² − a_i²‖x‖² > ½‖w_i‖²; for a_i = 0 that is P(z² > ½) = erfc(½) for a normal z.
    """
    share = summary["drift_clear_share"].mean("seed")
    end = float(summary["alignment_step"].mean())
    phase = share.sel(step=slice(0, end)) if np.isfinite(end) else share
    least = float(phase.min())
    return Row(
        "Lemma 4.3, size",
        "the drift is clearly negative, beyond half of η²(∂ℓ̂)²‖w_i‖², with constant probability",
        f"bounded away from 0 through Phase I ({math.erfc(0.5):.3f} for a_i = 0)",
        f"{float(share[0]):.3f} at the start, at least {least:.3f} through Phase I",
        _verdict(least > 0.1),
        {"start": float(share[0]), "least": least},
    )


def escape_time(summary: xr.Dataset) -> Row:
    """Theorem 4.2: with label noise every neuron leaves the lazy regime."""
    step = summary["escape_step"]
    reached, runs = int(step.notnull().sum()), step.size
    mean = float(step.mean()) if reached else float("nan")
    return Row(
        "Theorem 4.2",
        "with label noise every neuron leaves the lazy regime",
        "all runs, at a T₁ that does not depend on the seed to leading order",
        f"{reached} of {runs} runs, T₁ = {mean:,.0f} ± {float(step.std()):,.0f} steps (sd)",
        "holds" if reached == runs else "holds in part" if reached else "not reached",
        {"escape_step": mean, "reached": float(reached)},
    )


def _agrees(law: PowerLaw, predicted: float) -> bool:
    return law.low <= predicted <= law.high or abs(law.exponent - predicted) < 0.1


def _told(law: PowerLaw) -> str:
    return f"{law.exponent:.2f}, 95 % interval {law.low:.2f} … {law.high:.2f}"


def escape_exponent(
    symbol: str, radius: str, predicted: float, law: PowerLaw, small_eta: PowerLaw
) -> Row:
    """Theorem 4.2: T₁ = O(√(log m)/(σ²η²√m)), as a power of one of the three.

    Args:
        symbol: σ, η or m.
        radius: what the neurons escape from, in words.
        predicted: the exponent.
        law: that of the measured T₁.
        small_eta: that of T₁ times `theory.residual_inflation`, which takes out how near the runs
            are to the stability limit: the theorem is about η → 0.
    """
    agrees, in_limit = _agrees(law, predicted), _agrees(small_eta, predicted)
    verdict: Verdict = "holds" if agrees else "holds in part" if in_limit else "does not hold"
    note = "" if agrees else "over this range T₁ does not follow the bound"
    if in_limit and not agrees:
        note = (
            "the theorem is about small η: here the residuals grow towards the stability limit by "
            f"1/(1 − η(d + m)/2); with T₁ times that the exponent is {_told(small_eta)}"
        )
    return Row(
        f"Theorem 4.2, in {symbol}",
        f"T₁ = O(√(log m)/(σ²η²√m)) as a power of {symbol}, T₁ being the escape from {radius}",
        f"exponent {predicted:g}",
        _told(law) + (f" ({law.left_out} runs never left)" if law.left_out else ""),
        verdict,
        {
            "exponent": law.exponent,
            "low": law.low,
            "high": law.high,
            "exponent_small_eta": small_eta.exponent,
        },
        note,
    )


def chain_decay(summary: xr.Dataset, eta: float, delta: float) -> Row:
    """Lemma 4.4: the oscillating chain alone makes the mean norm fall below √η."""
    norm = summary["w_norm_mean"].mean("seed")
    below = norm["step"].where(norm <= np.sqrt(eta), drop=True)
    reached = below.size > 0
    when = f"below √η = {np.sqrt(eta):.4f} at step {int(below[0]):,}" if reached else "above √η"
    return Row(
        "Lemma 4.4",
        "a second layer that oscillates by itself shrinks the first: no SGD noise is needed",
        "the mean norm falls below √η",
        f"{float(norm[0]):.3f} → {float(norm[-1]):.4f} with δ = {delta:g}; {when}",
        "holds" if reached else "holds in part" if norm[-1] < 0.5 * norm[0] else "does not hold",
        {"initial": float(norm[0]), "final": float(norm[-1])},
    )


def small_weights(summary: xr.Dataset, eta: float, width: int, theta_star_norm: float) -> Row:
    """Phase II starts when all ‖w_i‖ and |a_i| are at most √η.

    Then ‖Wᵀa‖ ≤ Σ|a_i|‖w_i‖ ≤ mη: with mη no larger than ‖θ*‖ no such network fits the data but
    the one in which every neuron is aligned and has both weights at exactly √η.
    """
    step = summary["small_weights_step"]
    reached = int(step.notnull().sum())
    w, a = (float(summary[name].isel(step=-1).mean()) for name in ("w_norm_max", "a_max"))
    onset = float(summary["alignment_step"].mean())
    return Row(
        "Start of Phase II",
        "all ‖w_i‖ and |a_i| come to be at most √η, and alignment starts there",
        f"√η = {np.sqrt(eta):.4f}",
        f"{reached} of {step.size} runs; at the end max ‖w_i‖ = {w:.3f}, max |a_i| = {a:.3f}; "
        f"alignment rises from step {onset:,.0f} all the same",
        "holds" if reached == step.size else "holds in part" if reached else "not reached",
        {"reached": float(reached), "w_norm_max": w, "a_max": a, "alignment_step": onset},
        ""
        if reached
        else f"all weights at most √η bound ‖Wᵀa‖ by mη = {width * eta:g}, ‖θ*‖ being "
        f"{theta_star_norm:g}: alignment sets in before the condition can be met",
    )


def _within_bound(measured: Sequence[float], bounds: Sequence[float]) -> tuple[float, float, bool]:
    """The constants measured/bound: least, largest, and whether they do not grow as η falls.

    Both are in the order of falling η. O(·) asks for a constant that holds for every small η.
    """
    constants = np.asarray(measured) / np.asarray(bounds)
    grows = bool(constants[-1] > 1.5 * constants[: len(constants) // 2 + 1].max())
    return float(constants.min()), float(constants.max()), not grows


def gd_alignment(summaries: Mapping[float, xr.Dataset], theta_star_norm: float) -> Row:
    """Lemma 4.5: GD from weights of at most √η has alignment ≥ 1 − O(√η ln(1/η)) after T₂.

    T₂ = ln(1/η)/‖θ*‖ in units of 1/η.
    """
    etas = sorted(summaries, reverse=True)
    gaps = []
    for eta in etas:
        aligned = summaries[eta]["alignment_mean"].mean("seed")
        gaps.append(1 - float(aligned.interp(step=np.log(1 / eta) / (eta * theta_star_norm))))
    low, high, bounded = _within_bound(gaps, [np.sqrt(eta) * np.log(1 / eta) for eta in etas])
    return Row(
        "Lemma 4.5",
        "from weights of at most √η, GD aligns: alignment ≥ 1 − O(√η ln(1/η)) after T₂ steps",
        "(1 − mean alignment)/(√η ln(1/η)) bounded as η falls",
        f"between {low:.2f} and {high:.2f} for η = {etas[0]:g} … {etas[-1]:g}; "
        f"1 − alignment = {gaps[0]:.2f} … {gaps[-1]:.2f}",
        _verdict(bounded),
        {f"gap_eta={eta:g}": gap for eta, gap in zip(etas, gaps, strict=True)},
        f"√η ln(1/η) is still {np.sqrt(etas[-1]) * np.log(1 / etas[-1]):.2g} at η = {etas[-1]:g}: "
        "at these η the bound says little",
    )


def gd_convergence(summaries: Mapping[float, xr.Dataset], theta_star_norm: float) -> Row:
    """Lemma 4.6: aligned GD has ‖θ − θ*‖ ≤ O(η ln(1/η)) after T₃ = O(ln(1/η)/η) more steps."""
    etas = sorted(summaries, reverse=True)
    errors = []
    for eta in etas:
        error = summaries[eta]["theta_error"].mean("seed")
        steps = np.log(1 / eta) / eta * (1 / theta_star_norm + 1)
        errors.append(float(error.interp(step=steps)))
    low, high, bounded = _within_bound(errors, [eta * np.log(1 / eta) for eta in etas])
    return Row(
        "Lemma 4.6",
        "aligned GD converges: ‖θ − θ*‖ ≤ O(η ln(1/η)) after T₂ + ln(1/η)/η steps",
        "‖θ − θ*‖/(η ln(1/η)) bounded as η falls",
        f"between {low:.3f} and {high:.3f} for η = {etas[0]:g} … {etas[-1]:g}",
        _verdict(bounded),
        {f"error_eta={eta:g}": error for eta, error in zip(etas, errors, strict=True)},
    )

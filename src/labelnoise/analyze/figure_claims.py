"""What the paper's figures claim, held against runs: SAM, few images, generalisation."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from .claims import Row, Verdict
from .regimes import REGIMES


def _paired(one: xr.Dataset, other: xr.Dataset, name: str) -> xr.DataArray:
    """Other − one at the last step, of the seeds that diverged in neither."""
    alive = [np.isnan(runs["diverged_step"]) for runs in (one, other)]
    difference: xr.DataArray = other[name].isel(step=-1) - one[name].isel(step=-1)
    return difference.where(alive[0] & alive[1], drop=True)


def _told(difference: xr.DataArray, lower: bool) -> str:
    """Mean and spread of a paired difference, and in how many seeds it has the expected sign."""
    count = int(((difference < 0) if lower else (difference > 0)).sum())
    spread = f" ± {float(difference.std(ddof=1)):.2g} (sd)" if difference.size > 1 else ""
    word = "lower" if lower else "higher"
    return f"{float(difference.mean()):+.3g}{spread}, {word} in {count} of {difference.size} seeds"


def _share(difference: xr.DataArray, lower: bool) -> float:
    return float(((difference < 0) if lower else (difference > 0)).mean())


def few_images(quiet: xr.Dataset, disturbed: xr.Dataset, figure: str, by: str) -> Row:
    """Figures 3 and 5: label noise, or SAM, takes a network on few images out of the lazy regime.

    Seed by seed, at the last step: a lower test loss, smaller first-layer norms, and parameters
    farther from their start. It holds where all three do in every seed, and in part where they are
    farther in most: a network that moves less has not left the lazy regime, whatever its loss.
    """
    loss, norm, moved = (
        _paired(quiet, disturbed, name) for name in ("test_loss", "norm_change_mean", "distance")
    )
    statement = f"{by} takes a wide network on few images out of the lazy regime"
    predicted = "lower test loss, smaller mean ‖w_i‖, farther from the start; in every seed"
    if not loss.size:
        gone = "no seed is left that diverged in neither"
        return Row(figure, statement, predicted, gone, "not reached", {})
    agreed = [_share(loss, True), _share(norm, True), _share(moved, False)]
    verdict: Verdict = "does not hold"
    if min(agreed) == 1:
        verdict = "holds"
    elif _share(moved, False) > 0.5:
        verdict = "holds in part"
    note = (
        "that the undisturbed network is lazy is for the figure to show, beside its linearisation"
    )
    if _share(moved, True) > 0.5:
        note = (
            "it has moved less, not farther: a lower loss is then no sign of leaving the lazy "
            "regime (a lazy network that is given the mean noisy label gains, too)"
        )
    return Row(
        figure,
        statement,
        predicted,
        f"test loss {_told(loss, True)}; relative norm {_told(norm, True)}; distance from the "
        f"start {_told(moved, False)}",
        verdict,
        {
            "test_loss": float(loss.mean()),
            "norm": float(norm.mean()),
            "distance": float(moved.mean()),
        },
        note,
    )


def generalisation(by_tau: Mapping[float, xr.Dataset], noise: str) -> Row:
    """Figure 1: label noise raises the test accuracy, at some τ.

    Of several τ the best is taken, so that all must agree on more than chance: the row holds if at
    the best τ no seed loses, and the mean gain is over twice its standard error.
    """
    levels = [tau for tau in sorted(by_tau) if tau > 0]
    gains = {tau: _paired(by_tau[0.0], by_tau[tau], "test_accuracy") for tau in levels}
    gains = {tau: gain for tau, gain in gains.items() if gain.size}
    claim = f"Figure 1, {noise}"
    statement = "label noise generalises better: a higher test accuracy"
    predicted = "test accuracy above that of τ = 0, at the best τ"
    if not gains:
        return Row(claim, statement, predicted, "all runs diverged", "not reached", {})
    best = max(gains, key=lambda tau: float(gains[tau].mean()))
    gain = gains[best]
    error = float(gain.std(ddof=1)) / gain.size**0.5 if gain.size > 1 else np.inf
    verdict: Verdict = "does not hold"
    if float(gain.mean()) > 0:
        sure = bool((gain >= 0).all()) and float(gain.mean()) > 2 * error
        verdict = "holds" if sure else "holds in part"
    listed = "; ".join(f"τ = {tau:g}: {_told(gains[tau], False)}" for tau in gains)
    return Row(
        claim,
        statement,
        predicted,
        listed,
        verdict,
        {f"gain_tau={tau:g}": float(g.mean()) for tau, g in gains.items()},
        "the paper's is ResNet-18 on CIFAR-10 (config/paper.yaml); Figure 1 has the pruning",
    )


def sam(quiet: xr.Dataset, ascent: xr.Dataset) -> Row:
    """Figure 4: SAM without label noise leaves, shrinks and aligns; SGD without it does not."""
    left, aligned = (int(ascent[n].notnull().sum()) for n in ("escape_step", "alignment_step"))
    runs, stayed = ascent["escape_step"].size, int(quiet["escape_step"].isnull().sum())
    norm = [float(ascent["w_norm_mean"].isel(step=k).mean()) for k in (0, -1)]
    alignment = [float(ascent["alignment_mean"].isel(step=k).mean()) for k in (0, -1)]
    every = left == aligned == runs and norm[1] < norm[0] / 2
    verdict: Verdict = "holds" if every and stayed == quiet["escape_step"].size else "does not hold"
    if verdict != "holds" and left:
        verdict = "holds in part"
    return Row(
        "Figure 4",
        "SAM does without label noise what label noise does to SGD",
        "all runs leave, shrink and align; none with ρ = 0",
        f"{left} of {runs} leave, {aligned} align; mean norm {norm[0]:.2f} → {norm[1]:.3f}, "
        f"alignment {alignment[0]:.2f} → {alignment[1]:.2f}; with ρ = 0 {stayed} of "
        f"{quiet['escape_step'].size} stay",
        verdict,
        {"left": float(left), "norm": norm[1], "alignment": alignment[1]},
    )


def sam_with_noise(by_sigma: Mapping[float, xr.Dataset], settings: str) -> Row:
    """SAM with label noise, as the authors' code has it: where the runs end up."""
    ends, values, rich = [], {}, []
    for sigma in sorted(by_sigma):
        summary = by_sigma[sigma]
        names = [REGIMES[code] for code in summary["regime"].values.ravel()]
        counts = ", ".join(f"{names.count(n)} {n}" for n in REGIMES if n in names)
        length = summary["theta_norm"].isel(step=-1)
        ends.append(f"σ = {sigma:g}: {counts}, ‖θ‖ = {float(length.mean()):.2g} at the end")
        values[f"theta_norm_sigma={sigma:g}"] = float(length.mean())
        rich.append(all(name == "rich" for name in names))
    return Row(
        "Figure 4, with label noise",
        "SAM with label noise leaves the lazy regime and aligns",
        "all runs rich",
        "; ".join(ends),
        "holds" if all(rich) else "holds in part" if any(rich) else "does not hold",
        values,
        ""
        if all(rich)
        else f"both together ({settings}) are too much: the predictor shrinks towards 0",
    )

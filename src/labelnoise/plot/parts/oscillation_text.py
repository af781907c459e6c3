"""What the oscillating second layer does to the norms, in measured numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .panels import Shown, seeds, spread
from .schedules import Stretch, describe_falls, fall_numbers
from .style import thousands


def describe_chain(shown: Shown) -> tuple[str, dict[str, float]]:
    """Whether, and when, the norms fall below √η where the chain always moves."""
    from labelnoise.analyze.phases import first_crossing

    analysis, settings = shown.analysis, shown.cell.settings
    root = float(np.sqrt(shown.cell.learning_rate))
    mean, largest = analysis["w_norm_mean"], analysis["w_norm_max"]
    crossed = first_crossing(mean, root, below=True).values
    all_crossed = first_crossing(largest, root, below=True).values
    runs, end = mean.sizes["seed"], int(mean["step"][-1])
    start, final = float(mean.isel(step=0).mean()), float(mean.isel(step=-1).mean())
    below = int(np.isfinite(crossed).sum())
    escape = analysis["escape_step"].values
    text = (
        f"The second layer follows a chain of amplitude δ = {settings['delta']:g}, with no other "
        "noise. "
        + (
            f"Every neuron has left the lazy regime by step {spread(escape)}. "
            if np.isfinite(escape).any()
            else "In no run does every neuron leave the lazy regime. "
        )
        + f"The mean norm {'falls' if final < start else 'goes'} from {start:.2f} to {final:.3f} "
        f"in {thousands(end)} steps (mean over {seeds(runs)}). It falls below √η = {root:.3f} in "
        f"{below} of {runs} runs"
        + (f", at step {spread(crossed)} (median, least–most)" if below else "")
        + f". The largest norm is {float(largest.isel(step=-1).mean()):.3f} at the end; it falls "
        f"below √η in {int(np.isfinite(all_crossed).sum())} of {runs} runs. The mean alignment "
        f"with θ* goes from {float(analysis['alignment_mean'].isel(step=0).mean()):.2f} to "
        f"{float(analysis['alignment_mean'].isel(step=-1).mean()):.2f}."
    )
    metrics = {"initial_w_norm_mean": start, "final_w_norm_mean": final, "runs_below": float(below)}
    if below:
        metrics["below_step"] = float(np.nanmedian(crossed))
    return text, metrics


def describe_periodic(shown: Shown, parts: Sequence[Stretch]) -> tuple[str, dict[str, float]]:
    """What happens while the chain moves, and while it is held."""
    analysis = shown.analysis
    curve, loss = analysis["w_norm_mean"], analysis["train_loss"]
    fell = describe_falls(curve, parts, "while the chain moves", "while it is held")
    text = (
        f"Where the chain moves and is held in turn ({seeds(curve.sizes['seed'])}), the mean norm "
        f"falls {fell}"
    )
    ends = [part.end for part in parts if not part.on and part.end in loss["step"]]
    if ends:
        held = float(loss.sel(step=ends).max())
        text += (
            ". While it is held, gradient descent on W fits the data: the training loss is at most "
            f"{held:.0e} by the end of each such stretch"
        )
    return f"{text}.", {f"periodic_{k}": v for k, v in fall_numbers(curve, parts).items()}

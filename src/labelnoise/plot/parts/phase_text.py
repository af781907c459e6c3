"""What a run's two phases look like, in measured numbers."""

from __future__ import annotations

import numpy as np

from .panels import Shown, seeds


def describe_phases(main: Shown, note: str) -> tuple[str, dict[str, float]]:
    """What happens to the cell whose phases are marked: a text, and the numbers in it.

    Args:
        main: the cell.
        note: what is to be said of diverged runs.
    """
    analysis = main.analysis
    first, last = analysis.isel(step=0), analysis.isel(step=-1)
    end = int(analysis["step"][-1])
    numbers = {
        "initial_w_norm_mean": first["w_norm_mean"],
        "final_w_norm_mean": last["w_norm_mean"],
        "initial_alignment_mean": first["alignment_mean"],
        "final_alignment_mean": last["alignment_mean"],
        "escape_step": analysis["escape_step"],
        "alignment_step": analysis["alignment_step"],
    }
    metrics = {name: float(value.mean()) for name, value in numbers.items()}
    metrics = {name: value for name, value in metrics.items() if np.isfinite(value)}
    small = analysis["small_weights_step"]
    reached = int(np.isfinite(small).sum())
    escape = metrics.get("escape_step")
    aligns = metrics.get("alignment_step")
    fell = metrics["final_w_norm_mean"] < metrics["initial_w_norm_mean"]
    moves = "falls" if fell else "goes"
    sentences = [
        f"With {main.look.label} (mean over {seeds(analysis.sizes['seed'])}), "
        + ("every neuron has left the lazy regime by step " if escape else "not every neuron ")
        + (f"{escape:,.0f}" if escape else "leaves the lazy regime")
        + f"; the mean norm {moves} from {metrics['initial_w_norm_mean']:.2f} to "
        f"{metrics['final_w_norm_mean']:.3f} in {end:,} steps (Phase I), and the mean alignment "
        f"with θ* goes from {metrics['initial_alignment_mean']:.2f} to "
        f"{metrics['final_alignment_mean']:.2f} (Phase II, "
        + (f"marked from step {aligns:,.0f})." if aligns else "not reached)."),
        f"The theory's start of Phase II, all ‖w_i‖ and |a_i| at most √η, is reached by {reached} "
        f"of {analysis.sizes['seed']} runs"
        + (f" (step {float(small.median()):,.0f})." if reached else " within these steps."),
    ]
    if note:
        sentences.append(note + ".")
    return " ".join(sentences), metrics

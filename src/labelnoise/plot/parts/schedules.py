"""What switches on and off: shaded in a panel, and what it does to the norms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from labelnoise.simulate.settings import Schedule

from .style import thousands

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.patches import Patch

ON = "#dde6f0"
"""Shade of the steps in which the noise is on, or the chain moves."""


@dataclass(frozen=True)
class Stretch:
    """Steps `start … end−1`, all on or all off."""

    start: int
    end: int
    on: bool


def stretches(settings: Mapping[str, Any]) -> list[Stretch]:
    """The stretches of a run, in order; one that is on if it has no schedule."""
    steps = int(settings["steps"])
    if settings["schedule"] is None:
        return [Stretch(0, steps, True)]
    on = Schedule(**settings["schedule"]).is_on(0, steps)
    edges = [0, *(np.flatnonzero(np.diff(on)) + 1).tolist(), steps]
    return [Stretch(start, end, bool(on[start])) for start, end in pairwise(edges)]


def shade(axes: Axes, parts: Sequence[Stretch]) -> None:
    """Shade the stretches that are on, if any is off."""
    if all(part.on for part in parts):
        return
    for part in parts:
        if part.on:
            axes.axvspan(part.start, part.end, color=ON, linewidth=0, zorder=0)


def shade_handle(label: str) -> Patch:
    """What the shade means, for a legend."""
    from matplotlib.patches import Patch

    return Patch(color=ON, linewidth=0, label=label)


def falls(curve: xr.DataArray, parts: Sequence[Stretch]) -> np.ndarray:
    """How far a curve over (seed, step) falls in each stretch: (seed, stretch).

    Interpolated linearly between snapshots at the stretches' edges.
    """
    edges = [parts[0].start, *(part.end for part in parts)]
    steps = curve["step"].values
    at_edges = [np.interp(edges, steps, one) for one in curve.transpose("seed", "step").values]
    return -np.diff(at_edges, axis=1)


def resolved(curve: xr.DataArray, parts: Sequence[Stretch]) -> bool:
    """Whether the snapshots of a curve are close enough to tell the stretches apart."""
    gaps = np.diff(curve["step"].values)
    return len(parts) == 1 or bool(gaps.max() <= min(part.end - part.start for part in parts))


def fall_numbers(curve: xr.DataArray, parts: Sequence[Stretch]) -> dict[str, float]:
    """The mean over seeds of a curve's whole fall while on and, if it ever is, while off.

    Nothing where the snapshots do not tell the stretches apart.
    """
    if not resolved(curve, parts):
        return {}
    mean = falls(curve, parts).mean(axis=0)
    on = np.array([part.on for part in parts])
    return {
        f"fall_{name}": float(mean[mask].sum())
        for name, mask in (("on", on), ("off", ~on))
        if mask.any()
    }


def _short(fall: float) -> str:
    """`0.077`, and `−0.0003` of what rises."""
    return f"{'−' if fall < 0 else ''}{abs(fall):.2g}"


def describe_falls(curve: xr.DataArray, parts: Sequence[Stretch], on: str, off: str) -> str:
    """`by 0.077, 0.061 {on} and by 0.0003, 0.0003 {off}`: the mean over seeds in each stretch."""
    if not resolved(curve, parts):
        gap = thousands(np.diff(curve["step"].values).max())
        return f"by amounts that snapshots {gap} steps apart cannot tell ({on}, or {off})"
    mean = falls(curve, parts).mean(axis=0)
    phrases = []
    for state, words in ((True, on), (False, off)):
        values = [_short(m) for m, part in zip(mean, parts, strict=True) if part.on == state]
        if values:
            phrases.append(f"by {', '.join(values)} {words}")
    total = fall_numbers(curve, parts)
    text = " and ".join(phrases)
    if len(total) > 1:
        text += " (one number for each interval"
        if min(total.values()) > 0:
            text += f"; {100 * total['fall_on'] / sum(total.values()):.1f} % of the fall {on}"
        text += ")"
    return text

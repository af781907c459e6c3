"""What all datasets call alike: the seed of a run, the steps it took, where it diverged."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

Labelled = tuple[str | tuple[str, ...], np.ndarray, dict[str, str]]
"""Dims, values and attributes, as `xarray.Dataset` takes a variable."""

STEPS_TAKEN = ("steps taken", "step")
DIVERGED = ("step at which it diverged (NaN: it did not)", "T", "step")
"""In words, symbol where there is one, units."""


def coordinates(seeds: Sequence[int], steps: ArrayLike | None = None) -> dict[str, Labelled]:
    """The coordinates `seed` and, where there are steps, `step`."""
    found: dict[str, Labelled] = {
        "seed": ("seed", np.asarray(seeds, np.int64), {"long_name": "seed", "units": "1"})
    }
    if steps is not None:
        label = dict(zip(("long_name", "units"), STEPS_TAKEN, strict=True))
        found["step"] = ("step", np.asarray(steps), label)
    return found


def diverged_step(values: ArrayLike) -> Labelled:
    """The step at which the run of each seed diverged; NaN where it did not."""
    label = dict(zip(("long_name", "symbol", "units"), DIVERGED, strict=True))
    return ("seed",), np.asarray(values, np.float64), label

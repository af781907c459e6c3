"""Types and fields that the settings of several verbs share."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Int64


def _number(value: object) -> object:
    """Let YAML's `1e-3` (a string to YAML 1.1) be the number it looks like; no booleans."""
    if isinstance(value, bool):
        raise ValueError("a number is needed, not true or false")
    return value


Real = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=1)]
Step = Annotated[int, Field(strict=True, ge=0)]
Flag = Annotated[bool, Field(strict=True)]

DIVERGED = 1e10
"""A residual, or a training's loss, beyond this or not finite is divergence."""


class Recorded(BaseModel):
    """Settings of what runs for a number of steps and is recorded at some of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: Count = Field(description="steps of the algorithm")
    snapshots: Annotated[int, Field(strict=True, ge=2)] = Field(
        default=201, description="recorded states, first and last included"
    )
    spacing: Literal["linear", "log"] = Field(
        default="linear", description="snapshots evenly spaced in the step, or in its logarithm"
    )


def snapshot_steps(settings: Recorded) -> "Int64[np.ndarray, 'step']":
    """The steps at which a run is recorded, 0 and the last one included.

    Evenly spaced, or (after 0) evenly in the logarithm; rounded to whole steps, each one once.
    """
    import numpy as np

    if settings.spacing == "linear":
        steps = np.linspace(0, settings.steps, settings.snapshots)
    else:
        # from the end, so that with two snapshots the second one is the last step
        steps = np.append(0, np.geomspace(settings.steps, 1, settings.snapshots - 1))
    return np.unique(steps.round().astype(np.int64))

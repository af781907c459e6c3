"""Types and fields that the settings of several verbs share."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Int64


_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")


def number(value: object) -> object:
    """The number that an unquoted `1e-3` is, which YAML 1.1 reads as a text; all else as it is."""
    if isinstance(value, str) and _EXPONENT.fullmatch(value):
        return float(value)
    return value


def whole(value: object) -> object:
    """The whole number that `1e6` or `1.0e+6` is; all else as it is."""
    value = number(value)
    # beyond 2⁵³ a float does not say which whole number was meant
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
        return int(value)
    return value


# strict: a text in quotes is no number, nor is true
Real = Annotated[float, Field(strict=True, allow_inf_nan=False), BeforeValidator(number)]
Count = Annotated[int, Field(strict=True, ge=1), BeforeValidator(whole)]
Step = Annotated[int, Field(strict=True, ge=0), BeforeValidator(whole)]
Flag = Annotated[bool, Field(strict=True)]

DIVERGED = 1e10
"""A residual, or a training's loss, beyond this or not finite is divergence."""


class Recorded(BaseModel):
    """Settings of what runs for a number of steps and is recorded at some of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ROOM: ClassVar[Mapping[str, tuple[str, int]]] = {"snapshots": ("steps", 1)}
    """What a setting has at most: another one, and how many more."""

    steps: Count = Field(description="steps of the algorithm")
    snapshots: Annotated[int, Field(strict=True, ge=2), BeforeValidator(whole)] = Field(
        default=201, description="recorded states, first and last included"
    )
    spacing: Literal["linear", "log"] = Field(
        default="linear", description="snapshots evenly spaced in the step, or in its logarithm"
    )

    @model_validator(mode="before")
    @classmethod
    def _defaults_have_room(cls, given: Any) -> Any:
        """What was left out is no more than what was given has room for."""
        if not isinstance(given, dict):
            return given
        for key, (limit, more) in cls.ROOM.items():
            most = whole(given.get(limit))
            if key not in given and type(most) is int and most + more > 0:
                usual = cls.model_fields[key].default
                given = given | {key: min(usual, most + more)}
        return given


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

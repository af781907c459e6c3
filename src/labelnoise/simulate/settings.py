"""The settings of a simulation: the one source of their defaults, ranges and meaning."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _number(value: object) -> object:
    """Let YAML's `1e-3` (a string to YAML 1.1) be the number it looks like; no booleans."""
    if isinstance(value, bool):
        raise ValueError("a number is needed, not true or false")
    return value


Real = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=1)]


class Settings(BaseModel):
    """One cell of a simulated experiment: everything but the seed that decides its numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    samples: Count = Field(default=200, lt=2**31, description="training samples n")
    width: Count = Field(default=1000, description="hidden neurons m")
    dim: Count = Field(default=20, description="input dimension d")
    theta_star_norm: Real = Field(default=1.0, gt=0, description="norm of the ground truth θ*")
    eta: Real = Field(default=1e-3, gt=0, description="learning rate η")
    sigma: Real = Field(default=4.0, ge=0, description="label noise level σ; 0 is plain SGD")
    noise: Literal["sign", "gaussian"] = Field(
        default="sign", description="label noise law: ±σ with probability ½ each, or N(0, σ²)"
    )
    steps: Count = Field(default=1_000_000, description="SGD steps, one sample each")
    snapshots: Annotated[int, Field(strict=True, ge=2)] = Field(
        default=201, description="recorded states, evenly spaced, first and last included"
    )
    trace_steps: Annotated[int, Field(strict=True, ge=0)] = Field(
        default=2000, description="`a` is recorded at every step from 0 up to this one"
    )
    trace_neurons: Count = Field(default=4, description="neurons whose `a` is so recorded")
    test_samples: Count = Field(default=1000, description="fresh samples of the test loss")
    reduce: Annotated[bool, Field(strict=True)] = Field(
        default=True,
        description="run the exact width reduction (d + 1 neurons) and not the full network",
    )
    backend: Literal["compiled", "torch"] = Field(
        default="compiled", description="compiled step rule (Numba) or the torch reference"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.snapshots > self.steps + 1:
            raise ValueError(
                f"snapshots = {self.snapshots} does not fit into steps = {self.steps}: "
                f"give at most steps + 1 = {self.steps + 1} snapshots"
            )
        if self.trace_steps > self.steps:
            raise ValueError(
                f"trace_steps = {self.trace_steps} is more than steps = {self.steps}: "
                "give at most as many"
            )
        if self.trace_neurons > self.width:
            raise ValueError(
                f"trace_neurons = {self.trace_neurons} is more than width = {self.width}: "
                "give at most as many"
            )
        return self

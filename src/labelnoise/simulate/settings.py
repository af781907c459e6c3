"""The settings of a simulation: the one source of their defaults, ranges and meaning."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from labelnoise.config.fields import Count, Flag, Real, Recorded, Step

from .algorithms import ALGORITHMS, PARTICULAR, Algorithm

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from jaxtyping import Bool

Numbers = TypeVar("Numbers", float, "np.ndarray", "xr.DataArray")

Row = Annotated[list[Annotated[Real, Field(ge=0, le=1)]], Field(min_length=3, max_length=3)]


class Schedule(BaseModel):
    """When the label noise is on (or the oscillating chain moves): periodically, or in intervals.

    Give either `period` (with `duty` and `start`) or `intervals`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    period: Count | None = Field(
        default=None, description="steps from one switching-on to the next"
    )
    duty: Real = Field(
        default=0.5,
        ge=0,
        le=1,
        description="share of the period that it is on, to the nearest step",
    )
    start: Step = Field(default=0, description="step of the first switching-on; off before it")
    intervals: list[tuple[Step, Step]] | None = Field(
        default=None, description="[first, end] of each interval that it is on, end excluded"
    )

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.period is None) == (self.intervals is None):
            raise ValueError("give either period or intervals, and not both")
        if self.intervals is not None and (self.duty, self.start) != (0.5, 0):
            raise ValueError("duty and start belong to period; leave them out with intervals")
        for first, end in self.intervals or ():
            if end <= first:
                raise ValueError(f"intervals: [{first}, {end}] is empty; give first < end")
        return self

    def is_on(self, start: int, count: int) -> "Bool[np.ndarray, 'count']":
        """Whether it is on in each of the steps `start … start+count−1`."""
        import numpy as np

        steps = np.arange(start, start + count)
        if self.period is not None:
            phase = (steps - self.start) % self.period
            # rounded: 0.07 · 100 is more than 7 in floating point
            return (steps >= self.start) & (phase < round(self.duty * self.period))
        on = np.zeros(count, dtype=bool)
        for first, end in self.intervals or ():
            on |= (steps >= first) & (steps < end)
        return on


def tree_weights(p: Sequence[Sequence[float]]) -> list[float]:
    """What the stationary law of a chain of three states is proportional to.

    By the Markov chain tree theorem, for each state the weight of all ways in which the other two
    lead to it. Nothing is rounded in the paper's chain, and the weights vanish together exactly
    where more than one law is stationary.
    """
    return [
        p[j][i] * p[k][i] + p[j][i] * p[k][j] + p[j][k] * p[k][i]
        for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1))
    ]


class Settings(Recorded):
    """One cell of a simulated experiment: everything but the seed that decides its numbers."""

    ROOM: ClassVar[Mapping[str, tuple[str, int]]] = {
        **Recorded.ROOM,
        "trace_neurons": ("width", 0),
    }

    algorithm: Literal["sgd", "sam", "momentum", "gd", "oscillation"] = Field(
        default="sgd",
        description="SGD one sample a step (eq. 3–4); SAM (§5); SGD with heavy-ball momentum; "
        "full-batch GD; or full-batch GD on W while `a` follows a three-state chain (§4.3)",
    )
    samples: Count = Field(default=200, lt=2**31, description="training samples n")
    width: Count = Field(default=1000, description="hidden neurons m")
    dim: Count = Field(default=20, description="input dimension d")
    theta_star_norm: Real = Field(default=1.0, gt=0, description="norm of the ground truth θ*")
    initialisation: Literal["ntk", "small", "aligned"] = Field(
        default="ntk",
        description="W_ij ~ N(0, 1/d), a_i ~ N(0, 1/m) (eq. 5); or that scaled down so that the "
        "largest of all ‖w_i‖ and |a_i| is √η (where Phase II starts); or aligned and "
        "balanced: w_i = a_i θ*/‖θ*‖, with `a` scaled so that ‖Wᵀa‖ is half of ‖θ*‖",
    )
    eta: Real = Field(default=1e-3, gt=0, description="learning rate η")
    eta_unit: Literal["1", "1/m"] = Field(
        default="1",
        description="unit of eta; with 1/m the learning rate is eta/width, which keeps the first "
        "steps as stable at any width",
    )
    sigma: Real = Field(default=4.0, ge=0, description="label noise level σ; 0 is none")
    noise: Literal["sign", "gaussian"] = Field(
        default="sign", description="label noise law: ±σ with probability ½ each, or N(0, σ²)"
    )
    schedule: Schedule | None = Field(
        default=None,
        description="when the label noise is on, or the chain moves; always if left out",
    )
    rho: Real = Field(default=0.1, ge=0, description="SAM's radius ρ (algorithm sam)")
    momentum: Real = Field(
        default=0.9, ge=0, lt=1, description="heavy-ball momentum μ (algorithm momentum)"
    )
    delta: Real = Field(default=0.1, gt=0, description="the chain's amplitude δ (oscillation)")
    transition: Annotated[list[Row], Field(min_length=3, max_length=3)] = Field(
        default=[[0.0, 1.0, 0.0], [0.5, 0.0, 0.5], [0.0, 1.0, 0.0]],
        description="the chain's transition matrix, rows from −δ, 0, +δ (oscillation)",
    )
    steps: Count = Field(default=1_000_000, description="steps of the algorithm")
    neurons: Count | None = Field(
        default=None,
        description="neurons whose trajectories are recorded (the first ones); all if left out. "
        "Means, extremes and quantiles are over all neurons in any case",
    )
    trace_steps: Step = Field(
        default=0, description="`a` is recorded at every step from 0 up to this one"
    )
    trace_neurons: Count = Field(default=4, description="neurons whose `a` is so recorded")
    test_samples: Count = Field(default=1000, description="fresh samples of the test loss")
    reduce: Flag = Field(
        default=True,
        description="run the exact width reduction (d + 1 neurons) and not the full network",
    )
    backend: Literal["compiled", "torch", "cuda"] = Field(
        default="compiled",
        description="compiled step rules (Numba) on the CPU; the torch reference; or, for sgd and "
        "sam, compiled for an NVIDIA GPU: faster for hundreds of runs `together`",
    )
    precision: Literal["float64", "float32"] = Field(
        default="float64",
        description="arithmetic of the steps; float32 with backend cuda alone, for a quick look: "
        "its rounding adds up over the steps (`make gpu-check` measures how far)",
    )

    @property
    def rule(self) -> Algorithm:
        """What is known of the algorithm."""
        return ALGORITHMS[self.algorithm]

    @property
    def unread(self) -> frozenset[str]:
        """Settings that the algorithm does not read."""
        return PARTICULAR.difference(self.rule.reads)

    @property
    def essence(self) -> dict[str, Any]:
        """The settings that decide a run; two settings with equal ones run alike."""
        return self.model_dump(mode="json", exclude=set(self.unread))

    @property
    def is_linearized(self) -> bool:
        """Whether it has a linearised run to be set beside."""
        return self.rule.linear_kernel is not None

    @property
    def learning_rate(self) -> float:
        """η: `eta` in its unit. Numbers use this one."""
        return self.as_learning_rate(self.eta)

    def as_learning_rate(self, eta: Numbers) -> Numbers:
        """The learning rate that values of `eta` stand for, at this width and in this unit."""
        return eta / self.width if self.eta_unit == "1/m" else eta

    @model_validator(mode="before")
    @classmethod
    def _no_noise_by_default(cls, given: Any) -> Any:
        """What has no label noise need not be told so."""
        if isinstance(given, dict) and "sigma" not in given:
            rule = ALGORITHMS.get(str(given.get("algorithm", "sgd")))
            if rule is not None and "sigma" not in rule.reads:
                return given | {"sigma": 0.0}
        return given

    @model_validator(mode="after")
    def _fits(self) -> Self:
        limits = {
            "snapshots": ("steps + 1", self.steps + 1),
            "trace_steps": ("steps", self.steps),
            "trace_neurons": ("width", self.width),
            "neurons": ("width", self.width),
        }
        for name, (limit, most) in limits.items():
            value = getattr(self, name)
            if value is not None and value > most:
                raise ValueError(f"{name} = {value} does not fit: at most {limit} = {most}")
        if "sigma" not in self.rule.reads and self.sigma != 0:
            raise ValueError(
                f"sigma = {self.sigma} has no place in algorithm {self.algorithm}, which sees the "
                "clean labels of all samples at every step; set sigma: 0"
            )
        if self.backend not in self.rule.backends:
            raise ValueError(
                f"backend {self.backend} has no {self.algorithm}; set backend: compiled"
            )
        if self.backend != "cuda" and self.precision != "float64":
            raise ValueError(
                f"precision = {self.precision} is for backend cuda; backend {self.backend} steps "
                "in float64"
            )
        if "schedule" not in self.rule.reads and self.schedule is not None:
            raise ValueError(
                f"schedule has nothing to switch in algorithm {self.algorithm}; leave it out"
            )
        if self.rule.stream == "chain":
            if self.initialisation != "ntk":
                raise ValueError(
                    f"initialisation: {self.initialisation} has no place in algorithm "
                    f"{self.algorithm}, whose second layer has the amplitude delta; set "
                    "initialisation: ntk"
                )
            for number, row in enumerate(self.transition):
                if abs(sum(row) - 1) > 1e-12:
                    raise ValueError(
                        f"transition: row {number} = {row} sums to {sum(row):g}; it must sum to 1"
                    )
            if not any(tree_weights(self.transition)):
                raise ValueError(
                    f"transition: {self.transition} has more than one stationary law; let the "
                    "chain have one class of states only that it cannot leave"
                )
        return self

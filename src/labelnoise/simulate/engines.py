"""A run as it is stepped, and what an engine that steps a batch of them can do.

All engines take the same runs, sample order and noise, and stop a diverged run at the same step.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64, Int32, UInt8

from .problem import Problem, label_noise, sample_order
from .reduction import Reduction
from .settings import Settings

ENGINES: Mapping[str, str] = {
    "compiled": "labelnoise.simulate.compiled_engine:CompiledEngine",
    "torch": "labelnoise.simulate.torch_engine:TorchEngine",
    "cuda": "labelnoise.simulate.triton_engine:TritonEngine",
}
"""By the name of the backend; each is called with runs, `threads` and `device`."""


@dataclass(frozen=True)
class Run:
    """One run: what decides it, and the core that is stepped in its place."""

    settings: Settings
    seed: int
    problem: Problem
    reduction: Reduction

    @cached_property
    def covariance(self) -> Float64[np.ndarray, "input input"]:
        """Σ̂ = XᵀX/n of the inputs that the core sees."""
        x = self.reduction.inputs
        return np.asarray(x.T @ x / len(x))

    @cached_property
    def correlation(self) -> Float64[np.ndarray, "input"]:
        """Xᵀy/n of the inputs that the core sees."""
        return np.asarray(self.reduction.inputs.T @ self.problem.y / len(self.problem.y))

    def order(self, start: int, count: int) -> Int32[np.ndarray, "count"]:
        """Samples of the steps from `start` on."""
        return sample_order(self.seed, self.settings.samples, start, count)

    def noise(self, start: int, count: int) -> Float64[np.ndarray, "count"]:
        """Label noise ε of the steps from `start` on."""
        if self.settings.sigma == 0:
            return np.zeros(count)
        noise = self.settings.sigma * label_noise(self.seed, self.settings.noise, start, count)
        if self.settings.schedule is not None:
            noise *= self.active(start, count)
        return np.asarray(noise)

    def active(self, start: int, count: int) -> UInt8[np.ndarray, "count"]:
        """1 in the steps in which the schedule has the noise, or the chain, on."""
        schedule = self.settings.schedule
        if schedule is None:
            return np.ones(count, np.uint8)
        return schedule.is_on(start, count).astype(np.uint8)


@runtime_checkable
class Engine(Protocol):
    """A batch of runs that can be stepped and looked at."""

    @property
    def diverged_step(self) -> Float64[np.ndarray, "run"]:
        """Step at which each run diverged; NaN where it did not."""

    def advance(self, count: int) -> None:
        """Take so many steps; a run that diverges, or has, stays where it is."""

    def core(self, run: int) -> Float64[np.ndarray, "neuron inputplus1"]:
        """The state [W | a] of a run now: a copy, which later steps leave as it is."""

"""What moves a batch of runs forward: the compiled core, or the torch reference.

Both take the same runs, sample order and noise and stop a diverged run at the same step.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np
from jaxtyping import Float64, Int32, UInt8

from .chain import chain_levels, thresholds
from .problem import Problem, label_noise, sample_order
from .reduction import Reduction
from .settings import Settings

if TYPE_CHECKING:
    import torch

DIVERGED = 1e10
"""A residual beyond this, or not finite, is divergence: labels are of order σ."""


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
        return np.asarray(noise * self.active(start, count))

    def active(self, start: int, count: int) -> UInt8[np.ndarray, "count"]:
        """1 in the steps in which the schedule has the noise, or the chain, on."""
        schedule = self.settings.schedule
        if schedule is None:
            return np.ones(count, np.uint8)
        return schedule.is_on(start, count).astype(np.uint8)


def choose_device(wanted: str) -> str:
    """The torch device to use: for `auto` a GPU where there is one, else the CPU."""
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return wanted


class Engine(Protocol):
    """A batch of runs that can be stepped and looked at."""

    @property
    def diverged_step(self) -> Float64[np.ndarray, "run"]:
        """Step at which each run diverged; NaN where it did not."""

    def advance(self, count: int) -> None:
        """Take so many steps; a run that diverges, or has, stays where it is."""

    def core(self, run: int) -> Float64[np.ndarray, "neuron inputplus1"]:
        """The state [W | a] of a run now."""


class CompiledEngine:
    """Numba kernels, one run a thread; a run's bits depend on neither batch nor threads."""

    def __init__(self, runs: Sequence[Run], *, threads: int = 1) -> None:
        self._kernels = [
            _OscillationRun(r) if r.settings.algorithm == "oscillation" else _CoreRun(r)
            for r in runs
        ]
        self._threads = threads
        self._done = 0
        self._diverged_step = np.full(len(runs), np.nan)

    @property
    def diverged_step(self) -> Float64[np.ndarray, "run"]:
        """Step at which each run diverged; NaN where it did not."""
        return self._diverged_step.copy()

    def _advance_run(self, run: int, count: int) -> None:
        taken = self._kernels[run].advance(self._done, count)
        if taken < count:
            self._diverged_step[run] = self._done + taken

    def advance(self, count: int) -> None:
        """Take so many steps, runs side by side on `threads` threads."""
        alive = np.flatnonzero(np.isnan(self._diverged_step))
        if self._threads > 1:
            with ThreadPoolExecutor(self._threads) as pool:
                list(pool.map(lambda run: self._advance_run(run, count), alive))
        else:
            for run in alive:
                self._advance_run(int(run), count)
        self._done += count

    def core(self, run: int) -> Float64[np.ndarray, "neuron inputplus1"]:
        """The state [W | a] of a run now."""
        return self._kernels[run].core()


class _CoreRun:
    """SGD, SAM or GD on a packed core."""

    def __init__(self, run: Run) -> None:
        from .compiled import pack

        self._run = run
        self._neurons = len(run.reduction.core)
        self._state = pack(run.reduction.core)

    def advance(self, start: int, count: int) -> int:
        """Take `count` steps from step `start` on; how many were taken before divergence."""
        from . import compiled

        run, settings = self._run, self._run.settings
        if settings.algorithm == "gd":
            return int(
                compiled.gd(
                    self._state, run.covariance, run.correlation, count, settings.eta, DIVERGED
                )
            )
        stream = (
            self._state,
            run.reduction.inputs,
            run.problem.y,
            run.order(start, count),
            run.noise(start, count),
            settings.eta,
        )
        if settings.algorithm == "sam":
            return int(compiled.sam(*stream, settings.rho, DIVERGED))
        return int(compiled.sgd(*stream, DIVERGED))

    def core(self) -> Float64[np.ndarray, "neuron inputplus1"]:
        """The state [W | a] now."""
        return self._state[:, : self._neurons].T


class _OscillationRun:
    """Full-batch GD on W while each a_i follows its chain (§4.3)."""

    def __init__(self, run: Run) -> None:
        from .compiled import pack

        self._run = run
        settings = run.settings
        transition = np.array(settings.transition)
        self._w = pack(run.reduction.core[:, :-1])
        self._thresholds = thresholds(transition)
        self._level = chain_levels(run.seed, transition, settings.width, 0, 1)[0]

    def advance(self, start: int, count: int) -> int:
        """Take `count` steps from step `start` on; how many were taken before divergence."""
        from .compiled import oscillate

        run, settings = self._run, self._run.settings
        taken = oscillate(
            self._w,
            self._level,
            run.covariance,
            run.correlation,
            settings.delta,
            self._thresholds,
            run.active(start, count),
            run.seed,
            start,
            settings.eta,
            DIVERGED,
        )
        return int(taken)

    def core(self) -> Float64[np.ndarray, "neuron inputplus1"]:
        """The state [W | a] now."""
        return np.column_stack(
            [self._w[:, : len(self._level)].T, self._run.settings.delta * self._level]
        )


class TorchEngine:
    """The reference rules of `rules`, all runs in one batch of float64 tensors on a device.

    The runs share shapes and the algorithm; what else their settings say may differ.
    """

    def __init__(self, runs: Sequence[Run], *, device: str = "cpu") -> None:
        self._runs = runs
        self._device = device
        cores = np.stack([run.reduction.core for run in runs])
        self._w, self._a = self._tensor(cores[..., :-1]), self._tensor(cores[..., -1])
        self._x = self._tensor(np.stack([run.reduction.inputs for run in runs]))
        self._y = self._tensor(np.stack([run.problem.y for run in runs]))
        self._eta = self._tensor(np.array([run.settings.eta for run in runs]))
        self._rho = self._tensor(np.array([run.settings.rho for run in runs]))
        self._covariance = self._tensor(np.stack([run.covariance for run in runs]))
        self._correlation = self._tensor(np.stack([run.correlation for run in runs]))
        self._diverged_step = self._tensor(np.full(len(runs), np.nan))
        self._done = 0

    def _tensor(self, array: np.ndarray) -> "torch.Tensor":
        import torch

        return torch.as_tensor(array, device=self._device)

    @property
    def diverged_step(self) -> Float64[np.ndarray, "run"]:
        """Step at which each run diverged; NaN where it did not."""
        return np.array(self._diverged_step.cpu())

    def advance(self, count: int) -> None:
        """Take so many steps, all runs at once."""
        import torch

        algorithm = self._runs[0].settings.algorithm
        step = {"gd": self._gd, "oscillation": self._oscillation}.get(algorithm, self._sgd)
        streams = self._streams(algorithm, count)
        alive = self._diverged_step.isnan()
        for t in range(count):
            w, a, size = step(*(stream[:, t] for stream in streams))
            fine = size <= DIVERGED  # false for NaN
            self._diverged_step[alive & ~fine] = self._done + t
            alive &= fine
            self._w = torch.where(alive[:, None, None], w, self._w)
            self._a = torch.where(alive[:, None], a, self._a)
        self._done += count

    def _streams(self, algorithm: str, count: int) -> list["torch.Tensor"]:
        """What the steps read, one column a step: samples and noise, the chain's next states."""
        if algorithm == "gd":
            return [self._tensor(np.empty((len(self._runs), count, 0)))]
        if algorithm == "oscillation":
            return [self._tensor(np.stack([self._chain(run, count) for run in self._runs]))]
        orders = np.stack([run.order(self._done, count) for run in self._runs])
        noises = np.stack([run.noise(self._done, count) for run in self._runs])
        return [self._tensor(orders.astype(np.int64)), self._tensor(noises)]

    def _chain(self, run: Run, count: int) -> Float64[np.ndarray, "count neuron"]:
        settings = run.settings
        levels = chain_levels(
            run.seed,
            np.array(settings.transition),
            settings.width,
            self._done + 1,
            count,
            active=run.active(0, self._done + count + 1),
        )
        return settings.delta * levels

    def _sgd(
        self, sample: "torch.Tensor", noise: "torch.Tensor"
    ) -> tuple["torch.Tensor", "torch.Tensor", "torch.Tensor"]:
        import torch

        from .rules import sam_step, sgd_step

        runs = torch.arange(len(self._runs), device=self._device)
        x, target = self._x[runs, sample], self._y[runs, sample] + noise
        if self._runs[0].settings.algorithm == "sam":
            w, a, r = sam_step(self._w, self._a, x, target, self._eta, self._rho)
        else:
            w, a, r = sgd_step(self._w, self._a, x, target, self._eta)
        return w, a, r.abs()

    def _gd(self, _: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor", "torch.Tensor"]:
        from .rules import gd_step

        w, a, g = gd_step(self._w, self._a, self._covariance, self._correlation, self._eta)
        return w, a, g.abs().amax(-1)

    def _oscillation(
        self, following: "torch.Tensor"
    ) -> tuple["torch.Tensor", "torch.Tensor", "torch.Tensor"]:
        from .rules import oscillation_step

        w, g = oscillation_step(self._w, self._a, self._covariance, self._correlation, self._eta)
        return w, following, g.abs().amax(-1)

    def core(self, run: int) -> Float64[np.ndarray, "neuron inputplus1"]:
        """The state [W | a] of a run now."""
        import torch

        return np.array(torch.cat([self._w[run], self._a[run][:, None]], -1).cpu())

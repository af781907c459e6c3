"""The engine of the reference rules: torch, on any device."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float64

from labelnoise.config.fields import DIVERGED

from .chain import chain_levels
from .engines import Run
from .rules import gd_step, oscillation_step, sam_step, sgd_step


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
        self._eta = self._tensor(np.array([run.settings.learning_rate for run in runs]))
        self._rho = self._tensor(np.array([run.settings.rho for run in runs]))
        self._covariance = self._tensor(np.stack([run.covariance for run in runs]))
        self._correlation = self._tensor(np.stack([run.correlation for run in runs]))
        self._diverged_step = self._tensor(np.full(len(runs), np.nan))
        self._done = 0

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(array, device=self._device)

    @property
    def diverged_step(self) -> Float64[np.ndarray, "run"]:
        """Step at which each run diverged; NaN where it did not."""
        return self._diverged_step.cpu().numpy().copy()

    def advance(self, count: int) -> None:
        """Take so many steps, all runs at once."""
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

    def _streams(self, algorithm: str, count: int) -> list[torch.Tensor]:
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
        self, sample: torch.Tensor, noise: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        runs = torch.arange(len(self._runs), device=self._device)
        x, target = self._x[runs, sample], self._y[runs, sample] + noise
        if self._runs[0].settings.algorithm == "sam":
            w, a, r = sam_step(self._w, self._a, x, target, self._eta, self._rho)
        else:
            w, a, r = sgd_step(self._w, self._a, x, target, self._eta)
        return w, a, r.abs()

    def _gd(self, _: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        w, a, g = gd_step(self._w, self._a, self._covariance, self._correlation, self._eta)
        return w, a, g.abs().amax(-1)

    def _oscillation(
        self, following: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        w, g = oscillation_step(self._w, self._a, self._covariance, self._correlation, self._eta)
        return w, following, g.abs().amax(-1)

    def core(self, run: int) -> Float64[np.ndarray, "neuron inputplus1"]:
        """The state [W | a] of a run now."""
        return torch.cat([self._w[run], self._a[run][:, None]], -1).cpu().numpy()

"""The engine of the reference rules: torch, on any device."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from labelnoise.config.fields import DIVERGED
from labelnoise.config.modules import resolve

from .chain import chain_levels
from .engines import Run

Streams = list[Tensor]
"""What the steps read, tensors of dims (run, step, …)."""


class TorchEngine:
    """The reference rules of `rules`, all runs in one batch of float64 tensors on a device.

    The runs share shapes and the algorithm; what else their settings say may differ. The state is
    W and a, and the same pair again for each array that the algorithm carries along.
    """

    def __init__(self, runs: Sequence[Run], *, threads: int = 1, device: str = "cpu") -> None:
        self._runs = runs
        self._device = device
        self._algorithm = runs[0].settings.rule
        self._rule = resolve(self._algorithm.step)
        cores = np.stack([run.reduction.core for run in runs])
        w, a = self._tensor(cores[..., :-1]), self._tensor(cores[..., -1])
        nothing = (torch.zeros_like(w), torch.zeros_like(a))
        self._state = [w, a, *nothing * self._algorithm.memory]
        self._x = self._tensor(np.stack([run.reduction.inputs for run in runs]))
        self._y = self._tensor(np.stack([run.problem.y for run in runs]))
        self._numbers = [
            self._tensor(np.array([getattr(run.settings, name) for run in runs], np.float64))
            for name in ("learning_rate", *self._algorithm.arguments)
        ]
        self._moments = (
            self._tensor(np.stack([run.covariance for run in runs])),
            self._tensor(np.stack([run.correlation for run in runs])),
        )
        self._diverged_step = self._tensor(np.full(len(runs), np.nan))
        self._done = 0

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.as_tensor(array, device=self._device)

    @property
    def diverged_step(self) -> Float64[np.ndarray, "run"]:
        """Step at which each run diverged; NaN where it did not."""
        return self._diverged_step.cpu().numpy().copy()

    def advance(self, count: int) -> None:
        """Take so many steps, all runs at once."""
        kinds: dict[str, tuple[Callable[[int], Streams], Callable[..., list[Tensor]]]] = {
            "samples": (self._samples, self._on_samples),
            "moments": (self._nothing, self._on_moments),
            "chain": (self._chain, self._along_chain),
        }
        read, step = kinds[self._algorithm.stream]
        streams = read(count)
        alive = self._diverged_step.isnan()
        for t in range(count):
            *state, size = step(*(stream[:, t] for stream in streams))
            # of a batch of numbers a run, the largest; false for NaN
            fine = size.abs().reshape(len(self._runs), -1).amax(-1) <= DIVERGED
            self._diverged_step[alive & ~fine] = self._done + t
            alive &= fine
            self._state = [
                torch.where(alive.view(-1, *[1] * (old.ndim - 1)), new, old)
                for new, old in zip(state, self._state, strict=True)
            ]
        self._done += count

    def _samples(self, count: int) -> Streams:
        """Which sample each step sees, and its label noise."""
        orders = np.stack([run.order(self._done, count) for run in self._runs])
        noises = np.stack([run.noise(self._done, count) for run in self._runs])
        return [self._tensor(orders.astype(np.int64)), self._tensor(noises)]

    def _nothing(self, count: int) -> Streams:
        return [self._tensor(np.empty((len(self._runs), count, 0)))]

    def _chain(self, count: int) -> Streams:
        """The second layer after each step."""
        return [self._tensor(np.stack([self._moved(run, count) for run in self._runs]))]

    def _moved(self, run: Run, count: int) -> Float64[np.ndarray, "count neuron"]:
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

    def _on_samples(self, sample: Tensor, noise: Tensor) -> list[Tensor]:
        runs = torch.arange(len(self._runs), device=self._device)
        x, target = self._x[runs, sample], self._y[runs, sample] + noise
        return list(self._rule(*self._state, x, target, *self._numbers))

    def _on_moments(self, _: Tensor) -> list[Tensor]:
        return list(self._rule(*self._state, *self._moments, *self._numbers))

    def _along_chain(self, following: Tensor) -> list[Tensor]:
        w, a = self._state
        w, g = self._rule(w, a, *self._moments, *self._numbers)
        return [w, following, g]

    def core(self, run: int) -> Float64[np.ndarray, "neuron inputplus1"]:
        """The state [W | a] of a run now."""
        w, a = self._state[:2]
        return torch.cat([w[run], a[run][:, None]], -1).cpu().numpy()

"""What moves a batch of runs forward: the compiled core, or the torch reference.

Both take the same cores, sample order and noise and stop a diverged run at the same step.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
from jaxtyping import Float64, Int32

DIVERGED = 1e10
"""A residual beyond this, or not finite, is divergence: labels are of order σ."""


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

    def advance(
        self, order: Int32[np.ndarray, "run step"], noise: Float64[np.ndarray, "run step"]
    ) -> None:
        """Take one step for each column; a run that diverges, or has, stays where it is."""

    def cores(self) -> Float64[np.ndarray, "run neuron inputplus1"]:
        """The states [W | a] now."""


class CompiledEngine:
    """Numba kernels, one run a thread; a run's bits depend on neither batch nor threads."""

    def __init__(
        self,
        cores: Float64[np.ndarray, "run neuron inputplus1"],
        x: Float64[np.ndarray, "run sample input"],
        y: Float64[np.ndarray, "run sample"],
        eta: Sequence[float],
        *,
        threads: int = 1,
    ) -> None:
        from .compiled import pack

        self._states = [pack(core) for core in cores]
        self._neurons = cores.shape[1]
        self._x, self._y, self._eta = x, y, eta
        self._threads = threads
        self._done = 0
        self._diverged_step = np.full(len(cores), np.nan)

    @property
    def diverged_step(self) -> Float64[np.ndarray, "run"]:
        """Step at which each run diverged; NaN where it did not."""
        return self._diverged_step.copy()

    def _advance_run(
        self, run: int, order: Int32[np.ndarray, "step"], noise: Float64[np.ndarray, "step"]
    ) -> None:
        from .compiled import sgd

        if np.isnan(self._diverged_step[run]):
            taken = sgd(
                self._states[run],
                self._x[run],
                self._y[run],
                order,
                noise,
                self._eta[run],
                DIVERGED,
            )
            if taken < len(order):
                self._diverged_step[run] = self._done + taken

    def advance(
        self, order: Int32[np.ndarray, "run step"], noise: Float64[np.ndarray, "run step"]
    ) -> None:
        """Take one step for each column, runs side by side on `threads` threads."""
        runs = range(len(self._states))
        if self._threads > 1:
            with ThreadPoolExecutor(self._threads) as pool:
                list(pool.map(self._advance_run, runs, order, noise))
        else:
            for run in runs:
                self._advance_run(run, order[run], noise[run])
        self._done += order.shape[1]

    def cores(self) -> Float64[np.ndarray, "run neuron inputplus1"]:
        """The states [W | a] now."""
        return np.stack([state[:, : self._neurons].T for state in self._states])


class TorchEngine:
    """The reference rules of `rules`, all runs in one batch of float64 tensors on a device."""

    def __init__(
        self,
        cores: Float64[np.ndarray, "run neuron inputplus1"],
        x: Float64[np.ndarray, "run sample input"],
        y: Float64[np.ndarray, "run sample"],
        eta: Sequence[float],
        *,
        device: str = "cpu",
    ) -> None:
        import torch

        def tensor(array: object) -> torch.Tensor:
            return torch.as_tensor(array, dtype=torch.float64, device=device)

        self._w, self._a = tensor(cores[..., :-1]), tensor(cores[..., -1])
        self._x, self._y, self._eta = tensor(x), tensor(y), tensor(np.asarray(eta))
        self._diverged_step = tensor(np.full(len(cores), np.nan))
        self._done = 0

    @property
    def diverged_step(self) -> Float64[np.ndarray, "run"]:
        """Step at which each run diverged; NaN where it did not."""
        return np.asarray(self._diverged_step.cpu())

    def advance(
        self, order: Int32[np.ndarray, "run step"], noise: Float64[np.ndarray, "run step"]
    ) -> None:
        """Take one step for each column, all runs at once."""
        import torch

        from .rules import sgd_step

        device = self._w.device
        runs = torch.arange(len(self._w), device=device)
        indices = torch.as_tensor(order, dtype=torch.int64, device=device)
        noises = torch.as_tensor(noise, device=device)
        alive = self._diverged_step.isnan()
        for t in range(order.shape[1]):
            now = indices[:, t]
            target = self._y[runs, now] + noises[:, t]
            w, a, r = sgd_step(self._w, self._a, self._x[runs, now], target, self._eta)
            fine = r.abs() <= DIVERGED  # false for NaN
            self._diverged_step[alive & ~fine] = self._done + t
            alive &= fine
            self._w = torch.where(alive[:, None, None], w, self._w)
            self._a = torch.where(alive[:, None], a, self._a)
        self._done += order.shape[1]

    def cores(self) -> Float64[np.ndarray, "run neuron inputplus1"]:
        """The states [W | a] now."""
        import torch

        return np.asarray(torch.cat([self._w, self._a[..., None]], -1).cpu())

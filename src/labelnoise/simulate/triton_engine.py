"""The engine of a GPU: SGD and SAM of very many runs side by side, by a kernel in Triton.

For grids of very many runs (the phase diagram): the steps of a run follow one another, so that one
run alone is faster on a CPU.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64

from labelnoise.config.fields import DIVERGED

from .engines import Run
from .problem import label_noise

MOST_WEIGHTS = 64 * 64
"""Weights, filled up to powers of 2, of a core that the registers of a program have room for."""

TOGETHER = ("algorithm", "samples", "noise", "schedule", "precision")
"""Settings that the runs of a batch share: the kernel is compiled for them."""


def constants(run: Run) -> dict[str, Any]:
    """What the kernel is compiled for."""
    neurons, columns = run.reduction.core.shape
    return {
        "SAMPLES": run.settings.samples,
        "INPUTS": columns - 1,
        "NEURONS": neurons,
        "ROWS": _power_of_2(columns - 1),
        "COLUMNS": _power_of_2(neurons),
        "SAM": "rho" in run.settings.rule.arguments,
        "SCHEDULED": run.settings.schedule is not None,
        "GAUSSIAN": run.settings.noise == "gaussian",
    }


def warps(rows: int, columns: int) -> int:
    """Warps of 32 threads that hold a run's weights, filled up to powers of 2, in registers.

    The shape alone decides, so that a run's bits do not depend on the batch. At d = 20 it is one
    warp: no thread waits for another one, and a step costs the fewest instructions.
    """
    weights = rows * columns
    return 1 if weights <= 1024 else weights // 512


def _power_of_2(least: int) -> int:
    return 1 << (least - 1).bit_length()


def _device() -> str:
    """The device that the kernel runs on; the CPU if Triton is told to interpret it.

    Raises:
        RuntimeError: there is no GPU.
    """
    if os.environ.get("TRITON_INTERPRET") == "1":
        return "cpu"
    if not torch.cuda.is_available():
        raise RuntimeError("backend cuda finds no NVIDIA GPU here; set backend: compiled")
    return "cuda"


class TritonEngine:
    """All runs side by side on a GPU, in float64 or float32; sums have another order than a CPU's.

    Raises:
        RuntimeError: there is no GPU, or no Triton.
        ValueError: a core has more weights than `MOST_WEIGHTS`, or the runs differ in a setting of
            `TOGETHER`.
    """

    def __init__(self, runs: Sequence[Run], *, threads: int = 1, device: str = "cuda") -> None:
        self._device = _device()
        try:
            from .triton_kernel import advance
        except ModuleNotFoundError as error:
            raise RuntimeError(
                "backend cuda needs Triton, which torch's CUDA wheels bring: install one of those, "
                "or set backend: compiled"
            ) from error
        self._kernel = advance
        self._settings = runs[0].settings
        for name in TOGETHER:
            if any(getattr(run.settings, name) != getattr(self._settings, name) for run in runs):
                raise ValueError(f"backend cuda steps runs of one {name} at a time")
        self._constants = constants(runs[0])
        rows, columns = self._constants["ROWS"], self._constants["COLUMNS"]
        if rows * columns > MOST_WEIGHTS:
            raise ValueError(
                f"backend cuda has no room for a core of {self._constants['NEURONS']} neurons and "
                f"{self._constants['INPUTS']} inputs: filled up to powers of 2 it has "
                f"{rows * columns} weights, and {MOST_WEIGHTS} fit; use the reduction, or backend "
                "compiled"
            )
        self._warps = warps(rows, columns)
        self._runs = runs
        first = {run.seed: run for run in reversed(runs)}
        self._problems = list(first.values())
        inputs = np.stack([run.reduction.inputs for run in self._problems])
        self._state = self._arithmetic([run.reduction.core.T for run in runs])
        self._x = self._arithmetic(inputs)
        self._y = self._arithmetic([run.problem.y for run in self._problems])
        self._squares = self._arithmetic((inputs**2).sum(-1))
        number = {seed: index for index, seed in enumerate(first)}
        self._problem_of = self._tensor([number[run.seed] for run in runs], np.int32)
        self._seeds = self._tensor(list(first), np.int64)
        self._eta = self._tensor([run.settings.learning_rate for run in runs], np.float64)
        self._sigma = self._tensor([run.settings.sigma for run in runs], np.float64)
        self._rho = self._tensor([run.settings.rho for run in runs], np.float64)
        self._diverged_step = np.full(len(runs), np.nan)
        self._done = 0
        self._cores: Float64[np.ndarray, "run neuron inputplus1"] | None = None

    def _tensor(self, values: Any, dtype: type[np.generic]) -> torch.Tensor:
        return torch.as_tensor(np.ascontiguousarray(values, dtype), device=self._device)

    def _arithmetic(self, values: Any) -> torch.Tensor:
        return self._tensor(values, np.dtype(self._settings.precision).type)

    @property
    def diverged_step(self) -> Float64[np.ndarray, "run"]:
        """Step at which each run diverged; NaN where it did not."""
        return self._diverged_step.copy()

    def advance(self, count: int) -> None:
        """Take so many steps, all runs at once."""
        if count:
            alive = np.isnan(self._diverged_step)
            taken = self._tensor(np.where(alive, 0, -1), np.int64)
            # a tensor that the kernel is compiled not to read is any
            active = unit_noise = taken
            if self._constants["SCHEDULED"]:
                active = self._tensor(self._runs[0].active(self._done, count), np.uint8)
            if self._constants["GAUSSIAN"]:
                drawn = [
                    label_noise(run.seed, "gaussian", self._done, count) for run in self._problems
                ]
                unit_noise = self._tensor(drawn, np.float64)
            self._kernel[(len(self._runs),)](
                self._state,
                self._x,
                self._y,
                self._squares,
                self._problem_of,
                self._seeds,
                self._eta,
                self._sigma,
                self._rho,
                active,
                unit_noise,
                taken,
                self._done,
                count,
                DIVERGED,
                **self._constants,
                num_warps=self._warps,
            )
            steps = taken.cpu().numpy()
            gone = alive & (steps < count)
            self._diverged_step[gone] = self._done + steps[gone]
            self._cores = None
        self._done += count

    def core(self, run: int) -> Float64[np.ndarray, "neuron inputplus1"]:
        """The state [W | a] of a run now."""
        if self._cores is None:  # all at once: a copy from a GPU costs the same for one
            self._cores = self._state.cpu().numpy().astype(np.float64)
        return np.ascontiguousarray(self._cores[run].T)

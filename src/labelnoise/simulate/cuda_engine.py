"""The engine of a GPU: the step rules of SGD and SAM, one run a block, one neuron a thread.

For grids of very many runs (the phase diagram): the steps of a run follow one another, so that one
run alone is faster on a CPU. Tested on Numba's CUDA simulator (NUMBA_ENABLE_CUDASIM=1) against the
compiled core.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64
from numba import cuda, float64

from labelnoise.config.fields import DIVERGED

from .engines import Run

MOST_NEURONS = 256
"""Neurons of a core that a block takes: reduced cores have d + 1."""


@cuda.jit
def _advance(state, x, y, order, seed_of, noise, eta, rho, limit, taken):  # type: ignore[no-untyped-def]
    """Steps of SGD, or where ρ > 0 of SAM, of one run a block (see `rules`), in place.

    Args:
        state: [W | a] of each run, transposed; (run, input + 1, neuron).
        x: inputs of each seed; (seed, sample, input).
        y: clean labels; (seed, sample).
        order: sample index of each step; (seed, step).
        seed_of: which seed a run has; (run,).
        noise: label noise ε; (run, step).
        eta: learning rate of each run; (run,).
        rho: SAM's radius of each run, 0 for SGD; (run,).
        limit: a residual beyond this, or not finite, is divergence.
        taken: out: steps taken; −1 on entry marks a run that has diverged; (run,).
    """
    sums = cuda.shared.array((3, MOST_NEURONS), float64)
    run, j = cuda.blockIdx.x, cuda.threadIdx.x
    neurons, inputs = state.shape[2], state.shape[1] - 1
    if taken[run] < 0:
        return
    seed = seed_of[run]
    a = state[run, inputs, j]
    for t in range(noise.shape[1]):
        i = order[seed, t]
        hidden = 0.0
        size = 0.0
        for k in range(inputs):
            hidden += state[run, k, j] * x[seed, i, k]
            size += x[seed, i, k] * x[seed, i, k]
        cuda.syncthreads()  # the sums of the step before have been read
        sums[0, j] = a * hidden
        sums[1, j] = a * a
        sums[2, j] = hidden * hidden
        cuda.syncthreads()
        active = neurons
        while active > 1:  # a tree in a fixed order: the same bits every time
            half = (active + 1) // 2
            if j < active - half:
                for part in range(3):
                    sums[part, j] += sums[part, j + half]
            cuda.syncthreads()
            active = half
        residual = sums[0, 0] - (y[seed, i] + noise[run, t])
        if not abs(residual) <= limit:
            if j == 0:
                taken[run] = t
            state[run, inputs, j] = a
            return
        by, at = a, hidden
        if rho[run] > 0:
            squares = sums[1, 0] * size + sums[2, 0]
            if squares > 0 and residual != 0:
                c = math.copysign(rho[run] / math.sqrt(squares), residual)
                # with ã = a + c Wx and W̃x = Wx + c‖x‖²a
                grown = sums[0, 0] * (1 + c * c * size) + c * squares
                residual = grown - (y[seed, i] + noise[run, t])
                by, at = a + c * hidden, hidden + c * size * a
        step = -eta[run] * residual
        for k in range(inputs):
            state[run, k, j] += step * x[seed, i, k] * by
        a += step * at
    state[run, inputs, j] = a
    if j == 0:
        taken[run] = noise.shape[1]


class CudaEngine:
    """All runs side by side on a GPU, in float64.

    Raises:
        RuntimeError: there is no GPU.
        ValueError: a core has more than `MOST_NEURONS` neurons.
    """

    def __init__(self, runs: Sequence[Run], *, threads: int = 1, device: str = "cuda") -> None:
        if not cuda.is_available():
            raise RuntimeError("backend cuda finds no NVIDIA GPU here; set backend: compiled")
        neurons = len(runs[0].reduction.core)
        if neurons > MOST_NEURONS:
            raise ValueError(
                f"backend cuda takes cores of at most {MOST_NEURONS} neurons, this one has "
                f"{neurons}; use the reduction, or backend compiled"
            )
        self._runs = runs
        self._seeds = list(dict.fromkeys(run.seed for run in runs))
        first = {run.seed: run for run in runs}
        self._first = [first[seed] for seed in self._seeds]
        cores = np.stack([run.reduction.core.T for run in runs])
        self._state = cuda.to_device(np.ascontiguousarray(cores))
        self._x = cuda.to_device(np.stack([run.reduction.inputs for run in self._first]))
        self._y = cuda.to_device(np.stack([run.problem.y for run in self._first]))
        self._seed_of = cuda.to_device(
            np.array([self._seeds.index(run.seed) for run in runs], dtype=np.int32)
        )
        self._eta = cuda.to_device(np.array([run.settings.learning_rate for run in runs]))
        rho = [run.settings.rho * ("rho" in run.settings.rule.arguments) for run in runs]
        self._rho = cuda.to_device(np.array(rho, dtype=np.float64))
        self._diverged_step = np.full(len(runs), np.nan)
        self._done = 0

    @property
    def diverged_step(self) -> Float64[np.ndarray, "run"]:
        """Step at which each run diverged; NaN where it did not."""
        return self._diverged_step.copy()

    def advance(self, count: int) -> None:
        """Take so many steps, all runs at once."""
        if count:
            alive = np.isnan(self._diverged_step)
            taken = cuda.to_device(np.where(alive, 0, -1))
            order = np.stack([run.order(self._done, count) for run in self._first])
            noise = np.stack([run.noise(self._done, count) for run in self._runs])
            _advance[len(self._runs), self._state.shape[2]](
                self._state,
                self._x,
                self._y,
                cuda.to_device(order),
                self._seed_of,
                cuda.to_device(noise),
                self._eta,
                self._rho,
                DIVERGED,
                taken,
            )
            steps = taken.copy_to_host()
            gone = alive & (steps < count)
            self._diverged_step[gone] = self._done + steps[gone]
        self._done += count

    def core(self, run: int) -> Float64[np.ndarray, "neuron inputplus1"]:
        """The state [W | a] of a run now."""
        return np.ascontiguousarray(self._state[run].copy_to_host().T)

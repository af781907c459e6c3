"""The engine of the compiled core: Numba kernels on the CPU."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
from jaxtyping import Float64, Int64

from labelnoise.config.fields import DIVERGED
from labelnoise.config.modules import resolve

from . import blocks
from .chain import chain_levels, moves, thresholds
from .compiled import pack
from .engines import Run

WORDS = 2**22
"""At most so many random words of the chain are held at a time."""


class _Stepped(Protocol):
    """A run that a kernel steps."""

    def advance(self, start: int, count: int) -> int:
        """Take `count` steps from step `start` on; how many were taken before divergence."""

    def core(self) -> Float64[np.ndarray, "neuron inputplus1"]:
        """The state [W | a] now."""


class CompiledEngine:
    """Numba kernels, one run a thread; a run's bits depend on neither batch nor threads."""

    def __init__(self, runs: Sequence[Run], *, threads: int = 1, device: str = "cpu") -> None:
        self._kernels = [STEPPED[run.settings.rule.stream](run) for run in runs]
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
                list(pool.map(lambda run: self._advance_run(int(run), count), alive))
        else:
            for run in alive:
                self._advance_run(int(run), count)
        self._done += count

    def core(self, run: int) -> Float64[np.ndarray, "neuron inputplus1"]:
        """The state [W | a] of a run now."""
        return self._kernels[run].core()


class _CoreRun:
    """A packed core, and what its algorithm carries along."""

    def __init__(self, run: Run) -> None:
        settings, algorithm = run.settings, run.settings.rule
        self._run = run
        self._neurons = len(run.reduction.core)
        self._kernel = resolve(algorithm.kernel)
        self._state = pack(run.reduction.core)
        nothing = np.zeros_like(run.reduction.core)
        self._memory = [pack(nothing) for _ in range(algorithm.memory)]
        self._arguments = [getattr(settings, name) for name in algorithm.arguments]

    def core(self) -> Float64[np.ndarray, "neuron inputplus1"]:
        """The state [W | a] now."""
        return self._state[:, : self._neurons].T.copy()


class _SampleRun(_CoreRun):
    """One sample and its label noise a step: SGD and its kin."""

    def advance(self, start: int, count: int) -> int:
        """Take `count` steps from step `start` on; how many were taken before divergence."""
        run = self._run
        samples = run.reduction.inputs, run.problem.y
        stream = run.order(start, count), run.noise(start, count)
        eta = run.settings.learning_rate
        return int(
            self._kernel(
                self._state, *self._memory, *samples, *stream, eta, *self._arguments, DIVERGED
            )
        )


class _BlockRun:
    """As `_SampleRun`, by a kernel that takes steps in blocks.

    The state is kept at the end of a whole block, counted from the run's first step. Steps beyond
    it are taken on a copy, and again when their block is whole: so the bits do not depend on how
    steps are split into calls.
    """

    def __init__(self, run: Run) -> None:
        settings, algorithm = run.settings, run.settings.rule
        self._run = run
        self._shape = run.reduction.core.shape
        self._kernel = resolve(algorithm.kernel)
        self._arguments = [getattr(settings, name) for name in algorithm.arguments]
        self._x = np.ascontiguousarray(run.reduction.inputs)
        self._products = blocks.products(self._x)
        self._whole = blocks.pack(run.reduction.core), np.zeros(blocks.BLOCK, np.int64)
        self._done = 0
        self._now = self._whole

    def _step(
        self, state: Float64[np.ndarray, "row lane"], late: Int64[np.ndarray, "4"], count: int
    ) -> int:
        run = self._run
        samples = self._x, run.problem.y, self._products
        stream = run.order(self._done, count), run.noise(self._done, count)
        eta = run.settings.learning_rate
        return int(self._kernel(state, late, *samples, *stream, eta, *self._arguments, DIVERGED))

    def advance(self, start: int, count: int) -> int:
        """Take `count` steps from step `start` on; how many were taken before divergence."""
        stop = start + count
        whole = stop - stop % blocks.BLOCK - self._done
        self._now = self._whole
        if whole > 0:
            taken = self._step(*self._whole, whole)
            if taken < whole:
                return self._done + taken - start
            self._done += whole
        if stop > self._done:
            state, late = self._whole
            self._now = blocks.copy(state), late.copy()
            return self._done + self._step(*self._now, stop - self._done) - start
        return count

    def core(self) -> Float64[np.ndarray, "neuron inputplus1"]:
        """The state [W | a] now."""
        state, late = self._now
        twin = blocks.copy(state)
        blocks.settle(twin, late, self._x)
        neurons, columns = self._shape
        return twin[:columns, :neurons].T.copy()


def _sample_run(run: Run) -> _SampleRun | _BlockRun:
    return _BlockRun(run) if run.settings.rule.blocks else _SampleRun(run)


class _MomentRun(_CoreRun):
    """All samples a step, by their moments: gradient descent."""

    def advance(self, start: int, count: int) -> int:
        """Take `count` steps from step `start` on; how many were taken before divergence."""
        run = self._run
        moments, eta = (run.covariance, run.correlation), run.settings.learning_rate
        return int(
            self._kernel(
                self._state, *self._memory, *moments, count, eta, *self._arguments, DIVERGED
            )
        )


class _ChainRun:
    """Full-batch GD on W while each a_i follows its chain (§4.3)."""

    def __init__(self, run: Run) -> None:
        self._run = run
        settings = run.settings
        self._kernel = resolve(settings.rule.kernel)
        transition = np.array(settings.transition)
        self._w = pack(run.reduction.core[:, :-1])
        self._thresholds = thresholds(transition)
        self._level = chain_levels(run.seed, transition, settings.width, 0, 1)[0]

    def advance(self, start: int, count: int) -> int:
        """Take `count` steps from step `start` on; how many were taken before divergence."""
        run, settings = self._run, self._run.settings
        done = 0
        while done < count:
            now = min(count - done, max(1, WORDS // settings.width))
            taken = self._kernel(
                self._w,
                self._level,
                run.covariance,
                run.correlation,
                settings.delta,
                self._thresholds,
                run.active(start + done, now),
                moves(run.seed, settings.width, start + done, now),
                settings.learning_rate,
                DIVERGED,
            )
            done += int(taken)
            if taken < now:
                break
        return done

    def core(self) -> Float64[np.ndarray, "neuron inputplus1"]:
        """The state [W | a] now."""
        return np.column_stack(
            [self._w[:, : len(self._level)].T, self._run.settings.delta * self._level]
        )


STEPPED: Mapping[str, Callable[[Run], _Stepped]] = {
    "samples": _sample_run,
    "moments": _MomentRun,
    "chain": _ChainRun,
}
"""What steps a run, by what its algorithm reads."""

"""The engine of the compiled core: Numba kernels on the CPU."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float64

from labelnoise.config.fields import DIVERGED

from . import compiled
from .chain import chain_levels, moves, thresholds
from .engines import Run

WORDS = 2**22
"""At most so many random words of the chain are held at a time."""


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
                list(pool.map(lambda run: self._advance_run(int(run), count), alive))
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
        self._run = run
        self._neurons = len(run.reduction.core)
        self._state = compiled.pack(run.reduction.core)

    def advance(self, start: int, count: int) -> int:
        """Take `count` steps from step `start` on; how many were taken before divergence."""
        run, settings = self._run, self._run.settings
        if settings.algorithm == "gd":
            return int(
                compiled.gd(
                    self._state,
                    run.covariance,
                    run.correlation,
                    count,
                    settings.learning_rate,
                    DIVERGED,
                )
            )
        stream = (
            self._state,
            run.reduction.inputs,
            run.problem.y,
            run.order(start, count),
            run.noise(start, count),
            settings.learning_rate,
        )
        if settings.algorithm == "sam":
            return int(compiled.sam(*stream, settings.rho, DIVERGED))
        return int(compiled.sgd(*stream, DIVERGED))

    def core(self) -> Float64[np.ndarray, "neuron inputplus1"]:
        """The state [W | a] now."""
        return self._state[:, : self._neurons].T.copy()


class _OscillationRun:
    """Full-batch GD on W while each a_i follows its chain (§4.3)."""

    def __init__(self, run: Run) -> None:
        self._run = run
        settings = run.settings
        transition = np.array(settings.transition)
        self._w = compiled.pack(run.reduction.core[:, :-1])
        self._thresholds = thresholds(transition)
        self._level = chain_levels(run.seed, transition, settings.width, 0, 1)[0]

    def advance(self, start: int, count: int) -> int:
        """Take `count` steps from step `start` on; how many were taken before divergence."""
        run, settings = self._run, self._run.settings
        done = 0
        while done < count:
            now = min(count - done, max(1, WORDS // settings.width))
            taken = compiled.oscillate(
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

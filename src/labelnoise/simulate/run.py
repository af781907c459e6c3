"""Simulate: settings and seeds in, an `xarray.Dataset` of trajectories out."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float64
from threadpoolctl import threadpool_limits

from labelnoise import labels
from labelnoise.config.fields import snapshot_steps
from labelnoise.config.modules import resolve

from .engines import ENGINES, Engine, Run
from .observe import PER_NETWORK, PER_NEURON, PER_QUANTILE, QUANTILES, observe
from .problem import draw_problem
from .reduction import no_reduction, reduce
from .settings import Settings

CHUNK = 2**16
"""At most so many steps between two looks at the clock: bounds memory and paces progress."""

Variable = tuple[str, tuple[str, ...], str, str, str]
"""Type, dims, name in words, symbol and units."""

Progress = Callable[[int], None]


def prepare(settings: Settings, seed: int) -> Run:
    """Draw a run's problem and reduce it as far as its rule allows."""
    problem = draw_problem(settings, seed)
    start = problem.w, problem.a, problem.x
    if settings.reduce:
        return Run(settings, seed, problem, reduce(*start, width=settings.rule.reduces))
    return Run(settings, seed, problem, no_reduction(*start))


def simulate(
    settings: Settings,
    seeds: Sequence[int],
    *,
    threads: int = 1,
    device: str = "cpu",
    progress: Progress | None = None,
) -> xr.Dataset:
    """Train a two-layer linear network, once for each seed (paper §4.1, §4.3, §5).

    A run is a pure function of `settings` and its seed: with the compiled backend the same bits
    alone, in a batch, and with any number of threads. A run that diverges is a result: its
    snapshots from then on are NaN and `diverged_step` holds the step.

    Args:
        settings: everything but the seed.
        seeds: distinct integers in 0 … 2³²−1.
        threads: CPU threads of the compiled backend, one run each.
        device: torch device of the torch backend.
        progress: called now and then with the number of steps that every run has taken.

    Returns:
        Per-neuron `w_norm`, `alignment`, `a`, `displacement` over (seed, step, neuron) of the
        recorded neurons; over (seed, step) the losses, `theta_error`, `theta_norm`, and the means,
        extremes and (with `quantile`) quantiles over all neurons; the effective predictor `theta`;
        `a_trace`, the second layer at every one of the first steps; `diverged_step` over (seed).

    Raises:
        ValueError: no seeds, seeds that repeat, or a seed out of range.

    Example:
        >>> from labelnoise.simulate.run import simulate
        >>> from labelnoise.simulate.settings import Settings
        >>> runs = simulate(Settings(sigma=4.0, steps=2000, snapshots=3), seeds=[0, 1])
        >>> dict(runs["w_norm"].sizes)
        {'seed': 2, 'step': 3, 'neuron': 1000}
    """
    runs = simulate_along(
        "eta", [settings], seeds, threads=threads, device=device, progress=progress
    )
    return runs.isel(eta=0, drop=True)


def simulate_cell(
    settings: Settings,
    together: Mapping[str, Sequence[float]],
    seeds: Sequence[int],
    *,
    threads: int = 1,
    device: str = "cpu",
    progress: Progress | None = None,
) -> xr.Dataset:
    """As `simulate`, or, where a setting varies within the cell, as `simulate_along` over it.

    Args:
        settings: everything but the seed (of the first point, where there are more).
        together: the setting that varies and its values; empty for one point.
        seeds: as for `simulate`.
        threads: as for `simulate`.
        device: as for `simulate`.
        progress: as for `simulate`.

    Raises:
        ValueError: as `simulate`.
    """
    for axis, values in together.items():
        points = [settings.model_copy(update={axis: value}) for value in values]
        return simulate_along(
            axis, points, seeds, threads=threads, device=device, progress=progress
        )
    return simulate(settings, seeds, threads=threads, device=device, progress=progress)


def simulate_along(
    axis: str,
    points: Sequence[Settings],
    seeds: Sequence[int],
    *,
    threads: int = 1,
    device: str = "cpu",
    progress: Progress | None = None,
) -> xr.Dataset:
    """As `simulate`, for several settings in one batch, along one more dimension.

    Args:
        axis: the setting that tells the points apart, and the name of the dimension.
        points: the settings of each point. They share algorithm, backend, shapes, steps and
            snapshots.
        seeds: as for `simulate`.
        threads: as for `simulate`.
        device: as for `simulate`.
        progress: as for `simulate`.

    Raises:
        ValueError: as `simulate`.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must be distinct and at least one, got {list(seeds)}")
    # BLAS on one thread: its sums must not depend on how many cores there are
    with threadpool_limits(limits=1, user_api="blas"):
        runs = [prepare(settings, seed) for settings in points for seed in seeds]
        first = runs[0].settings
        # named and not imported: torch takes seconds
        engine: Engine = resolve(ENGINES[first.backend])(runs, threads=threads, device=device)
        arrays = _record(runs, engine, progress or (lambda _: None))
    return _label(arrays, axis, [getattr(point, axis) for point in points], seeds, first)


def _variables(settings: Settings) -> dict[str, Variable]:
    """Every variable over runs."""
    found: dict[str, Variable] = {
        name: ("f4", ("step", "neuron"), *text, "1") for name, text in PER_NEURON.items()
    }
    found |= {name: ("f8", ("step",), *text, "1") for name, text in PER_NETWORK.items()}
    found |= {name: ("f8", ("step", "quantile"), *text, "1") for name, text in PER_QUANTILE.items()}
    found["theta"] = ("f8", ("step", "dim"), "effective predictor", "Wᵀa", "1")
    found["theta_star"] = ("f8", ("dim",), "ground truth", "θ*", "1")
    found["diverged_step"] = ("f8", (), *labels.DIVERGED)
    if settings.trace_steps:
        found["a_trace"] = (
            "f4",
            ("trace_step", "trace_neuron"),
            "second-layer weight at every step from the start",
            "a_i",
            "1",
        )
        if settings.rule.plain:
            found["identity_error"] = (
                "f8",
                (),
                "largest deviation from (a_i(t+1) − a_i(t))² = η²r²(x·w_i)² in the traced steps, "
                "relative to the largest such square (Lemma 4.3)",
                "",
                "1",
            )
    return found


def _coordinates(settings: Settings) -> dict[str, tuple[np.ndarray, str, str]]:
    """Every dimension but that of the runs: its values, name in words and units."""
    found: dict[str, tuple[np.ndarray, str, str]] = {
        "step": (snapshot_steps(settings), *labels.STEPS_TAKEN),
        "neuron": (np.arange(settings.neurons or settings.width), "hidden neuron", "1"),
        "quantile": (np.array(QUANTILES), "quantile", "1"),
        "dim": (np.arange(settings.dim), "input dimension", "1"),
    }
    if settings.trace_steps:
        found["trace_step"] = (np.arange(settings.trace_steps + 1), *labels.STEPS_TAKEN)
        found["trace_neuron"] = (np.arange(settings.trace_neurons), "hidden neuron", "1")
    return found


def _record(runs: Sequence[Run], engine: Engine, progress: Progress) -> dict[str, np.ndarray]:
    """Step the runs to the end; every variable over (run, …), NaN from divergence on."""
    settings = runs[0].settings
    sizes = {name: len(values) for name, (values, _, _) in _coordinates(settings).items()}
    arrays = {
        name: np.full((len(runs), *(sizes[dim] for dim in dims)), np.nan, dtype)
        for name, (dtype, dims, *_) in _variables(settings).items()
    }
    arrays["theta_star"][:] = [run.problem.theta_star for run in runs]
    recorded, traced = sizes["neuron"], slice(0, settings.trace_neurons)
    columns = {int(step): column for column, step in enumerate(snapshot_steps(settings))}
    # a trace of no steps is none
    last_traced = settings.trace_steps or -1
    expected = _ExpectedMoves(runs, traced) if "identity_error" in arrays else None
    done = 0
    for stop in sorted({*columns, *range(last_traced + 1), *range(0, settings.steps, CHUNK)}):
        engine.advance(stop - done)
        done = stop
        if stop in columns or stop <= last_traced:
            for number in map(int, np.flatnonzero(np.isnan(engine.diverged_step))):
                run, core = runs[number], engine.core(number)
                if stop <= last_traced:
                    a = run.reduction.lift_a(core, traced)
                    arrays["a_trace"][number, stop] = a
                    if expected is not None:
                        expected.look(number, core, a, stop)
                if stop in columns:
                    w, a = run.reduction.lift(core)
                    for name, value in observe(run.problem, w, a, recorded).items():
                        arrays[name][number, columns[stop]] = value
        progress(done)
    arrays["diverged_step"][:] = engine.diverged_step
    if expected is not None:
        arrays["identity_error"][:] = expected.relative_error()
    return arrays


class _ExpectedMoves:
    """Lemma 4.3's identity, (a_i(t+1) − a_i(t))² = η²r²(x·w_i)², watched step by step."""

    def __init__(self, runs: Sequence[Run], neurons: slice) -> None:
        self._runs, self._neurons = runs, neurons
        self._before: dict[int, tuple[Float64[np.ndarray, "i"], Float64[np.ndarray, "i"]]] = {}
        self._error, self._largest = np.zeros(len(runs)), np.zeros(len(runs))

    def look(
        self,
        number: int,
        core: Float64[np.ndarray, "neuron inputplus1"],
        a: Float64[np.ndarray, "i"],
        step: int,
    ) -> None:
        """Compare the move since the last look with what was expected; expect the next one."""
        if number in self._before:
            a_before, square = self._before[number]
            error = np.abs((a - a_before) ** 2 - square).max()
            self._error[number] = max(self._error[number], error)
            self._largest[number] = max(self._largest[number], square.max())
        run = self._runs[number]
        sample = run.order(step, 1)[0]
        x = run.reduction.inputs[sample]
        hidden = core[:, :-1] @ x
        residual = core[:, -1] @ hidden - run.problem.y[sample] - run.noise(step, 1)[0]
        basis = run.reduction.neuron_basis
        moved = hidden[self._neurons] if basis is None else basis[self._neurons] @ hidden
        self._before[number] = a, (run.settings.learning_rate * residual * moved) ** 2

    def relative_error(self) -> Float64[np.ndarray, "run"]:
        """The largest error of each run, relative to its largest square; NaN if none moved."""
        nothing = np.full_like(self._error, np.nan)
        return np.divide(self._error, self._largest, out=nothing, where=self._largest > 0)


def _label(
    arrays: dict[str, np.ndarray],
    axis: str,
    values: Sequence[float],
    seeds: Sequence[int],
    settings: Settings,
) -> xr.Dataset:
    """The dataset over (axis, seed, …) of arrays over runs."""
    variables = {}
    for name, (_, dims, long_name, symbol, units) in _variables(settings).items():
        array = arrays[name].reshape(len(values), len(seeds), *arrays[name].shape[1:])
        attributes = {"long_name": long_name, "symbol": symbol, "units": units}
        variables[name] = ((axis, "seed", *dims), array, attributes)
    coordinates = labels.coordinates(seeds)
    coordinates[axis] = (axis, np.asarray(values), {"long_name": axis, "units": "1"})
    for name, (column, long_name, units) in _coordinates(settings).items():
        coordinates[name] = (name, column, {"long_name": long_name, "units": units})
    return xr.Dataset(variables, coordinates)

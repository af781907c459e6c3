"""Simulate: settings and seeds in, an `xarray.Dataset` of trajectories out."""

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Int64
from threadpoolctl import threadpool_limits

from .engines import CompiledEngine, Engine, TorchEngine
from .observe import PER_NETWORK, PER_NEURON, observe
from .problem import draw_problem, label_noise, sample_order
from .reduction import no_reduction, reduce
from .settings import Settings

CHUNK = 2**16
"""At most so many steps between two looks at the clock: bounds memory and paces progress."""


def snapshot_steps(settings: Settings) -> Int64[np.ndarray, "step"]:
    """The steps at which a run is recorded: evenly spaced, 0 and the last one included."""
    return np.linspace(0, settings.steps, settings.snapshots).round().astype(np.int64)


def _empty(settings: Settings, seeds: Sequence[int]) -> xr.Dataset:
    """The labelled dataset of a block of runs, every number still NaN."""
    steps = snapshot_steps(settings)
    sizes = {
        "seed": len(seeds),
        "step": len(steps),
        "neuron": settings.width,
        "dim": settings.dim,
        "trace_step": settings.trace_steps + 1,
        "trace_neuron": settings.trace_neurons,
    }

    def blank(dtype: str, long_name: str, symbol: str, units: str, *dims: str) -> xr.Variable:
        shape = tuple(sizes[dim] for dim in dims)
        attributes = {"long_name": long_name, "symbol": symbol, "units": units}
        return xr.Variable(dims, np.full(shape, np.nan, dtype), attributes)

    def index(
        values: object, long_name: str, units: str = "1"
    ) -> tuple[str, object, dict[str, str]]:
        return "", values, {"long_name": long_name, "units": units}

    variables = {
        name: blank("f4", *text, "1", "seed", "step", "neuron") for name, text in PER_NEURON.items()
    }
    variables |= {
        name: blank("f8", *text, "1", "seed", "step") for name, text in PER_NETWORK.items()
    }
    variables |= {
        "theta": blank("f8", "effective predictor", "Wᵀa", "1", "seed", "step", "dim"),
        "theta_star": blank("f8", "ground truth", "θ*", "1", "seed", "dim"),
        "a_trace": blank(
            "f4",
            "second-layer weight at every step from the start",
            "a_i",
            "1",
            *("seed", "trace_step", "trace_neuron"),
        ),
        "diverged_step": blank(
            "f8", "step at which the run diverged (NaN: it did not)", "t", "step", "seed"
        ),
    }
    coordinates = {
        "seed": ("seed", np.asarray(seeds, np.int64), {"long_name": "seed", "units": "1"}),
        "step": ("step", steps, {"long_name": "SGD steps taken", "units": "step"}),
        "neuron": (
            "neuron",
            np.arange(settings.width),
            {"long_name": "hidden neuron", "units": "1"},
        ),
        "trace_step": (
            "trace_step",
            np.arange(settings.trace_steps + 1),
            {"long_name": "SGD steps taken", "units": "step"},
        ),
        "trace_neuron": (
            "trace_neuron",
            np.arange(settings.trace_neurons),
            {"long_name": "hidden neuron", "units": "1"},
        ),
    }
    return xr.Dataset(variables, coordinates)


def simulate(
    settings: Settings,
    seeds: Sequence[int],
    *,
    threads: int = 1,
    device: str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> xr.Dataset:
    """Run a two-layer linear network under label-noise SGD, once for each seed (paper §4.1).

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
        Per-neuron `w_norm`, `alignment`, `a`, `displacement` over (seed, step, neuron); the
        losses, `theta_error`, `theta_norm`, `layer_displacement` and `participation_ratio` over
        (seed, step); the effective predictor `theta`; `a_trace`, the second layer at every one of
        the first steps; `diverged_step` over (seed).

    Raises:
        ValueError: no seeds, seeds that repeat, or a seed out of range.

    Example:
        >>> from labelnoise.simulate.run import simulate
        >>> from labelnoise.simulate.settings import Settings
        >>> runs = simulate(Settings(sigma=4.0, steps=2000, snapshots=3), seeds=[0, 1])
        >>> dict(runs["w_norm"].sizes)
        {'seed': 2, 'step': 3, 'neuron': 1000}
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must be distinct and at least one, got {list(seeds)}")
    # BLAS on one thread: its sums must not depend on how many cores there are
    with threadpool_limits(limits=1, user_api="blas"):
        return _simulate(settings, seeds, threads, device, progress or (lambda _: None))


def _simulate(
    settings: Settings,
    seeds: Sequence[int],
    threads: int,
    device: str,
    progress: Callable[[int], None],
) -> xr.Dataset:
    problems = [draw_problem(settings, seed) for seed in seeds]
    shrink = reduce if settings.reduce else no_reduction
    reductions = [shrink(problem.w, problem.a, problem.x) for problem in problems]
    batch = (
        np.stack([reduction.core for reduction in reductions]),
        np.stack([reduction.inputs for reduction in reductions]),
        np.stack([problem.y for problem in problems]),
        [settings.eta] * len(seeds),
    )
    engine: Engine
    if settings.backend == "compiled":
        engine = CompiledEngine(*batch, threads=threads)
    else:
        engine = TorchEngine(*batch, device=device)

    data = _empty(settings, seeds)
    arrays = {str(name): variable.values for name, variable in data.data_vars.items()}
    arrays["theta_star"][:] = [problem.theta_star for problem in problems]
    traced = slice(0, settings.trace_neurons)
    snapshots = {int(step): column for column, step in enumerate(data["step"].values)}
    stops = sorted(
        snapshots.keys()
        | set(range(settings.trace_steps + 1))
        | set(range(0, settings.steps, CHUNK))
    )
    done = 0
    for stop in stops:
        count = stop - done
        engine.advance(
            np.stack([sample_order(seed, settings.samples, done, count) for seed in seeds]),
            settings.sigma
            * np.stack([label_noise(seed, settings.noise, done, count) for seed in seeds]),
        )
        done = stop
        alive = np.isnan(engine.diverged_step)
        cores = engine.cores()
        for run in np.flatnonzero(alive):
            if stop <= settings.trace_steps:
                arrays["a_trace"][run, stop] = reductions[run].lift_a(cores[run], traced)
            if stop in snapshots:
                w, a = reductions[run].lift(cores[run])
                snapshot = observe(problems[run], w, a)
                column = snapshots[stop]
                for name, per_neuron in snapshot.per_neuron.items():
                    arrays[name][run, column] = per_neuron
                for name, value in snapshot.per_network.items():
                    arrays[name][run, column] = value
                arrays["theta"][run, column] = w.T @ a
        progress(done)
    arrays["diverged_step"][:] = engine.diverged_step
    return data

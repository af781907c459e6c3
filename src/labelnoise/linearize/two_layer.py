"""The two-layer network linearised at its start, under the very samples and noise of its run."""

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr
from threadpoolctl import threadpool_limits

from labelnoise.config.fields import DIVERGED, snapshot_steps
from labelnoise.config.modules import resolve
from labelnoise.labels import Labelled, coordinates, diverged_step
from labelnoise.simulate.algorithms import ALGORITHMS
from labelnoise.simulate.engines import Run
from labelnoise.simulate.observe import PER_NETWORK
from labelnoise.simulate.problem import draw_problem
from labelnoise.simulate.reduction import no_reduction
from labelnoise.simulate.run import CHUNK
from labelnoise.simulate.settings import Settings

MEASURED = ("train_loss", "test_loss", "theta_error", "theta_norm")


def linearize(
    settings: Settings, seeds: Sequence[int], *, progress: Callable[[int], None] | None = None
) -> xr.Dataset:
    """Train the model linearised at t = 0, once for each seed.

    The linearisation f_lin(x) = ⟨θ_lin, x⟩ is linear in x, with θ_lin(0) = W(0)ᵀa(0), and a step on
    a residual r moves it by −η r M x, M = ‖a(0)‖² I + W(0)ᵀW(0). Samples, noise and schedule are
    those of `labelnoise.simulate.run.simulate` for the same settings and seed: where the network is
    lazy, the two agree.

    Args:
        settings: as for `simulate`; its algorithm has a linearised form.
        seeds: distinct integers in 0 … 2³²−1.
        progress: called now and then with the number of steps that a run has taken.

    Returns:
        `train_loss`, `test_loss`, `theta_error`, `theta_norm` over (seed, step), at the steps of
        `simulate`, NaN from divergence on; `diverged_step` over (seed).

    Raises:
        ValueError: the algorithm has no linearised run, or a seed is out of range.
    """
    if not settings.is_linearized:
        some = [name for name, algorithm in ALGORITHMS.items() if algorithm.linear_kernel]
        raise ValueError(
            f"algorithm {settings.algorithm} has no linearised run; {' and '.join(some)} have"
        )
    steps = snapshot_steps(settings)
    measured = {name: np.full((len(seeds), len(steps)), np.nan) for name in MEASURED}
    diverged = np.full(len(seeds), np.nan)
    with threadpool_limits(limits=1, user_api="blas"):
        for number, seed in enumerate(seeds):
            problem = draw_problem(settings, seed)
            run = Run(settings, seed, problem, no_reduction(problem.w, problem.a, problem.x))
            columns = {name: values[number] for name, values in measured.items()}
            diverged[number] = _one(run, steps, columns, progress or (lambda _: None))
    variables: dict[str, Labelled] = {
        name: (
            ("seed", "step"),
            values,
            {
                "long_name": f"{PER_NETWORK[name][0]}, of the linearised model",
                "symbol": PER_NETWORK[name][1],
                "units": "1",
            },
        )
        for name, values in measured.items()
    }
    variables["diverged_step"] = diverged_step(diverged)
    return xr.Dataset(variables, coordinates(seeds, steps))


def _one(
    run: Run,
    steps: np.ndarray,
    columns: dict[str, np.ndarray],
    progress: Callable[[int], None],
) -> float:
    """Fill in the curves of one run; the step at which it diverged, or NaN."""
    problem, eta = run.problem, run.settings.learning_rate
    algorithm = run.settings.rule
    kernel = resolve(str(algorithm.linear_kernel))
    theta = problem.w.T @ problem.a
    metric = (problem.a @ problem.a) * np.eye(len(theta)) + problem.w.T @ problem.w
    moved = problem.x @ metric
    at, done = {int(step): column for column, step in enumerate(steps)}, 0
    for stop in sorted({*at, *range(0, int(steps[-1]), CHUNK)}):
        count = stop - done
        if algorithm.stream == "moments":
            taken = kernel(theta, run.covariance, run.correlation, metric, count, eta, DIVERGED)
        else:
            stream = run.order(done, count), run.noise(done, count)
            taken = kernel(theta, problem.x, problem.y, moved, *stream, eta, DIVERGED)
        if taken < count:
            return float(done + taken)
        done = stop
        if stop in at:
            error = theta - problem.theta_star
            column = at[stop]
            columns["train_loss"][column] = 0.5 * np.mean((problem.x @ theta - problem.y) ** 2)
            columns["test_loss"][column] = 0.5 * np.mean((problem.x_test @ error) ** 2)
            columns["theta_error"][column] = np.linalg.norm(error)
            columns["theta_norm"][column] = np.linalg.norm(theta)
        progress(done)
    return float("nan")

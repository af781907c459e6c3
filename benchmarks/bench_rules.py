"""Steps per second of each compiled step rule, on one core in float64.

    python benchmarks/bench_rules.py [--json FILE]

All rules start from the authors' network, on their data; all but the oscillation run on its exact
reduction. They are timed side by side, in rounds. Compilation, and what is done once a run, are
not timed. A step of SGD and SAM is one sample, a step of the others the whole training set.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine, side_by_side
from threadpoolctl import threadpool_limits

from labelnoise.config.fields import DIVERGED
from labelnoise.simulate import compiled
from labelnoise.simulate.chain import chain_levels, moves, thresholds
from labelnoise.simulate.problem import draw_problem, label_noise, sample_order
from labelnoise.simulate.reduction import reduce
from labelnoise.simulate.settings import Settings

SEED, RHO, DELTA = 0, 0.1, 0.1
TRANSITION = np.array([[0.0, 1.0, 0.0], [0.5, 0.0, 0.5], [0.0, 1.0, 0.0]])
NAMES = {
    "sgd": "label-noise SGD",
    "sam": "SAM, ρ = 0.1, without noise",
    "gd": "gradient descent, full batch",
    "linear": "label-noise SGD, linearised",
    "linear_gd": "gradient descent, full batch, linearised",
    "oscillate": "oscillation, full batch, m = 1000 neurons",
}


def rules() -> dict[str, Callable[[int], float]]:
    """For each rule, the seconds that so many steps from the start take."""
    s = Settings()  # the defaults are the authors' setting
    problem = draw_problem(s, SEED)
    reduction = reduce(problem.w, problem.a, problem.x)
    x, y = reduction.inputs, problem.y
    covariance, correlation = x.T @ x / s.samples, x.T @ y / s.samples
    moments = (covariance, correlation)
    metric = problem.a @ problem.a * np.eye(s.dim) + problem.w.T @ problem.w
    mx, bounds = x @ metric, thresholds(TRANSITION)
    first_level = chain_levels(SEED, TRANSITION, s.width, 0, 1)[0]

    def timed(kernel: Callable[..., int], steps: int, *arguments: object) -> float:
        start = time.perf_counter()
        taken = kernel(*arguments, DIVERGED)
        elapsed = time.perf_counter() - start
        if taken < steps:
            sys.exit(f"error: the timed run of {kernel.__name__} diverged at step {taken}")
        return elapsed

    def state() -> object:
        return compiled.pack(reduction.core)

    def theta() -> object:
        return problem.w.T @ problem.a

    def stream(steps: int, sigma: float) -> tuple[object, object]:
        order = sample_order(SEED, s.samples, 0, steps)
        return order, sigma * label_noise(SEED, s.noise, 0, steps)

    def oscillate(n: int) -> float:
        words = moves(SEED, s.width, 0, n)
        chain = (DELTA, bounds, np.ones(n, np.uint8), words)
        w, level = compiled.pack(problem.w), first_level.copy()
        return timed(compiled.oscillate, n, w, level, *moments, *chain, s.eta)

    def linear(n: int) -> float:
        return timed(compiled.linear, n, theta(), x, y, mx, *stream(n, s.sigma), s.eta)

    return {
        "sgd": lambda n: timed(compiled.sgd, n, state(), x, y, *stream(n, s.sigma), s.eta),
        "sam": lambda n: timed(compiled.sam, n, state(), x, y, *stream(n, 0.0), s.eta, RHO),
        "gd": lambda n: timed(compiled.gd, n, state(), *moments, n, s.eta),
        "linear": linear,
        "linear_gd": lambda n: timed(compiled.linear_gd, n, theta(), *moments, metric, n, s.eta),
        "oscillate": oscillate,
    }


def measure() -> dict[str, Any]:
    """All that is measured, and whether it meets the goals."""
    ways = rules()
    rates = side_by_side(list(ways.values()))
    steps_per_second = dict(zip(ways, np.median(rates, 0).tolist(), strict=True))
    times = dict(zip(ways, np.median(rates[:, :1] / rates, 0).tolist(), strict=True))
    return {
        "machine": machine(),
        "steps_per_second": steps_per_second,
        "time_of_a_step_in_steps_of_sgd": times,
        "goals": {
            "a step of SAM takes at most 2.5 times one of SGD": times["sam"] <= 2.5,
            "at least 5e4 steps/s of the oscillation": steps_per_second["oscillate"] >= 5e4,
        },
    }


def report(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        ", ".join(f"{name} {value}" for name, value in results["machine"].items()),
        "",
        "One core, float64, n = 200, d = 20, m = 1000, η = 1e-3, σ = 4 (δ = 0.1).",
        "",
        "| rule | steps/s | time of a step, SGD's = 1 |",
        "|---|---:|---:|",
    ]
    for rule, rate in results["steps_per_second"].items():
        ratio = results["time_of_a_step_in_steps_of_sgd"][rule]
        lines.append(f"| {NAMES[rule]} | {rate:.2e} | {ratio:.3g} |")
    lines.append("")
    lines += [f"- {goal}: {'met' if met else 'missed'}" for goal, met in results["goals"].items()]
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and save where asked to."""
    parser = argparse.ArgumentParser(description="Steps per second of the compiled step rules.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also save the numbers here")
    arguments = parser.parse_args()
    with threadpool_limits(limits=1):
        results = measure()
    print(report(results))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""Steps per second of the simulator beside other ways to do the same work, on one core in float64.

    python benchmarks/bench_simulate.py [--json FILE]

All ways take the same steps from the same start: same samples in the same order, same label
noise, drawn beforehand. They are first checked to reach the same network; then they are timed side
by side, in rounds, so that whatever else the machine does hits all of them alike. Compilation is
not timed.
"""

import argparse
import json
import sys
import time
import timeit
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import ROUNDS, machine, side_by_side
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from labelnoise.simulate.compiled_engine import CompiledEngine
from labelnoise.simulate.engines import Run
from labelnoise.simulate.rules import sgd_step
from labelnoise.simulate.run import prepare, simulate
from labelnoise.simulate.settings import Settings

SEED = 0
CHECKED_STEPS = 500
TOLERANCE = 1e-10
DIMS = (10, 20, 50, 100)
WIDTHS = (100, 1_000, 10_000, 100_000)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Drawn(Run):
    """A run whose sample order and label noise are drawn already."""

    samples: NDArray[np.int32]
    epsilon: Floats

    def order(self, start: int, count: int) -> NDArray[np.int32]:
        """Samples of the steps from `start` on."""
        return self.samples[start : start + count]

    def noise(self, start: int, count: int) -> Floats:
        """Label noise of the steps from `start` on."""
        return self.epsilon[start : start + count]


@dataclass(frozen=True)
class Work:
    """Steps to take: from the state [W | a], one step for each entry of `order` and `noise`."""

    run: Drawn
    state: Floats
    x: Floats
    y: Floats
    eta: float
    order: NDArray[np.int32]
    noise: Floats


def notebook(work: Work) -> Floats:
    """Autograd and an optimiser, one sample a step, as a notebook does it."""
    w = torch.nn.Parameter(torch.tensor(work.state[:, :-1]))
    a = torch.nn.Parameter(torch.tensor(work.state[:, -1]))
    x, y = torch.tensor(work.x), torch.tensor(work.y)
    optimiser = torch.optim.SGD([w, a], lr=work.eta)
    for i, epsilon in zip(work.order.tolist(), work.noise.tolist(), strict=True):
        optimiser.zero_grad()
        loss = 0.5 * (a @ (w @ x[i]) - y[i] - epsilon) ** 2
        loss.backward()
        optimiser.step()
    return np.column_stack([w.detach().numpy(), a.detach().numpy()])


def torch_rule(work: Work) -> Floats:
    """Hand-written gradients in torch: the project's reference rule, a batch of one run."""
    w, a = torch.tensor(work.state[None, :, :-1]), torch.tensor(work.state[None, :, -1])
    eta = torch.tensor([work.eta], dtype=torch.float64)
    inputs = torch.tensor(work.x[work.order, None])
    targets = torch.tensor((work.y[work.order] + work.noise)[:, None])
    for x, target in zip(inputs, targets, strict=True):
        w, a, _ = sgd_step(w, a, x, target, eta)
    return np.column_stack([w[0].numpy(), a[0].numpy()])


def numpy_rule(work: Work) -> Floats:
    """Hand-written gradients in NumPy, in place, W stored so that the inner loops are m long."""
    w, a = work.state[:, :-1].T.copy(), work.state[:, -1].copy()
    change = np.empty_like(w)
    for i, epsilon in zip(work.order.tolist(), work.noise.tolist(), strict=True):
        x = work.x[i]
        hidden = x @ w
        step = -work.eta * (a @ hidden - work.y[i] - epsilon)
        np.outer(step * x, a, out=change)
        w += change
        a += step * hidden
    return np.column_stack([w.T, a])


def compiled(work: Work) -> Floats:
    """The project's compiled core, on whatever network it is given."""
    engine = CompiledEngine([work.run])
    engine.advance(len(work.order))
    if not np.isnan(engine.diverged_step[0]):
        sys.exit(f"error: the timed run diverged at step {engine.diverged_step[0]:.0f}")
    return engine.core(0)


class Way:
    """A function that takes steps, and the network, reduced or not, that it is given."""

    def __init__(self, name: str, take: Callable[[Work], Floats], settings: Settings) -> None:
        self.name, self._take, self._run = name, take, prepare(settings, SEED)

    def take(self, steps: int) -> tuple[Floats, float]:
        """The state after so many steps from the start, and the seconds that they took."""
        run, s = self._run, self._run.settings
        stream = run.order(0, steps), run.noise(0, steps)
        drawn = Drawn(s, SEED, run.problem, run.reduction, *stream)
        network = run.reduction.core, run.reduction.inputs, run.problem.y
        work = Work(drawn, *network, s.learning_rate, *stream)
        start = time.perf_counter()
        state = self._take(work)
        return state, time.perf_counter() - start

    def network(self, steps: int) -> Floats:
        """The full network [W | a] after so many steps from the start."""
        return np.column_stack(self._run.reduction.lift(self.take(steps)[0]))


def check_same(ways: list[Way]) -> float:
    """The largest relative difference of any way's network from the first way's; exit if large."""
    networks = [way.network(CHECKED_STEPS) for way in ways]
    distances = [float(np.linalg.norm(network - networks[0])) for network in networks]
    largest = float(np.max(distances) / np.linalg.norm(networks[0]))  # NaN if any is
    if not largest <= TOLERANCE:
        sys.exit(f"error: the ways reach different networks, at distances {distances}")
    return largest


def compare(ways: list[Way]) -> tuple[list[float], list[float]]:
    """Median steps/s of each way; median over rounds of how many times as fast the first one is."""
    rates = side_by_side([lambda steps, way=way: way.take(steps)[1] for way in ways])
    return np.median(rates, 0).tolist(), np.median(rates[:, :1] / rates, 0).tolist()


def sweep(cells: dict[int, Settings]) -> dict[int, float]:
    """Steps/s of the compiled core for each of these settings, measured side by side."""
    rates, _ = compare([Way("sweep", compiled, settings) for settings in cells.values()])
    return dict(zip(cells, rates, strict=True))


def measure() -> dict[str, Any]:
    """All that is measured, and whether it meets the goals."""
    authors, full = Settings(), Settings(reduce=False)  # the defaults are the authors' setting
    ways = [
        Way("this project: compiled, reduced", compiled, authors),
        Way("compiled, not reduced", compiled, full),
        Way("NumPy, hand-written gradients", numpy_rule, full),
        Way("torch, hand-written gradients", torch_rule, full),
        Way("torch, autograd + `optim.SGD`", notebook, full),
    ]
    difference = check_same(ways)
    rates, times = compare(ways)
    traced = Settings(trace_steps=2000)
    call_seconds = timeit.repeat(lambda: simulate(traced, [SEED]), number=1, repeat=ROUNDS)
    return {
        "machine": machine(),
        "largest_relative_difference": difference,
        "steps_per_second": {way.name: rate for way, rate in zip(ways, rates, strict=True)},
        "this_project_times": {way.name: ratio for way, ratio in zip(ways, times, strict=True)},
        "simulate_steps_per_second": authors.steps / float(np.median(call_seconds)),
        "sweeps": {
            "d": sweep({d: Settings(dim=d) for d in DIMS}),
            # η m > 2 would diverge: wider networks take smaller steps
            "m": sweep({m: Settings(width=m, eta=min(1e-3, 1 / m)) for m in WIDTHS}),
        },
        "goals": {
            "at least 4e6 steps/s at d = 20": rates[0] >= 4e6,
            "at least 100 times NumPy": times[2] >= 100,
        },
    }


def report(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        ", ".join(f"{name} {value}" for name, value in results["machine"].items()),
        "",
        "One core, float64, n = 200, d = 20, m = 1000, η = 1e-3, σ = 4; a step is one sample.",
        f"After {CHECKED_STEPS} steps all ways are at the same network, "
        f"to {results['largest_relative_difference']:.0e} relative.",
        "",
        "| way | steps/s | this project is so many times as fast |",
        "|---|---:|---:|",
    ]
    for way, rate in results["steps_per_second"].items():
        lines.append(f"| {way} | {rate:.2e} | {results['this_project_times'][way]:.3g} |")
    lines += [
        "",
        "The whole `simulate()` call (1,000,000 steps, 201 snapshots, 2,000 traced steps, 1 seed): "
        f"{results['simulate_steps_per_second']:.2e} steps/s.",
    ]
    for symbol, rates in results["sweeps"].items():
        cells = [f"{value:,} | {rate:.2e}" for value, rate in rates.items()]
        lines += ["", f"| {symbol} | steps/s |", "|---:|---:|", *(f"| {cell} |" for cell in cells)]
    lines.append("")
    lines += [f"- {goal}: {'met' if met else 'missed'}" for goal, met in results["goals"].items()]
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and save where asked to."""
    parser = argparse.ArgumentParser(description="Steps per second of the simulator.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also save the numbers here")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with threadpool_limits(limits=1):
        results = measure()
    print(report(results))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()

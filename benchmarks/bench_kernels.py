"""The SGD and SAM kernels beside the core's multiply-add peak, measured in the same run.

    python benchmarks/bench_kernels.py

For a machine with AVX2 only, on one with AVX-512:
NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES=+avx2,+fma,+avx,+sse4.2,+bmi,+bmi2,+lzcnt,+popcnt

CPU time of one thread, in rounds in which each way has its turn. The peak is that of twelve
independent chains of multiply-adds in registers (or six, whichever is faster): with two units of
latency 4, eight hide it. A step at d = 20 is counted as 882 multiply-adds for SGD (twice 21 × 21),
and 966 for SAM, which needs ‖a‖², ‖Wx‖² and two more updates of 21.
"""

import time

import numpy as np
from machine import machine
from numba import njit
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from labelnoise.config.fields import DIVERGED
from labelnoise.simulate import blocks, compiled
from labelnoise.simulate.blocks import LANES, _all, _fma, _sum
from labelnoise.simulate.run import prepare, simulate
from labelnoise.simulate.settings import Settings

STEPS, ROUNDS, CHAINED = 100_000, 25, 500_000
SETTINGS, RHO = Settings(), 0.1  # the defaults are the authors' setting: d = 20
MULTIPLY_ADDS = {"sgd": 882, "sam": 966}


def chains(number):
    """A function of so many independent chains of multiply-adds."""
    names = [f"s{i}" for i in range(number)]
    lines = ["def chained(rounds, x, y):", "    x, y = _all(x), _all(y)"]
    lines += [f"    {name} = _all({i}.0)" for i, name in enumerate(names)]
    lines += ["    for _ in range(rounds):", *(f"        {s} = _fma({s}, x, y)" for s in names)]
    lines.append("    return " + " + ".join(f"_sum({name})" for name in names))
    made: dict = {"_all": _all, "_fma": _fma, "_sum": _sum}
    exec("\n".join(lines), made)
    return njit(nogil=True)(made["chained"])


def seconds_of(take, *arguments):
    """CPU seconds of a call."""
    start = time.thread_time()
    take(*arguments)
    return time.thread_time() - start


def main() -> None:
    """Measure and print."""
    run = prepare(SETTINGS, 0)
    x, y, core = run.reduction.inputs, run.problem.y, run.reduction.core
    order, noise, eta = run.order(0, STEPS), run.noise(0, STEPS), SETTINGS.learning_rate
    gram = blocks.products(x)
    radii = {"sgd": (), "sam": (RHO,)}
    peaks = {number: chains(number) for number in (6, 12)}

    def plain(name):
        kernel = getattr(compiled, name)
        kernel(compiled.pack(core), x, y, order, noise, eta, *radii[name], DIVERGED)

    def in_blocks(name):
        state, late = blocks.pack(core), np.zeros(blocks.BLOCK, np.int64)
        kernel = getattr(blocks, name)
        kernel(state, late, x, y, gram, order, noise, eta, *radii[name], DIVERGED)

    def a_round() -> list[float]:
        peak = max(
            n * LANES * CHAINED / seconds_of(f, CHAINED, 0.5, 0.25) for n, f in peaks.items()
        )
        rates = [STEPS / seconds_of(way, name) for name in radii for way in (plain, in_blocks)]
        return [peak, *rates]

    with threadpool_limits(limits=1):
        a_round()  # compiles
        rates: NDArray[np.float64] = np.array([a_round() for _ in range(ROUNDS)])
        simulate(SETTINGS.model_copy(update={"steps": 1000}), [0])
        whole = [SETTINGS.steps / seconds_of(simulate, SETTINGS, [0]) for _ in range(5)]
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    print(f"\nPeak: {np.median(rates[:, 0]):.3g} multiply-adds/s (medians of {ROUNDS} rounds).\n")
    print("| kernel, d = 20 | steps/s, step by step | in blocks | ratio | share of the peak |")
    print("|---|---:|---:|---:|---:|")
    for number, (name, count) in enumerate(MULTIPLY_ADDS.items()):
        before, after = rates[:, 1 + 2 * number], rates[:, 2 + 2 * number]
        was, share = (np.median(count * rate / rates[:, 0]) for rate in (before, after))
        print(
            f"| {name} | {np.median(before):.3g} | {np.median(after):.3g} "
            f"| {np.median(after / before):.2f} | {share:.0%} (was {was:.0%}) |"
        )
    call, kernel = np.median(whole), np.median(rates[:, 2])
    print(
        f"\nThe whole `simulate()` call ({SETTINGS.steps:,} steps, 201 snapshots, 1,000 neurons): "
        f"{call:.3g} steps/s, {call / kernel:.0%} of the kernel's rate."
    )


if __name__ == "__main__":
    main()

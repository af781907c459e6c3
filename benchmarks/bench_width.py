"""Cost against width: the same run of label-noise SGD from 10² to 10⁷ neurons.

`python benchmarks/bench_width.py [LARGEST]` times the whole `simulate` call (drawing the network,
the QR, the steps, the snapshots of all neurons) in a fresh process for each width, and reports the
peak memory of that process. 10⁷ neurons take about 12 GB.
"""

import os
import resource
import subprocess
import sys
import time

from machine import machine

STEPS, SNAPSHOTS, DIM = 1_000_000, 7, 20


def run(width: int) -> tuple[float, float, float]:
    """Seconds of a run, its final displacement, and nanoseconds of a step alone."""
    from labelnoise.simulate.compiled_engine import CompiledEngine
    from labelnoise.simulate.run import prepare, simulate
    from labelnoise.simulate.settings import Settings

    settings = Settings(
        width=width, dim=DIM, sigma=4.0, eta=1.0, eta_unit="1/m", steps=STEPS, snapshots=SNAPSHOTS,
        neurons=min(width, 100), test_samples=100,
    )  # fmt: skip
    simulate(settings.model_copy(update={"width": 200, "steps": 10}), [0])  # compile
    start = time.perf_counter()
    moved = float(simulate(settings, [0])["layer_displacement"][0, -1])
    seconds = time.perf_counter() - start
    engine = CompiledEngine([prepare(settings, 0)])
    start = time.perf_counter()
    engine.advance(STEPS)
    return seconds, moved, 1e9 * (time.perf_counter() - start) / STEPS


def main() -> None:
    """Print a Markdown table, one row a width."""
    if os.environ.get("BENCH_WIDTH"):
        width = int(os.environ["BENCH_WIDTH"])
        seconds, moved, step = run(width)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"| {width:,} | {seconds:.2f} | {step:.0f} | {peak:.2f} | {moved:.2e} |")
        return
    largest = int(float(sys.argv[1])) if len(sys.argv) > 1 else 10**7
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    print(f"\n{STEPS:,} steps at a learning rate of 1/m, σ = 4, d = {DIM}, {SNAPSHOTS} snapshots;")
    print("a step includes its sample and noise.\n")
    print("| m | seconds in all | ns a step | peak GiB | displacement at the end |")
    print("|---:|---:|---:|---:|---:|", flush=True)
    width = 100
    while width <= largest:
        environment = os.environ | {"BENCH_WIDTH": str(width)}
        subprocess.run([sys.executable, __file__], env=environment, check=True)
        width *= 10


if __name__ == "__main__":
    main()

"""All that needs a GPU, in one table: tests, throughput of simulations, training of ResNet-18.

`make gpu-check` runs it and writes benchmarks/results/gpu-<device>.md; made to take less than 20
minutes. `--rehearse` runs the same on a CPU with Triton's interpreter and tiny sizes, and only
collects the tests: that shows that the script works, and its numbers mean nothing.

Figure 1's configuration is that of config/paper.yaml, with random images: their content does not
change the time.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEST_SECONDS = 480


@dataclass(frozen=True)
class Sizes:
    """How much is run."""

    device: str = "cuda"
    runs: tuple[int, ...] = (10_000, 160)  # many; as many as a job of the full phase diagram has
    steps: int = 200_000
    compared_runs: int = 4
    images: int = 50_000
    changes: tuple[tuple[str, object], ...] = ()  # of Figure 1's configuration


REHEARSAL = Sizes(
    device="cpu",
    runs=(3, 2),
    steps=5,
    compared_runs=2,
    images=256,
    changes=(("width", 2), ("precision", "float32"), ("compile", False), ("measured_images", 64)),
)


@dataclass(frozen=True)
class Row:
    """A line of the table: what, how much, and the aim where there is one."""

    what: str
    found: str
    aim: str = ""
    met: bool | None = None

    def __str__(self) -> str:
        met = {None: "", True: "met", False: "missed"}[self.met]
        return f"| {self.what} | {self.found} | {self.aim} | {met} |"


def tests(sizes: Sizes) -> list[Row]:
    """The tests marked gpu."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", "tests"]
    collect = ["--collect-only"] * (sizes.device == "cpu")
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [*command, *collect],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TEST_SECONDS,
    )  # fmt: skip
    last = (done.stdout.strip().splitlines() or ["nothing said"])[-1].strip("= ")
    # a GPU that torch does not see would skip them all
    passed = done.returncode == 0 and (sizes.device == "cpu" or "skipped" not in last)
    if not passed:
        print(done.stdout, done.stderr, file=sys.stderr)
    return [Row("`pytest -m gpu`", last, "none fails or is skipped", passed)]


def simulations(sizes: Sizes) -> list[Row]:
    """Steps/s of many runs in both arithmetics, and how far these are from the compiled core."""
    import numpy as np

    from labelnoise.simulate.compiled_engine import CompiledEngine
    from labelnoise.simulate.run import prepare
    from labelnoise.simulate.settings import Settings
    from labelnoise.simulate.triton_engine import TritonEngine

    def batch(settings: Settings, count: int) -> list:
        """Runs of four seeds and of many learning rates, none of which diverges."""
        drawn = [prepare(settings, seed) for seed in range(4)]
        etas = np.geomspace(1e-3, 1e-4, -(-count // 4)).tolist()
        return [
            replace(run, settings=settings.model_copy(update={"eta": eta}))
            for eta in etas
            for run in drawn
        ][:count]

    def cores(engine, count: int) -> np.ndarray:
        engine.advance(sizes.steps)
        return np.array([engine.core(number) for number in range(count)])

    rows = []
    for algorithm, chosen in (("sgd", {"sigma": 4.0}), ("sam", {"sigma": 0.0, "rho": 0.1})):
        both = [
            Settings(algorithm=algorithm, backend="cuda", precision=precision, **chosen)
            for precision in ("float64", "float32")
        ]
        for settings in both:
            for count in sizes.runs:
                engine = TritonEngine(batch(settings, count))
                engine.advance(4)  # compiles
                start = time.perf_counter()
                engine.advance(sizes.steps)
                rate = count * sizes.steps / (time.perf_counter() - start)
                aimed = settings.precision == "float64" and count == max(sizes.runs)
                rows.append(
                    Row(
                        f"{algorithm}, {settings.precision}, {count:,} runs, d = 20: run-steps/s",
                        f"{rate:.3g}",
                        *(("1e9", rate >= 1e9) if aimed else ()),
                    )
                )
        count = sizes.compared_runs
        expected = cores(CompiledEngine(batch(both[0], count)), count)
        for settings, most in zip(both, (1e-10, None), strict=True):
            found = cores(TritonEngine(batch(settings, count)), count)
            error = np.linalg.norm(found - expected, axis=(1, 2))
            error = float((error / np.linalg.norm(expected, axis=(1, 2))).max())
            rows.append(
                Row(
                    f"{algorithm}, {settings.precision}: largest relative distance from the "
                    f"compiled core after {sizes.steps:,} steps",
                    f"{error:.1e}",
                    *((f"{most:g}", error <= most) if most else ()),
                )
            )
    return rows


def figure1(sizes: Sizes):
    """Figure 1's full configuration: settings of one training, and how many trainings it has."""
    import yaml

    from labelnoise.train.settings import TrainSettings

    files = (ROOT / "config/config.yaml", ROOT / "config/paper.yaml")
    cells = [yaml.safe_load(f.read_text())["experiments"]["generalisation"] for f in files]
    chosen = {key: value for cell in cells for key, value in cell.get("settings", {}).items()}
    grid = {key: value for cell in cells for key, value in cell.get("grid", {}).items()}
    seeds = [cell["seeds"] for cell in cells if "seeds" in cell][-1]
    points = 1
    for values in grid.values():
        points *= len(values)
    point = {key: values[-1] for key, values in grid.items()}
    return TrainSettings(**chosen | point | dict(sizes.changes)), points * seeds


def trainings(sizes: Sizes) -> list[Row]:
    """Steps/s beside the straightforward loop; an epoch, and all of Figure 1 from it."""
    import numpy as np
    from bench_train import notebook, ours, random_images, wait
    from machine import side_by_side

    from labelnoise.train.observe import Observer
    from labelnoise.train.steps import Trainer
    from labelnoise.train.task import arithmetic, prepare

    settings, count = figure1(sizes)
    images = random_images(sizes.images)
    plain = settings.model_copy(update={"compile": False})
    rates = side_by_side([ours(settings, images), notebook(plain, images)])
    mine, other = np.median(rates, 0)
    ratio = float(np.median(rates[:, 0] / rates[:, 1]))
    rows = [
        Row("Figure 1's ResNet-18, by this package: steps/s", f"{mine:,.3g}"),
        Row("the straightforward loop (DataLoader, eager float32): steps/s", f"{other:,.3g}"),
        Row("times as fast, median of rounds", f"{ratio:.2f}", "4", ratio >= 4),
    ]
    epoch = sizes.images // settings.batch_size
    task = prepare(settings, images, 0, sizes.device)
    with arithmetic(settings.precision, sizes.device):
        observer, trainer = Observer(task), Trainer(task)
        start = time.perf_counter()
        trainer.advance(1)  # compiles what the loop before has not
        observer.measure()
        wait()
        first = time.perf_counter() - start
        start = time.perf_counter()
        trainer.advance(1 + epoch)
        wait()
        stepping = time.perf_counter() - start
        start = time.perf_counter()
        observer.measure()
        wait()
        measuring = time.perf_counter() - start
    whole = first + stepping * settings.steps / epoch + measuring * settings.snapshots
    minutes = count * whole / 60
    rows += [
        Row(f"one epoch ({epoch} steps), s", f"{stepping:.3g}"),
        Row("one snapshot, s", f"{measuring:.3g}"),
        Row("first step and snapshot of a training, s", f"{first:.3g}"),
        Row(
            f"Figure 1, all {count} trainings of {settings.steps:,} steps, extrapolated, without "
            "pruning: minutes",
            f"{minutes:.3g}",
            "30",
            minutes <= 30,
        ),
    ]
    return rows


def attempt(part: Callable[[Sizes], list[Row]], sizes: Sizes) -> list[Row]:
    """The rows of a part; one that says so where it fails, so that the others are still shown."""
    try:
        return part(sizes)
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split()).replace("|", "/")
        return [Row(part.__name__, f"failed: {text[:300]}", "runs", False)]


def main() -> None:
    """Run, print, write; exit non-zero where there is no GPU or anything failed or missed."""
    parser = argparse.ArgumentParser(description="All that needs a GPU, in one table.")
    parser.add_argument("--rehearse", action="store_true", help="tiny, on a CPU; writes nothing")
    rehearse = parser.parse_args().rehearse
    if rehearse:
        os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported
    import torch
    from machine import machine

    if not rehearse and not torch.cuda.is_available():
        sys.exit("gpu-check: torch finds no NVIDIA GPU here; nothing was run")
    sizes = REHEARSAL if rehearse else Sizes()
    name = "rehearsal" if rehearse else torch.cuda.get_device_name()
    start = time.perf_counter()
    rows = [row for part in (tests, simulations, trainings) for row in attempt(part, sizes)]
    minutes = (time.perf_counter() - start) / 60
    rows.append(Row("all of this: minutes", f"{minutes:.1f}", "20", minutes <= 20))
    of = ", ".join(f"{key} {value}" for key, value in machine().items() if key != "cores")
    table = (
        f"# What needs a GPU, on {name}\n\nOutput of `make gpu-check`:\n\n{of}\n\n"
        "| what | found | aim | |\n|---|---:|---:|---|\n" + "\n".join(map(str, rows)) + "\n"
    )
    print(table)
    if not rehearse:
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        (ROOT / f"benchmarks/results/gpu-{slug}.md").write_text(table, encoding="utf-8")
    sys.exit(any(row.met is False for row in rows))


if __name__ == "__main__":
    main()

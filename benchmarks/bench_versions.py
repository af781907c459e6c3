"""Trainings, their snapshots and NTKs, by this version and by another one: CPU time side by side.

`python benchmarks/bench_versions.py OTHER/src` starts a process for each version, on one thread,
which take turns: a round is one slice of each case by each version. What is timed are the trainings
of the default configuration. Times are CPU times, so that other work on the machine counts little.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROUNDS = 7

FEW = {"source": "digits"}
WIDE = FEW | {"network": "wide_resnet", "eta": 0.15}
SAM = {"algorithm": "sam", "rho": 0.1}
RESNET = {
    "source": "digits", "train_images": 200, "test_images": None, "network": "resnet", "depth": 10,
    "width": 8, "loss": "cross_entropy", "batch_size": 20, "eta": 0.1, "tau": 0.1,
}  # fmt: skip
STEPS = {
    "MLP, label noise": (FEW | {"network": "mlp", "tau": 0.5}, 400),
    "MLP, SAM": (FEW | {"network": "mlp"} | SAM, 200),
    "WideResNet, label noise": (WIDE | {"tau": 0.5}, 40),
    "WideResNet, SAM": (WIDE | SAM, 20),
    "ResNet, batches of 20": (RESNET, 60),
}
"""Settings, and the steps of a slice."""


def cases() -> dict[str, Callable[[], float]]:
    """What is timed, in this process's version: functions that return milliseconds of CPU time."""
    import torch

    from labelnoise.train.images import digits
    from labelnoise.train.observe import Observer
    from labelnoise.train.settings import TrainSettings
    from labelnoise.train.steps import Trainer
    from labelnoise.train.task import prepare

    torch.set_num_threads(1)
    images = digits()

    def timed(call: Callable[[], object], times: int) -> float:
        start = time.process_time()
        call()
        return 1000 * (time.process_time() - start) / times

    found: dict[str, Callable[[], float]] = {}
    for name, (given, steps) in STEPS.items():
        task = prepare(TrainSettings(**given), images, 0, "cpu")
        trainer, observer = Trainer(task), Observer(task)
        found[f"{name}: a step"] = lambda trainer=trainer, steps=steps: timed(
            lambda: trainer.advance(trainer.step + steps), steps
        )
        if "SAM" not in name:
            found[f"{name.split(',')[0]}: a snapshot"] = lambda observer=observer: timed(
                lambda: [observer.measure() for _ in range(5)], 5
            )
    task = prepare(TrainSettings(**WIDE), images, 0, "cpu")
    found["WideResNet: NTK of 16 images"] = lambda: timed(
        lambda: ntk(task.network.eval(), task.x_train[:16]), 1
    )
    found["the same by vmap(jacrev)"] = lambda: timed(
        lambda: whole(task.network.eval(), task.x_train[:16]), 1
    )
    return found


def ntk(network, x):
    """This process's version of the kernel."""
    import torch

    try:
        from labelnoise.ntk import empirical_ntk
    except ImportError:  # until 0.1
        from labelnoise.linearize.ntk import empirical_ntk as before

        from labelnoise.train.networks import function_of, trained

        with torch.no_grad():
            return before(function_of(network), trained(network), x, memory=2**30)
    return empirical_ntk(network, x)


def whole(network, x):
    """The kernel of whole Jacobians, image by image."""
    import torch
    from torch.func import functional_call, jacrev, vmap

    params = {name: value.detach() for name, value in network.named_parameters()}
    one = jacrev(lambda p, x: functional_call(network, p, (x[None],))[0])
    jacobian = vmap(one, in_dims=(None, 0))(params, x)
    rows = [part.flatten(2).flatten(0, 1) for part in jacobian.values()]
    return torch.stack([part @ part.T for part in rows]).sum(0)


def worker() -> None:
    """Answer names with milliseconds, line by line."""
    ways = cases()
    print(json.dumps(list(ways)), flush=True)
    for line in sys.stdin:
        print(ways[line.strip()](), flush=True)


@contextmanager
def version(source: Path) -> Iterator[tuple[list[str], Callable[[str], float]]]:
    """A process with the package of a folder: its cases, and what times one of them."""
    environment = os.environ | {
        "PYTHONPATH": str(source.resolve()), "OMP_NUM_THREADS": "1", "BENCH_WORKER": "1"
    }  # fmt: skip
    command = [sys.executable, __file__]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as process:

        def ask(name: str) -> float:
            print(name, file=process.stdin, flush=True)
            return float(process.stdout.readline())

        yield json.loads(process.stdout.readline()), ask
        process.stdin.close()


def main() -> None:
    """Print a Markdown table."""
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / "labelnoise").is_dir():
        sys.exit("usage: bench_versions.py OTHER/src, the folder that holds its package")
    import numpy as np
    from machine import machine

    print("# Trainings and NTKs by two versions\n")
    print(", ".join(f"{key} {value}" for key, value in machine().items()), end="\n\n")
    here = Path(__file__).parents[1] / "src"
    with version(Path(sys.argv[1])) as (_, before), version(here) as (names, after):
        for name in names:  # what is done once is not timed
            before(name), after(name)
        times = np.array([[(before(n), after(n)) for n in names] for _ in range(ROUNDS)])
    print(f"Milliseconds of CPU time, medians of {ROUNDS} rounds in turns.\n")
    print("| what | before | after | after/before | least–most |\n|---|---:|---:|---:|---:|")
    for name, (old, new) in zip(names, times.transpose(1, 2, 0), strict=True):
        ratio = new / old
        print(
            f"| {name} | {np.median(old):.3g} | {np.median(new):.3g} | {np.median(ratio):.2f} "
            f"| {ratio.min():.2f}–{ratio.max():.2f} |"
        )
    median = dict(zip(names, np.median(times, 0), strict=True))
    print("\n| SAM's step over SGD's | before | after |\n|---|---:|---:|")
    for network in ("MLP", "WideResNet"):
        ratio = median[f"{network}, SAM: a step"] / median[f"{network}, label noise: a step"]
        print(f"| {network} | {ratio[0]:.2f} | {ratio[1]:.2f} |")


if __name__ == "__main__":
    worker() if os.environ.get("BENCH_WORKER") else main()

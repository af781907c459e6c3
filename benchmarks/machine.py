"""What the benchmarks share: timing side by side, and the machine that they ran on."""

import os
import platform
import re
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path

import llvmlite.binding
import numpy as np
from numpy.typing import NDArray

ROUNDS = 5
SLICE_SECONDS = 0.4


def _steps_in(seconds: float, seconds_of: Callable[[int], float]) -> int:
    """About how many steps are taken in so much time."""
    seconds_of(1)  # what is done once, as compiling, is not timed
    steps, elapsed = 1, 0.0
    while elapsed < seconds / 8:
        steps *= 2
        elapsed = seconds_of(steps)
    return max(1, int(steps * seconds / elapsed))


def side_by_side(ways: list[Callable[[int], float]]) -> NDArray[np.float64]:
    """Steps/s of each way to take steps, in each of some rounds; (round, way).

    In a round every way has its turn, so that whatever else the machine does hits all alike.

    Args:
        ways: functions that take so many steps and return the seconds that it took.
    """
    lengths = [_steps_in(SLICE_SECONDS, way) for way in ways]
    rounds = [
        [steps / way(steps) for way, steps in zip(ways, lengths, strict=True)]
        for _ in range(ROUNDS)
    ]
    return np.array(rounds)


def machine() -> dict[str, str]:
    """What the numbers were measured on."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    name = model[1] if model else platform.machine()
    return {
        "measured": date.today().isoformat(),
        "CPU": f"{name} (LLVM: {llvmlite.binding.get_host_cpu_name()})",
        "cores": f"1 used of {os.cpu_count()}",
        "Python": platform.python_version(),
    } | {package: version(package) for package in ("numpy", "numba", "torch")}

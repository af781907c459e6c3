"""The GPU engine: interpreted, compiled for a GPU that is not there, and on one that is.

The interpreter runs the kernel's lines by NumPy: the same logic and the same random numbers. What
only a GPU shows are rounding there and speed (tests marked gpu, `make gpu-check`).
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from labelnoise.simulate.run import prepare
from labelnoise.simulate.settings import Settings
from labelnoise.simulate.triton_engine import TritonEngine

triton = pytest.importorskip("triton", reason="no Triton for this platform")

CHECK = """
import numpy as np
from labelnoise.simulate.compiled_engine import CompiledEngine
from labelnoise.simulate.run import prepare, simulate
from labelnoise.simulate.settings import Settings
from labelnoise.simulate.triton_engine import TritonEngine

calls = CALLS
common = {"width": 30, "dim": 3, "samples": 12, "rho": 0.3, "backend": "cuda"}
periodic, now_and_then = {"period": 5, "start": 2}, {"intervals": [[1, 3], [7, 8]]}
cases = (  # more inputs than samples, noise that is not always on, no reduction
    {"algorithm": "sgd", "sigma": 3.0, "schedule": periodic},
    {"algorithm": "sgd", "sigma": 3.0, "samples": 2, "noise": "gaussian"},
    {"algorithm": "sam", "sigma": 0.0},
    {"algorithm": "sam", "sigma": 1.0, "width": 7, "reduce": False, "schedule": now_and_then},
)
for case in cases:
    single, double = (
        [
            prepare(Settings(eta=eta, precision=precision, **common | case), seed)
            for eta in (0.004, 3.0)
            for seed in (0, 2**32 - 1)
        ]
        for precision in ("float32", "float64")
    )
    expected, same, near = CompiledEngine(double), TritonEngine(double), TritonEngine(single)
    for count in calls:
        for engine in (expected, same, near):
            engine.advance(count)
        np.testing.assert_array_equal(same.diverged_step, expected.diverged_step)
        for number in range(4):  # of a run that has diverged, the state before the bad step
            core = expected.core(number)
            size = np.abs(core).max()
            np.testing.assert_allclose(same.core(number), core, rtol=1e-9, atol=1e-12 * size)
            if number < 2:
                np.testing.assert_allclose(near.core(number), core, rtol=1e-3, atol=1e-5 * size)
    assert np.isnan(expected.diverged_step).tolist() == [True, True, False, False]
    assert not np.array_equal(near.core(0), same.core(0))
whole = simulate(Settings(steps=2, snapshots=2, **common), [0])
assert np.isfinite(whole["theta"]).all()
print("equal")
"""


def check(*calls: int, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHECK.replace("CALLS", str(calls))],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "equal", done.stderr


def test_the_interpreted_kernel_equals_the_compiled_core():
    # Philox draws for four steps at a time
    check(7, 0, 6, 5, TRITON_INTERPRET="1")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_kernel_on_the_gpu_equals_the_compiled_core():
    check(1001, 3999, 50_000)


class NoDevice:
    """What Triton asks a driver before it compiles, for compute capability 9.0."""

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self):
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", 90, 32)


class Compiled:
    """Compiles a kernel for the arguments of each call, and launches nothing."""

    def __init__(self, kernel) -> None:
        self._kernel = kernel
        self.found = []

    def __getitem__(self, grid):
        return lambda *args, **how: self.found.append(self._kernel.warmup(*args, grid=grid, **how))


@pytest.fixture
def compiled(tmp_path, monkeypatch):
    """What the engine would launch, compiled for a GPU that is not there."""
    from triton.runtime import driver

    from labelnoise.simulate import triton_kernel

    kernel = Compiled(triton_kernel.advance)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(driver, "_active", NoDevice())
    monkeypatch.setattr(triton_kernel, "advance", kernel)
    monkeypatch.setattr("labelnoise.simulate.triton_engine._device", lambda: "cpu")
    return kernel.found


def resources(cubin: bytes, at: Path) -> dict[str, int]:
    """Registers a thread, stack and local memory in bytes, read from machine code."""
    (at / "kernel.cubin").write_bytes(cubin)
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    said = subprocess.run(
        [tool, "--dump-resource-usage", at / "kernel.cubin"], capture_output=True, text=True
    ).stdout
    return {name: int(value) for name, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", said)}


@pytest.mark.parametrize("algorithm", ["sgd", "sam"])
@pytest.mark.parametrize(
    ("dim", "precision", "more", "registers"),  # of one thread
    [
        (20, "float64", {}, 168),  # more, and a multiprocessor holds fewer than 12 runs
        (20, "float32", {}, 128),
        (20, "float64", {"schedule": {"period": 10}, "noise": "gaussian"}, 255),
        (63, "float64", {}, 255),
    ],
)
def test_a_run_stays_in_registers(algorithm, dim, precision, more, registers, compiled, tmp_path):
    chosen = {"backend": "cuda", "precision": precision} | more
    settings = Settings(algorithm=algorithm, dim=dim, width=100, **chosen)
    TritonEngine([prepare(settings, seed) for seed in (0, 1)]).advance(10)
    (kernel,) = compiled
    assert ".target sm_90" in kernel.asm["ptx"]
    assert (".f64" if precision == "float64" else ".f32") in kernel.asm["ptx"]
    assert kernel.src.signature["limit"] == "fp64"  # a plain number would be float32
    used = resources(kernel.asm["cubin"], tmp_path)
    assert used["STACK"] == used["LOCAL"] == 0, "registers are spilled"
    assert 32 < used["REG"] <= registers


def test_more_steps_and_other_snapshots_need_no_other_kernel(compiled):
    engine = TritonEngine([prepare(Settings(backend="cuda"), 0)])
    for count in (1, 16, 7, 2**16):
        engine.advance(count)
    assert len(compiled) == 4
    assert len({kernel.hash for kernel in compiled}) == 1


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"reduce": False}, "a core of 1000 neurons and 20 inputs: filled up to powers of 2 it"),
        ({"dim": 64}, "a core of 65 neurons and 64 inputs"),
    ],
)
def test_a_core_that_is_too_large_is_refused(chosen, message, monkeypatch):
    monkeypatch.setattr("labelnoise.simulate.triton_engine._device", lambda: "cpu")
    run = prepare(Settings(backend="cuda", **chosen), 0)
    with pytest.raises(ValueError, match=message):
        TritonEngine([run])


def test_runs_that_need_different_kernels_are_refused(monkeypatch):
    monkeypatch.setattr("labelnoise.simulate.triton_engine._device", lambda: "cpu")
    runs = [prepare(Settings(backend="cuda", noise=law), 0) for law in ("sign", "gaussian")]
    with pytest.raises(ValueError, match="runs of one noise at a time"):
        TritonEngine(runs)


def test_without_triton_it_is_said(monkeypatch):
    monkeypatch.setattr("labelnoise.simulate.triton_engine._device", lambda: "cpu")
    monkeypatch.delitem(sys.modules, "labelnoise.simulate.triton_kernel", raising=False)
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(RuntimeError, match="needs Triton, which torch's CUDA wheels bring"):
        TritonEngine([prepare(Settings(backend="cuda"), 0)])


def test_float32_is_for_the_gpu():
    with pytest.raises(ValidationError, match="precision = float32 is for backend cuda"):
        Settings(precision="float32")

"""The GPU engine against the compiled core: on a GPU, or interpreted by Numba's simulator."""

import os
import subprocess
import sys

import pytest
from numba import cuda

CHECK = """
import numpy as np
from labelnoise.simulate.run import simulate_along
from labelnoise.simulate.settings import Settings

common = {"width": 30, "dim": 3, "samples": 12, "steps": STEPS, "snapshots": 5, "test_samples": 5}
cases = (
    {"algorithm": "sgd", "sigma": 3.0},
    {"algorithm": "sgd", "sigma": 3.0, "samples": 2, "noise": "gaussian"},
    {"algorithm": "sam", "sigma": 0.0},
    {"algorithm": "sam", "sigma": 1.0, "width": 7, "reduce": False},
)
for case in cases:
    found = {}
    for backend in ("compiled", "cuda"):
        given = common | case | {"rho": 0.3, "backend": backend}
        points = [Settings(eta=eta, **given) for eta in (0.004, 3.0)]
        found[backend] = simulate_along("eta", points, [0, 5])
    one, other = found["compiled"], found["cuda"]
    diverged = one["diverged_step"].values
    np.testing.assert_array_equal(other["diverged_step"].values, diverged)
    assert np.isfinite(diverged[1]).all() and np.isnan(diverged[0]).all()
    for name in ("theta", "w_norm_mean", "alignment_mean", "a_rms", "displacement_max"):
        np.testing.assert_allclose(
            other[name].values, one[name].values, rtol=1e-9, atol=1e-12, err_msg=name
        )
print("equal")
"""


def check(steps: int, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHECK.replace("STEPS", str(steps))],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "equal", done.stderr


def test_the_interpreted_kernel_equals_the_compiled_core():
    check(30, NUMBA_ENABLE_CUDASIM="1")


@pytest.mark.gpu
@pytest.mark.skipif(not cuda.is_available(), reason="no CUDA device")
def test_the_kernel_on_the_gpu_equals_the_compiled_core():
    check(5000)


def test_a_core_that_is_too_wide_is_refused():
    code = (
        "from labelnoise.simulate.run import simulate\n"
        "from labelnoise.simulate.settings import Settings\n"
        "simulate(Settings(reduce=False, backend='cuda', steps=10, snapshots=2), [0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"NUMBA_ENABLE_CUDASIM": "1"},
        capture_output=True,
        text=True,
    )
    assert "at most 256 neurons, this one has 1000" in done.stderr

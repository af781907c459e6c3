"""Networks with few channels write nothing beyond their tensors, whatever the CPU's vectors.

In the backward pass of some convolutions oneDNN writes past its buffers (docs/upstream). Values
look right, and a crash comes later or not at all: so each process here checks its heap as it goes.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from labelnoise.train.convolution import Convolution
from labelnoise.train.networks import build

from .made import settings

ROOT = Path(__file__).parents[2]
ALLOCATOR = next(
    (found for lib in ("/lib", "/lib64") for found in Path(lib).glob("**/libc_malloc_debug.so.0")),
    None,
)
"""glibc's allocator, which checks the bytes around a block when it is freed."""

SCRIPT = """
from labelnoise.analyze.pruning import prune
from labelnoise.train.run import train
from labelnoise.train.settings import TrainSettings
from tests.train.made import images

few = {"train_images": 20, "test_images": 20, "steps": 3, "snapshots": 2, "eta": 0.1}
source = images((1, 8, 8))
for width in (1, 2, 3, 4, 6, 8):
    given = {"network": "resnet", "width": width, "depth": 10, "batch_size": 10}
    chosen = TrainSettings(**few, **given)
    weights = train(chosen, source, [0])[1]
    prune(chosen, source, weights, [0], channels_kept=[1.0, 0.5], weights_kept=[0.5])
for given in ({"ntk_drift": True}, {"algorithm": "sam"}, {"precision": "bf16"}):
    train(TrainSettings(**few, network="wide_resnet", **given), source, [0])
"""

BROKEN = """
import ctypes
import torch

x = torch.zeros(6)
ctypes.memset(x.data_ptr() + 4 * len(x), 1, 64)
del x
"""


def checked(script: str, isa: str) -> subprocess.CompletedProcess[str]:
    """A run under the allocator that checks; oneDNN uses no better instructions than `isa`."""
    if ALLOCATOR is None:
        pytest.skip("glibc's libc_malloc_debug.so.0 is not on this machine")
    surroundings = os.environ | {
        **{"LD_PRELOAD": str(ALLOCATOR), "MALLOC_CHECK_": "3", "ONEDNN_MAX_CPU_ISA": isa},
        **{"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
    }
    command = [sys.executable, "-c", script]
    return subprocess.run(command, env=surroundings, capture_output=True, text=True, timeout=300)


def test_a_write_past_a_tensor_is_seen():
    assert checked(BROKEN, "DEFAULT").returncode == -signal.SIGABRT


@pytest.mark.parametrize("isa", ["AVX2", "DEFAULT"])
def test_narrow_networks_keep_to_their_memory(isa):
    run = checked(SCRIPT, isa)
    assert run.returncode == 0, run.stderr[-2000:]


@pytest.mark.parametrize("kind", ["resnet", "wide_resnet"])
def test_no_convolution_of_one_pixel_has_a_stride(kind, monkeypatch):
    seen, convolution = [], functional.conv2d

    def watched(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
        seen.append((weight.shape[-1], *torch.tensor(stride).flatten().tolist()))
        return convolution(x, weight, bias, stride, padding, dilation, groups)

    monkeypatch.setattr(functional, "conv2d", watched)
    monkeypatch.setattr(
        nn.Conv2d,
        "_conv_forward",
        lambda layer, x, weight, bias: watched(x, weight, bias, layer.stride, layer.padding),
    )
    network = build(settings(network=kind, width=2), (1, 8, 8), 10, 0)
    network(torch.zeros(2, 1, 8, 8))
    sizes = [size for size, *_ in seen]
    assert 1 in sizes and 3 in sizes
    assert {stride for size, *strides in seen if size == 1 for stride in strides} == {1}


@pytest.mark.parametrize("rows", [7, 8])
@pytest.mark.parametrize(("size", "stride"), [(1, 1), (1, 2), (1, 3), (3, 1), (3, 2)])
def test_it_is_the_convolution_with_that_stride(size, stride, rows):
    torch.manual_seed(0)
    layer = Convolution(3, 5, size, stride).double()
    x = torch.randn(4, 3, rows, rows, dtype=torch.float64, requires_grad=True)
    found = layer(x)
    wanted = functional.conv2d(x, layer.weight, stride=stride, padding=size // 2)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    towards = torch.randn_like(wanted)
    for one, other in zip(
        torch.autograd.grad(found, (x, layer.weight), towards),
        torch.autograd.grad(wanted, (x, layer.weight), towards),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)

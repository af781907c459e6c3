"""A training and its linearisation on a GPU are those on the CPU, to a tolerance."""

import numpy as np
import pytest
import torch

from labelnoise.linearize.images import linearize
from labelnoise.train.observe import PER_SNAPSHOT
from labelnoise.train.run import train

from .made import images, settings

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

NETWORKS = {
    "mlp": {"eta": 0.1},
    "wide_resnet": {"network": "wide_resnet", "width": 1, "eta": 0.02},
    "resnet": {"network": "resnet", "width": 4, "eta": 0.02, "batch_size": 5, "momentum": 0.9},
    "sam": {"algorithm": "sam", "rho": 0.05, "eta": 0.1},
}
TOLERANCE = {"float64": 1e-8, "float32": 1e-3}


def assert_near(one, other, tolerance):
    for name in set(PER_SNAPSHOT) - {"train_accuracy", "test_accuracy"}:  # these jump by an image
        scale = float(abs(one[name]).max())
        near = {"rtol": 0, "atol": tolerance * max(scale, 1e-3), "err_msg": name}
        np.testing.assert_allclose(other[name], one[name], **near)


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("network", NETWORKS)
def test_a_training(network, precision):
    chosen = settings(**NETWORKS[network], tau=0.3, precision=precision)
    on = [train(chosen, images(), [0, 3], device=device)[0] for device in ("cpu", "cuda")]
    assert_near(*on, TOLERANCE[precision])


@pytest.mark.parametrize("network", ["mlp", "wide_resnet"])
def test_a_linearisation(network):
    chosen = settings(**NETWORKS[network], tau=0.3)
    on = [linearize(chosen, images(), [0, 3], device=device) for device in ("cpu", "cuda")]
    assert_near(*on, TOLERANCE["float64"])
    np.testing.assert_allclose(on[1]["eigenvalue"], on[0]["eigenvalue"], atol=1e-8)

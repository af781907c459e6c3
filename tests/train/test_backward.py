"""The MLP's gradient as it is written out, against autograd's."""

import pytest
import torch

from labelnoise.train.backward import mlp_gradient
from labelnoise.train.networks import MLP
from labelnoise.train.span import SpanMLP
from labelnoise.train.task import prepare

from .made import images, settings


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("parametrization", ["standard", "ntk"])
@pytest.mark.parametrize(("rotate", "kind"), [(False, MLP), (True, SpanMLP)])
def test_it_is_autograds(loss, parametrization, rotate, kind):
    given = {"loss": loss, "parametrization": parametrization, "rotate": rotate}
    task = prepare(settings(precision="float64", **given), images(), 1, "cpu")
    assert isinstance(task.network, kind)
    labels = (task.y_train + 1) % len(task.classes)
    wanted = torch.autograd.grad(
        task.loss(task.network(task.x_train), labels), list(task.network.parameters())
    )
    found = mlp_gradient(task.network, task.x_train, lambda out: task.slope(out, labels))
    torch.testing.assert_close(found, list(wanted), rtol=1e-11, atol=1e-14)
    assert all(float(part.abs().max()) > 1e-4 for part in found)

"""A network in the span of its training images is the plain network, to rounding."""

import numpy as np
import pytest
import torch
import xarray as xr

from labelnoise.train.run import train
from labelnoise.train.settings import TrainSettings
from labelnoise.train.span import SpanMLP, into_span
from labelnoise.train.task import prepare

from .made import curves, images, settings

RULES = {
    "gd": {},
    "noise": {"tau": 0.5},
    "minibatch": {"batch_size": 5, "tau": 0.3},
    "momentum": {"momentum": 0.9, "eta": 0.05},
    "sam": {"algorithm": "sam", "rho": 0.3},
    "all": {"algorithm": "sam", "rho": 0.1, "batch_size": 4, "tau": 0.5, "momentum": 0.5},
    "cross_entropy": {"loss": "cross_entropy"},
    "ntk": {"parametrization": "ntk", "algorithm": "sam", "rho": 0.2, "eta": 0.1},
    "raw": {"normalisation": "none", "eta": 0.05},
    "drift": {"ntk_drift": True},
    "one_image": {"train_images": 1},
}


def assert_close(one, other, atol=1e-11):
    """All measures and all final weights."""
    for name, values in one[0].items():
        # w_norm is recorded in float32
        within = 2e-7 if name == "w_norm" else atol
        np.testing.assert_allclose(values, other[0][name], rtol=within, atol=within, err_msg=name)
    assert one[1].keys() == other[1].keys()
    for name, value in one[1].items():
        torch.testing.assert_close(value, other[1][name], rtol=atol, atol=atol)


@pytest.mark.parametrize("rule", RULES)
def test_it_is_the_plain_network(rule):
    chosen = settings(**RULES[rule])
    rotated, plain = (
        curves(chosen.model_copy(update={"rotate": on}), seeds=[0, 3]) for on in (True, False)
    )
    assert rotated[1]["seed=3/first.weight"].shape == (8, 300)
    assert float(abs(plain[0]["train_loss"].diff("step")).max()) > 1e-2  # it did learn
    assert_close(rotated, plain)


@pytest.mark.parametrize("repeated", [2, 20, 30])
def test_images_that_are_not_independent_have_a_span_too(repeated):
    source = images(repeated=repeated)
    if repeated == 30:  # all alike but for one pixel, so that they can be normalised
        source["train_images"].values[:, 0, 0, 0] = np.arange(30)
    chosen = settings(algorithm="sam", rho=0.1, tau=0.2)
    rotated, plain = (
        curves(chosen.model_copy(update={"rotate": on}), source) for on in (True, False)
    )
    assert_close(rotated, plain, 1e-10)


def test_float32_is_as_near_as_its_rounding():
    chosen = settings(precision="float32")
    rotated, plain = (curves(chosen.model_copy(update={"rotate": on})) for on in (True, False))
    assert_close(rotated, plain, 2e-5)


def test_the_basis_is_orthonormal_and_what_is_left_is_outside():
    task = prepare(settings(rotate=False), images(), 0, "cpu")
    network, span = into_span(task.network, task.x_train)
    flat = task.x_train.flatten(1)
    torch.testing.assert_close(span.basis.T @ span.basis, torch.eye(12, dtype=torch.float64))
    torch.testing.assert_close(span.basis @ span.basis.T @ flat.T, flat.T)
    assert (span.rest @ flat.T).abs().max() < 1e-12
    weight = task.network.first.weight
    torch.testing.assert_close(span.weight(network.first.weight), weight)
    for x in (task.x_train, task.x_test, 100 * torch.randn(3, 3, 10, 10, dtype=torch.float64)):
        torch.testing.assert_close(network(span.inputs(x)), task.network(x))


@pytest.mark.parametrize(
    ("given", "rotated"),
    [
        ({}, True),
        ({"rotate": False}, False),
        ({"weight_decay": 0.1}, False),
        ({"network": "wide_resnet", "width": 1}, False),
    ],
)
def test_an_mlp_without_weight_decay_is_rotated_and_nothing_else(given, rotated):
    task = prepare(settings(**given), images(), 0, "cpu")
    assert isinstance(task.network, SpanMLP) == rotated == (task.span is not None)


def test_as_many_images_as_pixels_are_not_rotated():
    chosen = settings(train_images=30)
    assert prepare(chosen, images((1, 5, 6)), 0, "cpu").span is None
    assert prepare(chosen, images((1, 5, 7)), 0, "cpu").span is not None


def test_with_weight_decay_it_decays_on_all_pixels():
    chosen = settings(weight_decay=0.5, eta=0.1)
    _, weights = curves(chosen)
    start = prepare(chosen, images(), 0, "cpu")
    flat = start.x_train.flatten(1).T
    outside = torch.eye(300, dtype=torch.float64) - flat @ torch.linalg.pinv(flat)
    left = weights["seed=0/first.weight"] @ outside
    expected = 0.95**20 * start.network.first.weight.detach() @ outside
    torch.testing.assert_close(left, expected, rtol=1e-9, atol=1e-12)


def test_the_authors_setting_on_real_images():
    from labelnoise.train.images import digits

    chosen = TrainSettings(
        train_images=40, test_images=10, steps=30, snapshots=4, eta=0.1, precision="float64"
    )
    rotated, plain = (
        train(chosen.model_copy(update={"rotate": on}), digits(), [0]) for on in (True, False)
    )
    assert isinstance(rotated[0], xr.Dataset)
    assert_close(rotated, plain)

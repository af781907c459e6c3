"""The networks: how they are drawn and built, and a user's own."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.stats import kstest, norm
from torch import nn

from labelnoise.ntk.modules import trained
from labelnoise.train.networks import MLP, WideResNet, build, first_layer_name
from labelnoise.train.task import prepare

from .made import Bare, Tied, images, settings

HERE = f"{__package__}.made"


@pytest.fixture(autouse=True)
def _allowed(monkeypatch):
    monkeypatch.setenv("LABELNOISE_ALLOW_MODULES", f"os,{HERE.partition('.')[0]}")


def mlp(**given) -> MLP:
    network = build(settings(width=200, **given), (3, 10, 10), 40, 0)
    assert isinstance(network, MLP)
    return network


def wide_resnet(seed=0, **given) -> WideResNet:
    network = build(settings(network="wide_resnet", **{"width": 2} | given), (3, 12, 12), 10, seed)
    assert isinstance(network, WideResNet)
    return network


@pytest.mark.parametrize(("parametrization", "std"), [("standard", 300**-0.5), ("ntk", 1.0)])
def test_the_mlp_is_drawn_as_the_authors_draw_theirs(parametrization, std):
    network = mlp(parametrization=parametrization)
    assert {name: tuple(p.shape) for name, p in network.named_parameters()} == {
        **{"first.weight": (200, 300), "first.bias": (200,)},
        **{"last.weight": (40, 200), "last.bias": (40,)},
    }
    last = 200**-0.5 if parametrization == "standard" else 1.0
    for name, scale in (("first.weight", std), ("last.weight", last), ("first.bias", 1.0)):
        drawn = network.get_parameter(name).detach().double().flatten()
        assert kstest(drawn / scale, norm.cdf).pvalue > 1e-3, name
    parts = [p.detach().flatten()[:40].double().numpy() for p in network.parameters()]
    together = np.corrcoef(parts) - np.eye(4)
    assert np.abs(together).max() < 0.6  # each parameter has numbers of its own
    assert len({float(p.detach().flatten()[0]) for p in network.parameters()}) == 4


def test_the_mlp_is_erf_between_two_layers():
    network, x = mlp().double(), torch.randn(5, 3, 10, 10, dtype=torch.float64)
    p = dict(network.named_parameters())
    hidden = torch.special.erf(x.reshape(5, 300) @ p["first.weight"].T + p["first.bias"])
    wanted = hidden @ p["last.weight"].T + p["last.bias"]
    torch.testing.assert_close(network(x), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("network", ["mlp", "wide_resnet"])
def test_the_same_seed_has_the_same_weights_and_another_others(network):
    one, same, other = (build(settings(network=network), (1, 8, 8), 10, seed) for seed in (3, 3, 4))
    for name, value in one.state_dict().items():
        assert torch.equal(value, same.state_dict()[name])
        assert not torch.equal(value, other.state_dict()[name])


def closed_form(depth: int, factor: int, channels: int, classes: int) -> int:
    """Weights of a WideResNet, from its published table."""
    blocks, count = (depth - 4) // 6, 9 * channels * 16
    before = 16
    for width in (16 * factor, 32 * factor, 64 * factor):
        count += 9 * before * width + 9 * width**2 + 18 * width**2 * (blocks - 1)
        count += before * width if before != width else 0  # the shortcut
        before = width
    return count + before * classes + classes


@pytest.mark.parametrize(("depth", "factor"), [(10, 1), (10, 2), (16, 4), (28, 10)])
def test_the_wide_resnet_has_the_published_structure(depth, factor):
    with torch.device("meta"):
        blocks = settings(network="wide_resnet", depth=depth).blocks
        network = WideResNet(3, blocks, factor, 10, ntk=False)
    assert sum(p.numel() for p in network.parameters()) == closed_form(depth, factor, 3, 10)
    if (depth, factor) == (28, 10):
        # 36.5 million, of which batch norms (left out) have 17,952
        assert closed_form(28, 10, 3, 10) + 17_952 == 36_479_194
    convolutions = [p for p in network.parameters() if p.ndim == 4 and p.shape[-1] == 3]
    assert len(convolutions) + 1 == depth - 2  # depth counts the dense layer and two shortcuts
    widths = [block.two.weight.shape[0] for block in network.blocks]
    each = (depth - 4) // 6
    assert widths == [w * factor for w in (16, 32, 64) for _ in range(each)]


def test_stride_halves_the_image_at_the_second_and_third_group():
    network, sizes = wide_resnet(depth=16), []
    for block in network.blocks:
        block.register_forward_hook(lambda *seen: sizes.append(tuple(seen[2].shape[1:])))
    network(torch.randn(2, 3, 12, 12))
    assert sizes == [(32, 12, 12)] * 2 + [(64, 6, 6)] * 2 + [(128, 3, 3)] * 2


def test_an_output_is_of_its_own_image():
    network, x = wide_resnet().double(), torch.randn(6, 3, 12, 12, dtype=torch.float64)
    together = network.train()(x)
    for number in range(6):
        torch.testing.assert_close(together[number : number + 1], network(x[number : number + 1]))
    other = x.clone()
    other[3:] *= 10
    torch.testing.assert_close(network(other)[:3], together[:3])


def test_the_variance_is_about_kept_through_the_depth():
    ratios = []
    for seed in range(6):
        network, seen = wide_resnet(seed, width=4, depth=22), []
        for layer in [network.first, *network.blocks]:
            layer.register_forward_hook(lambda *of, to=seen: to.append(float(of[2].var())))
        with torch.no_grad():
            network(torch.randn(2, 3, 64, 64))
        assert len(seen) == 1 + 9
        ratios.append(seen[-1] / seen[0])
    # of 9 · size² products of a convolution, (3 · size − 2)² are not with zeros beyond the edge
    left = 1.0
    for size, stride in ((64, 1), (32, 2), (16, 2)):
        first, other = (1 - 1 / (3 * size)) ** 2, (1 - 2 / (3 * size)) ** 2
        for number in range(3):
            one = first if stride == 2 and number == 0 else other
            left *= (1 + one * other) / 2
    assert 0.6 < left < 0.75
    assert np.mean(ratios) == pytest.approx(left, rel=0.3)


@pytest.mark.parametrize("kind", ["mlp", "wide_resnet"])
def test_the_ntk_parametrisation_is_the_same_function_at_the_start_with_other_gradients(kind):
    given = {"network": kind, "width": 3, "precision": "float64"}
    # float64 from the draw on: rounding of the two is not the same
    torch.set_default_dtype(torch.float64)
    try:
        standard, ntk = (
            build(settings(**given, parametrization=how), (3, 8, 8), 10, 0)
            for how in ("standard", "ntk")
        )
    finally:
        torch.set_default_dtype(torch.float32)
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(standard(x), ntk(x), rtol=1e-12, atol=1e-12)
    weights = (standard.get_parameter, ntk.get_parameter)
    gradients = []
    for network in (standard, ntk):
        found = torch.autograd.grad(network(x).sum(), list(network.parameters()))
        gradients.append(dict(zip(dict(network.named_parameters()), found, strict=True)))
    for name, gradient in gradients[0].items():
        scale = torch.ones(())
        if gradient.ndim > 1:
            gain = 1.0 if kind == "mlp" or name.split(".")[0] in ("first", "last") else 2.0
            scale = torch.tensor((gain / gradient[0].numel()) ** 0.5)
        torch.testing.assert_close(weights[0](name), weights[1](name) * scale)
        torch.testing.assert_close(gradients[1][name], gradient * scale)


OWN = {"width": None, "network": f"{HERE}:Dropping"}


def test_a_users_own_network_is_made_with_its_options_from_the_seed():
    chosen = settings(**OWN, network_options={"channels": 5})
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    one, same, other = (build(chosen, (3, 10, 10), 4, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(1), expected)  # torch's own generator goes on as it was
    assert type(one).__name__ == "Dropping"
    assert one.first.weight.shape == (5, 3, 3, 3) and one.last.weight.shape == (4, 5)
    assert torch.equal(one.first.weight, same.first.weight)
    assert not torch.equal(one.first.weight, other.first.weight)


@pytest.mark.parametrize(
    ("network", "parts"),
    [
        ("secret.module:Net", ["secret.module:Net", "LABELNOISE_ALLOW_MODULES=secret"]),
        ("os.nothing:Net", ["os.nothing:Net", "no module os.nothing on PYTHONPATH"]),
        ("mpl", ["'mpl' is no network", "mlp, wide_resnet", "package.module:Class"]),
        ("a b:C", ["'a b:C' is no network"]),
        (f"{HERE}:", ["is no network"]),
    ],
)
def test_a_network_that_is_none_is_refused(network, parts):
    with pytest.raises(ValidationError) as error:
        settings(width=None, network=network)
    assert [part for part in parts if part not in str(error.value)] == []


def test_allowed_packages_may_be_listed_with_spaces(monkeypatch):
    monkeypatch.setenv("LABELNOISE_ALLOW_MODULES", f"another, {HERE.partition('.')[0]} ")
    assert settings(**OWN).own_network


def test_nothing_is_imported_that_is_not_allowed(monkeypatch):
    monkeypatch.setenv("LABELNOISE_ALLOW_MODULES", "another,one")
    with pytest.raises(ValidationError, match="if you trust it, set"):
        settings(**OWN)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Nothing", "Nothing cannot be imported: .*Nothing"),
        ("not_a_network", "not_a_network is not a class of torch.nn.Module"),
        ("np", "np is not a class"),
        ("settings", "settings is not a class"),
    ],
)
def test_what_is_no_module_class_is_named(name, message):
    with pytest.raises(ValueError, match=message):
        build(settings(width=None, network=f"{HERE}:{name}"), (3, 10, 10), 4, 0)


def test_the_first_layer_is_the_first_trained_weight_with_rows():
    assert first_layer_name(mlp()) == "first.weight"
    assert first_layer_name(wide_resnet()) == "first.weight"
    tied = Tied((1, 4, 4), 3)
    assert first_layer_name(tied) == "one.weight"
    assert set(trained(tied)) == {"one.weight", "one.bias", "two.bias", "last.weight", "last.bias"}
    assert first_layer_name(nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3))) == "1.weight"
    with pytest.raises(ValueError, match="Bare has no layer"):
        first_layer_name(Bare((1, 4, 4), 3))
    with pytest.raises(ValueError, match="Bare has no layer"):
        prepare(settings(width=None, network=f"{HERE}:Bare"), images(), 0, "cpu")

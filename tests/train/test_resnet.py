"""The residual network: its published size, its layout, its initial law, its random draws."""

import json

import pytest
import torch
from torch import nn
from torch.nn import functional

from labelnoise.train.resnet import ResNet, ResNetSpec, restore

UNEVEN = ResNetSpec(2, 7, (3, 5, 4), ((2, 6), (1,), (5, 3)))


def of_seed(spec: ResNetSpec, seed: int = 0) -> ResNet:
    return ResNet(spec, torch.Generator().manual_seed(seed))


def test_resnet18_has_its_published_number_of_parameters():
    """11,173,962: ResNet-18 for CIFAR-10 (10 classes, 3×3 stem)."""
    network = ResNet(ResNetSpec.standard(3, 10))
    assert sum(p.numel() for p in network.parameters()) == 11_173_962


def test_it_computes_what_the_formulas_say():
    """Against the network written out with plain functions, in both modes."""
    network = of_seed(UNEVEN).double()
    generator = torch.Generator().manual_seed(1)
    for name, tensor in network.state_dict().items():
        if "norm" in name and tensor.is_floating_point():
            tensor.uniform_(0.5, 2, generator=generator)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    x = torch.randn(3, 2, 9, 9, generator=generator, dtype=torch.float64)

    def unit(name, x, stride, training):
        kernel = state[f"{name}.conv.weight"]
        x = functional.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
        norm = [
            state[f"{name}.norm.{k}"] for k in ("running_mean", "running_var", "weight", "bias")
        ]
        mean, variance, weight, bias = (v[:, None, None] for v in norm)
        if training:
            mean = x.mean((0, 2, 3), keepdim=True)
            variance = x.var((0, 2, 3), keepdim=True, correction=0)
        return (x - mean) / (variance + 1e-5).sqrt() * weight + bias

    # evaluation first: training moves the running statistics
    for training in (False, True):
        out = unit("stem", x, 1, training).relu()
        for stage, blocks in enumerate(UNEVEN.inner):
            for block in range(len(blocks)):
                name, new = f"stages.{stage}.{block}", stage > 0 and block == 0
                stride = 2 if new else 1
                shortcut = unit(f"{name}.projection", out, stride, training) if new else out
                out = unit(f"{name}.first", out, stride, training).relu()
                out = (unit(f"{name}.second", out, 1, training) + shortcut).relu()
        logits = out.mean((2, 3)) @ state["head.weight"].T + state["head.bias"]
        torch.testing.assert_close(network.train(training)(x), logits)
    assert logits.shape == (3, 7)


def test_it_takes_grey_digits_of_8_by_8():
    network = of_seed(ResNetSpec.standard(1, 10, width=4, blocks=(1, 1, 1)))
    assert network(torch.zeros(5, 1, 8, 8)).shape == (5, 10)


def test_its_initial_law():
    """He normal convolutions, uniform head, batch norms that do nothing."""
    network = of_seed(ResNetSpec.standard(3, 10))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            scaled = module.weight * (module.out_channels * module.kernel_size[0] ** 2 / 2) ** 0.5
            n = scaled.numel()
            # five standard errors; the fourth moment tells a normal from a uniform law
            assert abs(scaled.mean()) < 5 / n**0.5
            assert abs(scaled.square().mean() - 1) < 5 * (2 / n) ** 0.5
            assert abs(scaled.pow(4).mean() - 3) < 5 * (96 / n) ** 0.5
        elif isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all() and (module.bias == 0).all()
            assert (module.running_mean == 0).all() and (module.running_var == 1).all()
            assert module.num_batches_tracked == 0
    limit = 512**-0.5
    for parameter in network.head.parameters():
        assert 0.8 * limit < parameter.abs().max() <= limit
    assert abs(network.head.weight.square().mean() / limit**2 * 3 - 1) < 0.1


def test_the_generator_decides_every_draw():
    before = torch.get_rng_state()
    one, same, other = (of_seed(UNEVEN, seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    for name, value in one.state_dict().items():
        assert torch.equal(value, same.state_dict()[name])
    assert not torch.equal(one.head.weight, other.head.weight)
    # without one, torch's own, and the draws are the same
    torch.manual_seed(3)
    seeded = ResNet(UNEVEN)
    for name, value in one.state_dict().items():
        assert torch.equal(value, seeded.state_dict()[name])


def test_a_network_is_its_spec_and_its_state():
    network = of_seed(UNEVEN).double()
    network(torch.randn(4, 2, 8, 8, dtype=torch.float64))  # moves the statistics
    text = network.spec.to_json()
    assert isinstance(json.loads(text), dict)
    assert ResNetSpec.from_json(text) == UNEVEN
    before = torch.get_rng_state()
    again = restore(ResNetSpec.from_json(text), network.state_dict())
    assert torch.equal(torch.get_rng_state(), before)
    x = torch.randn(2, 2, 8, 8, dtype=torch.float64)
    assert torch.equal(again.eval()(x), network.eval()(x))
    with torch.no_grad():
        again.head.weight.zero_()
    assert network.head.weight.any(), "the state was not copied"
    with pytest.raises(RuntimeError, match="size mismatch"):
        restore(ResNetSpec(2, 7, (3, 5, 3), UNEVEN.inner), network.state_dict())


@pytest.mark.parametrize(
    ("streams", "inner", "message"),
    [
        ((3, 5), ((2,),), "every stage"),
        ((3, 5), ((2,), ()), "every stage"),
        ((3, 0), ((2,), (1,)), "1 or more"),
        ((3, 5), ((2,), (-1,)), "1 or more"),
    ],
)
def test_a_spec_that_is_no_network_is_refused(streams, inner, message):
    with pytest.raises(ValueError, match=message):
        ResNetSpec(3, 10, streams, inner)

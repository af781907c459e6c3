"""Sparsity measures against closed forms and plain NumPy."""

import numpy as np
import pytest
import torch
from torch import nn

from labelnoise.analyze.sparsity import (
    count,
    effective_rank,
    magnitude_prune,
    participation_ratio,
    weights,
)
from labelnoise.train.resnet import ResNet, ResNetSpec

SPEC = ResNetSpec(1, 5, (4, 6), ((3,), (5, 2)))


@pytest.fixture
def network() -> ResNet:
    return ResNet(SPEC, torch.Generator().manual_seed(0))


def test_resnet18_counts():
    """The published 11,173,962 parameters and 0.56 G multiply-adds of 32×32 images."""
    size = count(ResNet(ResNetSpec.standard(3, 10)), (3, 32, 32))
    assert size.parameters == 11_173_962
    # image side² · taps · in · out: stem, four stages of one wide and three equal layers, head
    first = 32**2 * 9 * (3 * 64 + 4 * 64 * 64)
    rest = sum(
        side**2 * (9 * (w // 2 * w + 3 * w * w) + w // 2 * w)
        for side, w in ((16, 128), (8, 256), (4, 512))
    )
    assert size.multiply_adds == first + rest + 512 * 10 == 555_422_720


def test_counting_changes_nothing(network):
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert count(network.double(), (1, 8, 8)) == count(network.eval(), (1, 8, 8))
    network.train()
    count(network, (1, 8, 8))
    assert network.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name].to(value.dtype)), name


def test_the_largest_weights_of_all_layers_together_are_kept(network):
    """Against one sort in NumPy, over layers of very different scales."""
    with torch.no_grad():
        network.head.weight *= 10
    keep = 0.3
    pruned, share = magnitude_prune(network, keep)
    flat = np.concatenate([w.detach().numpy().ravel() for w in weights(network).values()])
    kept = round(keep * flat.size)
    expected = np.zeros_like(flat)
    largest = np.argsort(-np.abs(flat))[:kept]
    expected[largest] = flat[largest]
    found = np.concatenate([w.detach().numpy().ravel() for w in weights(pruned).values()])
    np.testing.assert_array_equal(found, expected)
    parameters = sum(p.numel() for p in network.parameters())
    np.testing.assert_allclose(share, 1 - (flat.size - kept) / parameters, rtol=1e-12)
    assert flat.all(), "the network given was pruned"
    for name, value in pruned.state_dict().items():
        if "norm" in name or "bias" in name:
            assert torch.equal(value, network.state_dict()[name]), name


def test_pruning_nothing_and_everything(network):
    whole, share = magnitude_prune(network, 1.0)
    assert share == 1
    for name, value in whole.state_dict().items():
        assert torch.equal(value, network.state_dict()[name])
    nothing, share = magnitude_prune(network, 0.0)
    assert not any(w.any() for w in weights(nothing).values())
    left = sum(p.numel() for n, p in network.named_parameters() if "norm" in n or "bias" in n)
    np.testing.assert_allclose(share, left / sum(p.numel() for p in network.parameters()))


def test_weights_that_tie_are_kept_and_counted():
    layer = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        layer.weight[:] = torch.tensor([[1.0, -1.0, 1.0, 0.5]])
    pruned, share = magnitude_prune(layer, 0.5)
    assert pruned.weight.tolist() == [[1, -1, 1, 0]]
    assert share == 0.75


@pytest.mark.parametrize("keep", [-0.1, 1.5, float("nan")])
def test_a_share_out_of_range_is_refused(network, keep):
    with pytest.raises(ValueError, match="keep is"):
        magnitude_prune(network, keep)


def test_a_diverged_network_is_refused(network):
    with torch.no_grad():
        network.stem.conv.weight[0] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        magnitude_prune(network, 0.5)


def test_effective_rank_of_known_singular_values():
    generator = torch.Generator().manual_seed(0)
    left, _ = torch.linalg.qr(torch.randn(4, 4, generator=generator))
    right, _ = torch.linalg.qr(torch.randn(18, 4, generator=generator))
    for values, expected in [
        ([2.0, 2.0, 2.0, 2.0], 4),
        ([3.0, 3.0, 0.0, 0.0], 2),
        ([5.0, 0.0, 0.0, 0.0], 1),
        # entropy of (½, ¼, ¼): 3/2 ln 2
        ([2.0, 1.0, 1.0, 0.0], 2**1.5),
    ]:
        weight = ((left * torch.tensor(values)) @ right.T).reshape(4, 2, 3, 3)
        np.testing.assert_allclose(effective_rank(weight), expected, rtol=1e-4)
    assert effective_rank(torch.zeros(4, 3)) == 0


def test_participation_ratio_of_known_norms():
    direction = torch.randn(5, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    direction /= direction.flatten(1).norm(dim=1)[:, None, None, None]
    for norms, expected in [
        ([2.0, 2.0, 2.0, 2.0, 2.0], 1),
        ([0.0, 0.0, 3.0, 0.0, 0.0], 1 / 5),
        ([1.0, 2.0, 0.0, 0.0, 0.0], (1 + 4) ** 2 / (5 * (1 + 16))),
    ]:
        weight = direction * torch.tensor(norms)[:, None, None, None]
        np.testing.assert_allclose(participation_ratio(weight), expected, rtol=1e-6)
    assert participation_ratio(torch.zeros(4, 3)) == 0

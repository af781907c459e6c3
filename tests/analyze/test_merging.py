"""Merging channels: exact where they are identical, and its distances those of the weights."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from labelnoise.analyze.merging import Merging, merge, merge_path
from labelnoise.analyze.symmetry import groups
from labelnoise.train.resnet import ResNet, ResNetSpec, restore

SPEC = ResNetSpec(2, 5, (6, 8, 7), ((5, 9), (7,), (4, 6)))
NAMES = [group.name for group in groups(SPEC)]
BATCH_NORM = ("weight", "bias", "running_mean", "running_var")


def trained(spec: ResNetSpec = SPEC, seed: int = 0) -> ResNet:
    """A network in float64 with weights and statistics of no particular kind."""
    generator = torch.Generator().manual_seed(seed)
    network = ResNet(spec, generator).double()
    for name, tensor in network.state_dict().items():
        if "norm" in name and tensor.is_floating_point():
            tensor.uniform_(0.2, 1.5, generator=generator)
            if not name.endswith("running_var"):
                tensor -= 0.6
    return network.eval()


def images(count: int = 6) -> Tensor:
    shape = count, SPEC.channels_in, 9, 9
    return torch.randn(shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


def ends(network: ResNet, name: str) -> tuple[list[str], list[str]]:
    """Names of a group's tensors by the side of it; written out, not asked of `groups`."""
    stages = len(network.spec.inner)
    _, stage, *block = name.split(".")
    if block:
        written, read = [f"{name}.first"], [f"{name}.second"]
    else:
        written = ["stem" if stage == "0" else f"{name}.0.projection"]
        read = []
        for number in range(len(network.spec.inner[int(stage)])):
            written.append(f"{name}.{number}.second")
            if stage == "0" or number > 0:
                read.append(f"{name}.{number}.first")
        after = f"stages.{int(stage) + 1}.0"
        last = int(stage) + 1 == stages
        read += ["head"] if last else [f"{after}.first", f"{after}.projection"]
    rows = [f"{layer}.conv.weight" for layer in written]
    rows += [f"{layer}.norm.{kind}" for layer in written for kind in BATCH_NORM]
    columns = [f"{layer}.weight" if layer == "head" else f"{layer}.conv.weight" for layer in read]
    return rows, columns


def width(spec: ResNetSpec, name: str) -> int:
    _, stage, *block = name.split(".")
    return spec.inner[int(stage)][int(block[0])] if block else spec.streams[int(stage)]


def widened(spec: ResNetSpec, name: str, by: int) -> ResNetSpec:
    _, stage, *block = name.split(".")
    streams, inner = list(spec.streams), [list(blocks) for blocks in spec.inner]
    if block:
        inner[int(stage)][int(block[0])] += by
    else:
        streams[int(stage)] += by
    return ResNetSpec(spec.channels_in, spec.classes, tuple(streams), tuple(map(tuple, inner)))


def copied(network: ResNet, name: str, channel: int, parts: list[float]) -> ResNet:
    """The same function with a channel made several, each read with a part of its weights."""
    rows, columns = ends(network, name)
    state = network.state_dict()
    for key in rows:
        extra = state[key][[channel] * (len(parts) - 1)]
        state[key] = torch.cat([state[key], extra])
    for key in columns:
        whole = state[key][:, [channel]]
        state[key] = torch.cat([state[key], *(part * whole for part in parts[1:])], dim=1)
        state[key][:, channel] *= parts[0]
    return restore(widened(network.spec, name, len(parts) - 1), state).eval()


def naive_distances(network: ResNet, name: str) -> np.ndarray:
    """Squared distances of a group, one pair after the other, from a network's own tensors."""
    rows, columns = ends(network, name)
    state = network.state_dict()
    n = width(network.spec, name)
    vectors: list[list[Tensor]] = [[] for _ in range(n)]

    def scale_and_shift(layer: str) -> tuple[Tensor, Tensor]:
        gamma, beta, mean, variance = (state[f"{layer}.norm.{kind}"] for kind in BATCH_NORM)
        scale = gamma / (variance + 1e-5).sqrt()
        return scale, beta - mean * scale

    for key in rows:
        if key.endswith(".conv.weight"):
            scale, shift = scale_and_shift(key.removesuffix(".conv.weight"))
            for channel in range(n):
                vectors[channel] += [scale[channel] * state[key][channel].flatten()]
                vectors[channel] += [shift[[channel]]]
    for key in columns:
        weight = state[key]
        if key != "head.weight":
            scale, _ = scale_and_shift(key.removesuffix(".conv.weight"))
            weight = scale[:, None, None, None] * weight
        for channel in range(n):
            vectors[channel].append(weight[:, channel].flatten())
    flat = [torch.cat(parts) for parts in vectors]
    return np.array([[float((a - b).square().sum()) for b in flat] for a in flat])


def in_network_order(merging: Merging, name: str) -> np.ndarray:
    order = merging.channels[name].order()
    return merging.channels[name].distances()[np.ix_(order, order)]


def test_the_groups_are_all_axes_of_all_weights_once():
    """Every output and input channel is in one group, but for the image's and the classes'."""
    network = trained()
    written = [layer for group in groups(SPEC) for layer in group.written]
    read = [layer for group in groups(SPEC) for layer in group.read]
    layers = [
        name.removesuffix(".conv")
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    assert sorted(written) == sorted(set(layers) - {"head"})
    assert sorted(read) == sorted(set(layers) - {"stem"})


@pytest.mark.parametrize("name", NAMES)
def test_permuting_a_group_changes_nothing(name):
    """The pruned function is the same whatever order a group's channels have."""
    network = trained()
    order = torch.randperm(width(SPEC, name), generator=torch.Generator().manual_seed(3))
    rows, columns = ends(network, name)
    state = network.state_dict()
    for key in rows:
        state[key] = state[key][order]
    for key in columns:
        state[key] = state[key][:, order]
    permuted = restore(SPEC, state).eval()
    torch.testing.assert_close(permuted(images()), network(images()), rtol=1e-11, atol=1e-11)
    one, other = merge(network, keep=0.6), merge(permuted, keep=0.6)
    assert one.spec == other.spec
    torch.testing.assert_close(one(images()), other(images()), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("parts", [[0.5, 0.5], [0.25, 0.75], [0.2, 0.2, 0.3, 0.3]])
def test_identical_channels_merge_without_changing_the_function(name, parts):
    """Copies of a channel, read with parts of its weights, become that channel again."""
    network = trained()
    # the channel's own weights are scaled down where it is read, so that its copies, which differ
    # there, are the closest of the group
    for key in ends(network, name)[1]:
        network.state_dict()[key][:, 1] *= 0.01
    expected = network(images())
    split = copied(network, name, 1, parts)
    torch.testing.assert_close(split(images()), expected, rtol=1e-11, atol=1e-11)
    merging = Merging(split)
    for _ in parts[1:]:
        merging.merge_closest(name)
    assert [len(m) for m in merging.channels[name].members if 1 in m] == [len(parts)]
    merged = merging.network()
    assert merged.spec == SPEC
    torch.testing.assert_close(merged(images()), expected, rtol=1e-11, atol=1e-11)


def test_channels_alike_in_function_but_not_in_their_batch_norm_merge_exactly():
    """A copy whose kernel and statistics are scaled is the same channel once they are folded."""
    network = trained()
    expected = network(images())
    split = copied(network, "stages.1.0", 2, [0.5, 0.5])
    state, first = split.state_dict(), "stages.1.0.first"
    variance = state[f"{first}.norm.running_var"]
    state[f"{first}.conv.weight"][-1] *= 3
    state[f"{first}.norm.running_mean"][-1] *= 3
    variance[-1] = 9 * (variance[-1] + 1e-5) - 1e-5
    torch.testing.assert_close(split(images()), expected, rtol=1e-10, atol=1e-10)
    merging = Merging(split)
    assert merging.channels["stages.1.0"].closest()[0] < 1e-12
    merging.merge_closest("stages.1.0")
    torch.testing.assert_close(merging.network()(images()), expected, rtol=1e-10, atol=1e-10)


def test_merging_is_a_weighted_mean_on_one_side_and_a_sum_on_the_other():
    """Against the formulas, for channels that stand for one and two, in a stream."""
    network = trained()
    merging = Merging(network)
    before = Merging(network).network().state_dict()
    for _ in range(3):
        merging.merge_closest("stages.1")
    channels = merging.channels["stages.1"]
    parts = [sorted(channels.members[k]) for k in channels.order()]
    assert sorted(member for part in parts for member in part) == list(range(8))
    assert len(parts) == 5
    assert max(map(len, parts)) > 2, "the test wants a merge of a merge"
    after = merging.network().state_dict()
    for layer in ("stages.1.0.projection", "stages.1.0.second"):
        for kind in ("conv.weight", "norm.bias"):
            mean = torch.stack([before[f"{layer}.{kind}"][part].mean(0) for part in parts])
            torch.testing.assert_close(after[f"{layer}.{kind}"], mean)
    for layer in ("stages.2.0.first", "stages.2.0.projection"):
        total = [before[f"{layer}.conv.weight"][:, part].sum(1) for part in parts]
        torch.testing.assert_close(after[f"{layer}.conv.weight"], torch.stack(total, dim=1))


def test_updated_distances_are_the_recomputed_ones():
    """After every merge, in every group, also in those that a merge elsewhere has touched."""
    merging = Merging(trained())
    generator = np.random.default_rng(0)
    for name in NAMES:
        np.testing.assert_allclose(
            in_network_order(merging, name), naive_distances(trained(), name), atol=1e-12
        )
    merges = 0
    while names := [n for n in NAMES if merging.channels[n].left > 1]:
        merging.merge_closest(generator.choice(names))
        merges += 1
        if merges % 4 == 0 or len(names) == 1:
            network = merging.network()
            for name in NAMES:
                expected = naive_distances(network, name)
                # of the norms of the weights, which the distances are a difference of
                tolerance = 1e-12 * max(1, float(np.abs(expected).max()))
                found = in_network_order(merging, name)
                np.testing.assert_allclose(found, expected, rtol=1e-9, atol=tolerance)
    assert merges == sum(width(SPEC, name) - 1 for name in NAMES)


def naive_merge(network: ResNet, name: str, sizes: dict[str, list[int]]) -> ResNet:
    """Merge the closest pair of a group in a network's own tensors, all distances computed anew."""
    distances = naive_distances(network, name)
    np.fill_diagonal(distances, np.inf)
    i, j = sorted(map(int, np.unravel_index(distances.argmin(), distances.shape)))
    rows, columns = ends(network, name)
    state = {key: value.clone() for key, value in network.state_dict().items()}
    k_i, k_j = sizes[name][i], sizes[name].pop(j)
    sizes[name][i] += k_j
    kept = [k for k in range(width(network.spec, name)) if k != j]
    for key in rows:
        state[key][i] = (k_i * state[key][i] + k_j * state[key][j]) / (k_i + k_j)
        state[key] = state[key][kept]
    for key in columns:
        state[key][:, i] += state[key][:, j]
        state[key] = state[key][:, kept]
    return restore(widened(network.spec, name, -1), state).eval()


@pytest.mark.parametrize("rule", [{"keep": 0.4}, {"beta": 0.5}])
def test_merging_is_what_a_plain_loop_does(rule):
    """The group that has kept most is next. Against a loop that computes all distances anew."""
    fast = merge(trained(), **rule)
    slow = merge(trained(), keep=1.0)  # batch norms that only shift, so that they can be averaged
    sizes = {name: [1] * width(SPEC, name) for name in NAMES}

    def share(name: str) -> float:
        return (len(sizes[name]) - 0.5) / width(SPEC, name)

    def due(name: str) -> bool:
        if "keep" in rule:
            return share(name) > rule["keep"]
        distances = naive_distances(slow, name)
        pairs = distances[~np.eye(len(distances), dtype=bool)]
        return pairs.min() < rule["beta"] * pairs.max()

    while names := [name for name in NAMES if len(sizes[name]) > 1 and due(name)]:
        slow = naive_merge(slow, max(names, key=share), sizes)
    assert sum(map(len, sizes.values())) < 0.6 * sum(width(SPEC, name) for name in NAMES)
    assert fast.spec == slow.spec
    torch.testing.assert_close(fast(images()), slow(images()), rtol=1e-9, atol=1e-9)


def test_every_group_keeps_the_share_asked_for():
    for keep, expected in [
        (1.0, SPEC),
        (0.5, ResNetSpec(2, 5, (3, 4, 4), ((3, 5), (4,), (2, 3)))),
        (0.0, ResNetSpec(2, 5, (1, 1, 1), ((1, 1), (1,), (1, 1)))),
    ]:
        assert merge(trained(), keep=keep).spec == expected


def test_keeping_all_leaves_the_function():
    network = trained().float()
    x = images().float()
    whole = merge(network, keep=1.0)
    assert whole.head.weight.dtype == torch.float32
    torch.testing.assert_close(whole(x), network(x), rtol=1e-5, atol=1e-5)


def test_a_path_is_the_same_whatever_shares_are_asked_for():
    shares = [0.25, 0.9, 0.6]
    path = merge_path(trained(), shares)
    assert [share for share, _ in path] == [0.9, 0.6, 0.25]
    for share, network in path:
        alone = merge(trained(), keep=share)
        assert network.spec == alone.spec
        assert torch.equal(network(images()), alone(images()))
    merging, before = Merging(trained()), None
    for share in sorted(shares, reverse=True):
        merging.merge_to(share)
        parts = {name: list(map(set, c.members)) for name, c in merging.channels.items()}
        if before is not None:
            for name, found in before.items():
                assert len(found) > len(parts[name])
                assert all(any(part <= larger for larger in parts[name]) for part in found)
        before = copy.deepcopy(parts)


def test_a_pruned_network_is_a_network_of_its_spec():
    """Its tensors have the shapes of one built anew; it is rebuilt from JSON and its state."""
    pruned = merge(trained(), keep=0.5)
    anew = ResNet(pruned.spec)
    shapes = {name: value.shape for name, value in anew.state_dict().items()}
    assert shapes == {name: value.shape for name, value in pruned.state_dict().items()}
    assert sum(p.numel() for p in pruned.parameters()) == sum(p.numel() for p in anew.parameters())
    again = restore(ResNetSpec.from_json(pruned.spec.to_json()), pruned.state_dict()).eval()
    assert torch.equal(again(images()), pruned(images()))


def test_beta_leaves_no_pair_under_it_and_merges_none_over_it():
    beta = 0.25
    merging = Merging(trained())
    asked = []
    original = merging.merge_closest

    def recording(name: str) -> None:
        least, largest, _, _ = merging.channels[name].closest()
        asked.append(least / largest)
        original(name)

    merging.merge_closest = recording  # type: ignore[method-assign]
    merging.merge_under(beta)
    assert asked and max(asked) < beta
    pruned = merge(trained(), beta=beta)
    assert pruned.spec == merging.network().spec
    for name in NAMES:
        distances = naive_distances(pruned, name)
        pairs = distances[~np.eye(len(distances), dtype=bool)]
        assert not pairs.size or pairs.min() >= beta * pairs.max() * (1 - 1e-9)
    assert merge(trained(), beta=0.0).spec == SPEC
    sizes = [sum(p.numel() for p in merge(trained(), beta=b).parameters()) for b in (0.1, 0.2, 0.4)]
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == 3


def test_the_network_given_is_left_as_it_is():
    network = trained().train()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    before = torch.get_rng_state()
    merge(network, keep=0.3)
    assert network.training and torch.equal(torch.get_rng_state(), before)
    for name, value in network.state_dict().items():
        assert torch.equal(value, state[name])


def test_what_cannot_be_asked_for_is_refused():
    network = trained()
    for arguments in ({}, {"keep": 0.5, "beta": 0.5}):
        with pytest.raises(ValueError, match="give one"):
            merge(network, **arguments)
    for arguments in ({"keep": 1.1}, {"keep": -0.1}, {"beta": float("nan")}, {"beta": 2.0}):
        with pytest.raises(ValueError, match="from 0 to 1"):
            merge(network, **arguments)
    with torch.no_grad():
        network.stages[1][0].first.norm.bias[0] = float("inf")
    with pytest.raises(ValueError, match=r"layer stages\.1\.0\.first are not finite"):
        merge(network, keep=0.5)

"""Pruning by Iterative Feature Merging (Chen, Zhou, Yan, ICLR 2024, arXiv 2310.06756).

Channels that may be permuted together form a group (`symmetry.groups`). The closest pair of a group
is merged, again and again, in all groups in turn. Two channels that stand for k₁ and k₂ of the
original ones become one: what writes them is averaged with weights k₁ and k₂, what reads them is
summed, so that identical channels merge without changing the function. All of it is done on the
weights with batch norm folded in, in float64, and without any data or fine-tuning. (As relu is
positively homogeneous, the mean written and the sum read is the same function as the sum written
and the mean read.)

The squared distance of two channels is that of all weights and biases that write and all weights
that read them. It comes from inner products, of the written and of the read side, which are updated
after a merge: within the group they are linear in the merged channel, O(channels); in a group at
the other end of a merged layer they lose the terms of two channels and gain those of one,
O(channels²). So at all times they are those of the weights as they are.

One merge at a time is made in the group that has kept the largest share of its channels. The path
of a network is therefore one and the same whatever shares are asked for.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float64
from threadpoolctl import threadpool_limits

from labelnoise.train.resnet import ResNet, ResNetSpec

from .symmetry import Layer, fold, groups, unfold


class Channels:
    """The channels of a group: what they stand for, and the inner products of their weights.

    Arrays have room for all channels of the start; the ones left come first.

    Attributes:
        start: number of channels at the start.
        members: for each channel left, the original ones that it stands for.
        averaged: inner products of what writes the channels.
        summed: inner products of what reads them.
    """

    def __init__(self, written: Sequence[Layer], read: Sequence[Layer]) -> None:
        self.start = len(written[0].bias)
        self.members = [[channel] for channel in range(self.start)]
        self.averaged = np.zeros((self.start, self.start))
        self.summed = np.zeros((self.start, self.start))
        for layer in written:
            rows = layer.weight.reshape(self.start, -1)
            self.averaged += rows @ rows.T + np.outer(layer.bias, layer.bias)
        for layer in read:
            columns = layer.weight.transpose(1, 0, 2).reshape(self.start, -1)
            self.summed += columns @ columns.T
        self._closest: tuple[float, float, int, int] | None = None

    @property
    def left(self) -> int:
        """Number of channels left."""
        return len(self.members)

    @property
    def share(self) -> float:
        """Share of the channels up to which the next merge is due, ½ being rounded up."""
        return (self.left - 0.5) / self.start

    def distances(self) -> Float64[np.ndarray, "left left"]:
        """Squared distances of all pairs."""
        gram = self.averaged[: self.left, : self.left] + self.summed[: self.left, : self.left]
        squares = gram.diagonal().copy()
        gram *= -2
        gram += squares[:, None]
        gram += squares
        # identical channels: what rounding leaves must not be a negative square
        return np.maximum(gram, 0, out=gram)

    def closest(self) -> tuple[float, float, int, int]:
        """Squared distance of the closest pair, the largest squared distance, and the pair."""
        if self._closest is None:
            distances = self.distances()
            largest = float(distances.max())
            np.fill_diagonal(distances, np.inf)
            one, other = divmod(int(distances.argmin()), self.left)
            self._closest = float(distances[one, other]), largest, one, other
        return self._closest

    def order(self) -> list[int]:
        """The channels left, by the first of the original ones that they stand for."""
        return sorted(range(self.left), key=lambda channel: min(self.members[channel]))

    def merge(self, i: int, j: int, weight_i: float, weight_j: float) -> None:
        """Make i and j one, which takes the place of i; the last channel takes that of j."""
        for gram, a, b in ((self.averaged, weight_i, weight_j), (self.summed, 1.0, 1.0)):
            active = gram[: self.left, : self.left]
            row = a * active[i] + b * active[j]
            row[i] = a * row[i] + b * row[j]
            active[i] = active[:, i] = row
            active[j] = active[-1]
            active[:, j] = active[:, -1]
        self.members[i] += self.members[j]
        self.members[j] = self.members[-1]
        self.members.pop()
        self._closest = None

    def replace(
        self,
        gram: Float64[np.ndarray, "channel channel"],
        old: Float64[np.ndarray, "two start tap"],
        new: Float64[np.ndarray, "start tap"],
    ) -> None:
        """Update inner products (`averaged` or `summed`) where two channels afar became one.

        Args:
            gram: the inner products.
            old: the weights between these channels and the two afar.
            new: those between these and the one that the two became.
        """
        left = self.left
        first, second, one = (np.ascontiguousarray(w[:left]) for w in (*old, new))
        gram[:left, :left] += one @ one.T - first @ first.T - second @ second.T
        self._closest = None


class Merging:
    """A network while its channels are merged.

    Attributes:
        channels: the channels of each group, by its name.
    """

    def __init__(self, network: ResNet) -> None:
        self._spec = network.spec
        self._like = network.head.weight.detach()
        self._layers = fold(network)
        self._groups = {group.name: group for group in groups(network.spec)}
        self._writes = {layer: g.name for g in self._groups.values() for layer in g.written}
        self._reads = {layer: g.name for g in self._groups.values() for layer in g.read}
        self.channels = {
            name: Channels(
                [self._layers[layer] for layer in group.written],
                [self._layers[layer] for layer in group.read],
            )
            for name, group in self._groups.items()
        }

    def merge_to(self, keep: float) -> None:
        """Merge until every group has the share `keep` of its channels, rounded, and at least 1."""
        self._merge_while(lambda channels: channels.share > keep)

    def merge_under(self, beta: float) -> None:
        """Merge while the closest pair of a group is under β times the group's largest distance.

        Distances are squared, both of the group as it is by then. A group that has none such waits:
        what is merged elsewhere changes its distances.
        """

        def under(channels: Channels) -> bool:
            least, largest, _, _ = channels.closest()
            return least < beta * largest

        self._merge_while(under)

    def _merge_while(self, due: Callable[[Channels], bool]) -> None:
        # products this small gain nothing from a second thread, and lose much where it has to wait
        with threadpool_limits(limits=1, user_api="blas"):
            while names := [n for n, c in self.channels.items() if c.left > 1 and due(c)]:
                self.merge_closest(max(names, key=lambda name: self.channels[name].share))

    def merge_closest(self, name: str) -> None:
        """Merge the closest pair of a group."""
        channels, group = self.channels[name], self._groups[name]
        _, _, i, j = channels.closest()
        k_i, k_j = len(channels.members[i]), len(channels.members[j])
        mean = k_i / (k_i + k_j), k_j / (k_i + k_j)
        last = channels.left - 1
        for written in group.written:
            layer, far = self._layers[written], self._reads.get(written)
            merged = _merge_rows(layer.weight, i, j, last, mean)
            layer.bias[i] = mean[0] * layer.bias[i] + mean[1] * layer.bias[j]
            layer.bias[j] = layer.bias[last]
            if far is not None:
                self.channels[far].replace(self.channels[far].summed, *merged)
        for read in group.read:
            weight, far = self._layers[read].weight.transpose(1, 0, 2), self._writes.get(read)
            merged = _merge_rows(weight, i, j, last, (1.0, 1.0))
            if far is not None:
                self.channels[far].replace(self.channels[far].averaged, *merged)
        channels.merge(i, j, *mean)

    def network(self) -> ResNet:
        """The network as it is now: smaller, in evaluation mode, in the precision of the first.

        Its channels are in the order of the first of the original ones that they stand for.
        """
        orders = {name: channels.order() for name, channels in self.channels.items()}
        layers = {}
        for name, layer in self._layers.items():
            weight, bias = layer.weight, layer.bias
            if name in self._writes:
                order = orders[self._writes[name]]
                weight, bias = weight[order], bias[order]
            if name in self._reads:
                weight = weight[:, orders[self._reads[name]]]
            layers[name] = Layer(weight, bias)
        streams = tuple(
            self.channels[f"stages.{stage}"].left for stage in range(len(self._spec.streams))
        )
        inner = tuple(
            tuple(self.channels[f"stages.{stage}.{block}"].left for block in range(len(blocks)))
            for stage, blocks in enumerate(self._spec.inner)
        )
        spec = ResNetSpec(self._spec.channels_in, self._spec.classes, streams, inner)
        return unfold(spec, layers, self._like)


def _merge_rows(
    weight: Float64[np.ndarray, "channel far tap"],
    i: int,
    j: int,
    last: int,
    factors: tuple[float, float],
) -> tuple[Float64[np.ndarray, "two far tap"], Float64[np.ndarray, "far tap"]]:
    """Make rows i and j of a weight one, in place, as `Channels.merge` does.

    Returns:
        The two rows as they were, and the one that takes their place.
    """
    old = weight[[i, j]]
    new = factors[0] * old[0] + factors[1] * old[1]
    weight[i] = new
    weight[j] = weight[last]
    return old, new


def merge(network: ResNet, *, keep: float | None = None, beta: float | None = None) -> ResNet:
    """A smaller network, by merging channels.

    Args:
        network: is left as it is.
        keep: share of the channels that every group is to keep (rounded, at least one channel); or
        beta: merge while the closest pair of a group is under β times its largest squared distance.

    Returns:
        The pruned network, in evaluation mode, with batch norms that only shift.

    Raises:
        ValueError: both or neither of `keep` and `beta` are given, one is not in 0 … 1, or the
            network has weights that are not finite.
    """
    if (keep is None) == (beta is None):
        raise ValueError(f"keep is {keep} and beta is {beta}: give one of them")
    if keep is not None:
        return merge_path(network, [keep])[0][1]
    assert beta is not None
    _check("beta", beta)
    merging = Merging(network)
    merging.merge_under(beta)
    return merging.network()


def merge_path(network: ResNet, shares: Sequence[float]) -> list[tuple[float, ResNet]]:
    """The networks of `merge` for several shares, in one pass.

    Args:
        network: is left as it is.
        shares: shares of the channels that every group is to keep.

    Returns:
        Each share and its network, from the largest to the smallest.

    Raises:
        ValueError: a share is not in 0 … 1, or the network has weights that are not finite.
    """
    for share in shares:
        _check("share", share)
    merging = Merging(network)
    path = []
    for share in sorted(shares, reverse=True):
        merging.merge_to(share)
        path.append((share, merging.network()))
    return path


def _check(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is {value}: it is from 0 to 1")

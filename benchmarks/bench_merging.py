"""Iterative feature merging of ResNet-18 from all of its channels to a tenth.

`python benchmarks/bench_merging.py` times `merge_path` with ten shares (all ten networks built), on
a newly initialised network for 32×32 images and one core, and beside it what it costs to compute
the distances from the weights once: done before every merge, this is the naive way.
"""

import time
from collections.abc import Callable

import torch
from machine import machine
from threadpoolctl import threadpool_limits

from labelnoise.analyze.merging import Channels, merge_path
from labelnoise.analyze.sparsity import count, effective_rank, magnitude_prune, weights
from labelnoise.analyze.symmetry import fold, groups
from labelnoise.train.resnet import ResNet, ResNetSpec

SHARES = [share / 10 for share in range(10, 0, -1)]
SHAPE = (3, 32, 32)
GOAL = 30


def seconds(work: Callable[[], object]) -> float:
    """Of the fastest of three times, which what else the machine does disturbs least."""
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)


def anew(network: ResNet) -> Callable[[], None]:
    """Computes the inner products and the closest pair of every group once, all channels left."""
    layers = fold(network)
    sides = [
        ([layers[name] for name in group.written], [layers[name] for name in group.read])
        for group in groups(network.spec)
    ]

    def work() -> None:
        for written, read in sides:
            Channels(written, read).closest()

    return work


def main() -> None:
    """Print Markdown: the times, and the sizes along the path."""
    print(", ".join(f"{name} {value}" for name, value in machine().items()), end="\n\n")
    torch.set_num_threads(1)
    network = ResNet(ResNetSpec.standard(3, 10))
    with threadpool_limits(1):
        path = merge_path(network, SHARES)
        whole = seconds(lambda: merge_path(network, SHARES))
        all_groups = seconds(anew(network))
        magnitude = seconds(lambda: magnitude_prune(network, 0.1))
        ranks = seconds(lambda: [effective_rank(weight) for weight in weights(network).values()])
    start, end = (
        sum(map(sum, (spec.streams, *spec.inner))) for spec in (network.spec, path[-1][1].spec)
    )
    of_groups = len(groups(network.spec))
    print("| what | seconds |\n|---|---:|")
    print(f"| merging {start:,} channels to {end:,}, {len(SHARES)} networks built | {whole:.2f} |")
    print(f"| distances of all {of_groups} groups from the weights, once | {all_groups:.2f} |")
    print(f"| magnitude pruning to one share | {magnitude:.2f} |")
    print(f"| effective rank of all {len(weights(network))} layers | {ranks:.2f} |")
    print(f"\n- full to 10 % in at most {GOAL} s: {'met' if whole <= GOAL else 'MISSED'}\n")
    print("| share of channels | parameters | multiply-adds |\n|---:|---:|---:|")
    for share, pruned in path:
        size = count(pruned, SHAPE)
        print(f"| {share} | {size.parameters:,} | {size.multiply_adds:,} |")


if __name__ == "__main__":
    main()

"""From trained ResNets to their accuracy when pruned, and to measures of their sparsity."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from labelnoise.labels import coordinates
from labelnoise.train.observe import outputs
from labelnoise.train.resnet import ResNet, restore
from labelnoise.train.settings import TrainSettings
from labelnoise.train.task import Task, arithmetic, prepare

from .merging import merge_path
from .sparsity import Size, count, effective_rank, magnitude_prune, participation_ratio, weights

TEXT = {
    "merged_parameters": "share of the parameters that the merged network has",
    "merged_multiply_adds": "share of the multiply-adds that the merged network takes an image",
    "merged_test_accuracy": "share of the test images that the merged network classifies rightly",
    "merged_test_loss": "test loss of the merged network",
    "magnitude_parameters": "share of the parameters that magnitude pruning keeps",
    "magnitude_test_accuracy": "share of the test images classified rightly after it",
    "magnitude_test_loss": "test loss after magnitude pruning",
    "effective_rank": "effective rank of a layer's weight, over the most it can be",
    "participation_ratio": "share of a layer's channels that carry its norm",
}
"""What each variable is, in words."""


def prune(
    settings: TrainSettings,
    images: xr.Dataset,
    trained: Mapping[str, Tensor],
    seeds: Sequence[int],
    *,
    channels_kept: Sequence[float],
    weights_kept: Sequence[float],
    device: str = "cpu",
    say: Callable[[str], None] = lambda text: None,
) -> xr.Dataset:
    """Prune trained ResNets by merging features and by magnitude, and test what is left.

    Nothing is trained again. A merged network is a smaller network of its own (`merging`); by
    magnitude the smallest weights of all layers become zero (`sparsity`).

    Args:
        settings: of the training, `network: resnet`.
        images: what it was trained on.
        trained: final weights, as `labelnoise.train.run.train` returns them.
        seeds: of the trainings.
        channels_kept: shares of the channels of each group that merging keeps.
        weights_kept: shares of the weights that magnitude pruning keeps.
        device: torch device of the tests.
        say: called with a line on each seed.

    Returns:
        Over (seed, channels_kept) and (seed, weights_kept): shares of parameters and multiply-adds
        kept, test accuracy and loss; over (seed, layer): relative effective rank and participation
        ratio. A network whose weights are not finite is NaN throughout.

    Raises:
        ValueError: the network is no ResNet.
    """
    if settings.network != "resnet":
        raise ValueError(f"only a resnet can be pruned here, not {settings.network}")
    runs = []
    for seed in seeds:
        task = prepare(settings, images, seed, device)
        assert isinstance(task.network, ResNet)
        start = f"seed={seed}/"
        state = {k.removeprefix(start): v for k, v in trained.items() if k.startswith(start)}
        network = restore(task.network.spec, state).eval()
        if all(bool(value.isfinite().all()) for value in state.values()):
            runs.append(
                _one(task, network, sorted(channels_kept)[::-1], sorted(weights_kept)[::-1])
            )
        else:
            runs.append({})
        say(f"seed {seed} pruned")
    return _label(runs, seeds, sorted(channels_kept)[::-1], sorted(weights_kept)[::-1], network)


def _one(
    task: Task, network: ResNet, channels_kept: Sequence[float], weights_kept: Sequence[float]
) -> dict[str, list[float]]:
    """All measures of one training."""
    found: dict[str, list[float]] = {name: [] for name in TEXT}
    image = task.x_test.shape[1:]
    whole = count(network, image)
    for _, merged in merge_path(network, channels_kept):
        size: Size = count(merged, image)
        found["merged_parameters"].append(size.parameters / whole.parameters)
        found["merged_multiply_adds"].append(size.multiply_adds / whole.multiply_adds)
        _test(task, merged, "merged", found)
    for keep in weights_kept:
        pruned, kept = magnitude_prune(network, keep)
        found["magnitude_parameters"].append(kept)
        _test(task, pruned, "magnitude", found)
    for weight in weights(network).values():
        most = min(weight.flatten(1).shape)
        found["effective_rank"].append(effective_rank(weight) / most)
        found["participation_ratio"].append(participation_ratio(weight))
    return found


@torch.no_grad()
def _test(task: Task, network: nn.Module, how: str, found: dict[str, list[float]]) -> None:
    network = network.to(task.x_test.device, task.x_test.dtype).eval()
    with arithmetic(task.settings.precision, task.x_test.device.type):
        out = outputs(network, task.x_test)
        found[f"{how}_test_loss"].append(float(task.loss(out, task.y_test)))
        right = (out.argmax(1) == task.y_test).double().mean()
        found[f"{how}_test_accuracy"].append(float(right))


def _label(
    runs: Sequence[Mapping[str, list[float]]],
    seeds: Sequence[int],
    channels_kept: Sequence[float],
    weights_kept: Sequence[float],
    network: ResNet,
) -> xr.Dataset:
    layers = list(weights(network))
    sizes = {"channels_kept": channels_kept, "weights_kept": weights_kept, "layer": layers}
    variables: dict[str, Any] = {}
    for name, text in TEXT.items():
        method = name.partition("_")[0]
        dim = {"merged": "channels_kept", "magnitude": "weights_kept"}.get(method, "layer")
        missing = [np.nan] * len(sizes[dim])
        values = np.array([run.get(name, missing) for run in runs])
        variables[name] = (("seed", dim), values, {"long_name": text, "units": "1"})
    shares = {
        "channels_kept": (
            "channels_kept",
            np.array(channels_kept),
            {"long_name": "share of each group's channels that are kept", "units": "1"},
        ),
        "weights_kept": (
            "weights_kept",
            np.array(weights_kept),
            {"long_name": "share of the weights that are kept", "units": "1"},
        ),
        "layer": ("layer", layers, {"long_name": "layer, by its name in the network"}),
    }
    return xr.Dataset(variables, coordinates(seeds) | shares)


def headline(pruned: xr.Dataset) -> dict[str, float]:
    """The numbers a person would sort runs by: means over the seeds.

    `…_area` is the mean accuracy over the shares pruned to: how well a network takes pruning.
    """
    names = {
        "merged_area": pruned["merged_test_accuracy"].mean("channels_kept"),
        "magnitude_area": pruned["magnitude_test_accuracy"].mean("weights_kept"),
        "effective_rank": pruned["effective_rank"].mean("layer"),
        "participation_ratio": pruned["participation_ratio"].mean("layer"),
    }
    found = {name: float(value.mean()) for name, value in names.items()}
    return {name: value for name, value in found.items() if np.isfinite(value)}

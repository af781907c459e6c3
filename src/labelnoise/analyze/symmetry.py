"""The channels of a ResNet that may be permuted together, and its weights without batch norm."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor, nn

from labelnoise.train.resnet import ConvNorm, ResNet, ResNetSpec, restore


@dataclass(frozen=True)
class Group:
    """Channels with one permutation symmetry: permute them everywhere, and nothing changes.

    Attributes:
        name: `stages.s` for the stream of a stage, `stages.s.b` for the inner channels of a block.
        written: layers whose outputs these channels are (or are a sum of).
        read: layers whose inputs they are.
    """

    name: str
    written: tuple[str, ...]
    read: tuple[str, ...]


def groups(spec: ResNetSpec) -> list[Group]:
    """All groups of a network, in its order: each stage's stream, then its blocks' inner channels.

    A stream is written by the stem or its stage's projection, and by the second convolution of
    every block. It is read by the first convolution of every block that it enters, by the next
    stage's projection, or by the head.
    """
    found = []
    last = len(spec.inner) - 1
    for stage, inner in enumerate(spec.inner):
        blocks = [f"stages.{stage}.{number}" for number in range(len(inner))]
        written = ["stem" if stage == 0 else f"{blocks[0]}.projection"]
        written += [f"{block}.second" for block in blocks]
        read = [f"{block}.first" for block in (blocks if stage == 0 else blocks[1:])]
        after = f"stages.{stage + 1}.0"
        read += ["head"] if stage == last else [f"{after}.first", f"{after}.projection"]
        found.append(Group(f"stages.{stage}", tuple(written), tuple(read)))
        found += [Group(block, (f"{block}.first",), (f"{block}.second",)) for block in blocks]
    return found


@dataclass
class Layer:
    """A layer as it acts in evaluation mode: a convolution (kernel laid flat) and its bias."""

    weight: Float64[np.ndarray, "channel_out channel_in tap"]
    bias: Float64[np.ndarray, "channel_out"]

    @classmethod
    def of(cls, module: ConvNorm | nn.Linear) -> "Layer":
        """Fold the batch norm in: w γ/√(v + ε) and β − μ γ/√(v + ε)."""
        if isinstance(module, nn.Linear):
            return cls(_array(module.weight)[:, :, None].copy(), _array(module.bias).copy())
        norm = module.norm
        mean, variance = norm.running_mean, norm.running_var
        assert mean is not None and variance is not None
        scale = _array(norm.weight) / np.sqrt(_array(variance) + norm.eps)
        weight = _array(module.conv.weight)
        flat = weight.reshape(*weight.shape[:2], -1) * scale[:, None, None]
        return cls(flat, _array(norm.bias) - _array(mean) * scale)


def _array(tensor: Tensor) -> Float64[np.ndarray, "..."]:
    return tensor.detach().to("cpu", torch.float64).numpy()


def fold(network: ResNet) -> dict[str, Layer]:
    """Every layer of a network by its name, batch norm folded in, in float64.

    Raises:
        ValueError: a weight is not finite (the network has diverged).
    """
    modules = network.named_modules()
    layers = {
        name: Layer.of(module)
        for name, module in modules
        if isinstance(module, ConvNorm | nn.Linear)
    }
    for name, layer in layers.items():
        if not (np.isfinite(layer.weight).all() and np.isfinite(layer.bias).all()):
            raise ValueError(f"weights of layer {name} are not finite: the network has diverged")
    return layers


def unfold(spec: ResNetSpec, layers: Mapping[str, Layer], like: Tensor) -> ResNet:
    """The network, in evaluation mode, that acts as these layers do.

    Its batch norms only shift: mean 0, variance 1, weight √(1 + ε), bias that of the layer. What
    the statistics of a merged channel would be on data cannot be known from its weights.

    Args:
        spec: its counts.
        layers: as from `fold`.
        like: has the precision and device that the network is to have.
    """
    state = {}
    for name, module in ResNet(spec, torch.Generator()).named_modules():
        if isinstance(module, nn.Linear):
            state[f"{name}.weight"] = layers[name].weight[:, :, 0]
            state[f"{name}.bias"] = layers[name].bias
        elif isinstance(module, ConvNorm):
            width = module.norm.num_features
            state[f"{name}.conv.weight"] = layers[name].weight.reshape(module.conv.weight.shape)
            state[f"{name}.norm.weight"] = np.full(width, np.sqrt(1 + module.norm.eps))
            state[f"{name}.norm.bias"] = layers[name].bias
            state[f"{name}.norm.running_mean"] = np.zeros(width)
            state[f"{name}.norm.running_var"] = np.ones(width)
            state[f"{name}.norm.num_batches_tracked"] = np.zeros(())
    return restore(
        spec, {name: torch.from_numpy(value).to(like) for name, value in state.items()}
    ).eval()

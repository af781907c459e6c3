"""How sparse a network is: magnitude pruning, rank, channel norms, and what it costs to run."""

import copy
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import entr
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

Network = TypeVar("Network", bound=nn.Module)


class Size(NamedTuple):
    """What a network is made of and what it costs to run on one image.

    Attributes:
        parameters: trained numbers.
        multiply_adds: of its convolutions and linear layers, half of the operations that
            `torch.utils.flop_counter` counts.
    """

    parameters: int
    multiply_adds: int


def count(network: nn.Module, image_shape: Sequence[int]) -> Size:
    """The size of a network.

    Args:
        network: is left as it is.
        image_shape: (channel, height, width) of an image.
    """
    parameters = list(network.parameters())
    image = torch.zeros(1, *image_shape, dtype=parameters[0].dtype, device=parameters[0].device)
    evaluated = copy.deepcopy(network).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        evaluated(image)
    return Size(sum(p.numel() for p in parameters), counter.get_total_flops() // 2)


def weights(network: nn.Module) -> dict[str, Tensor]:
    """Weights of the convolutions and linear layers by the layer's name; no bias, no batch norm."""
    return {
        name: module.weight
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }


def magnitude_prune(network: Network, keep: float) -> tuple[Network, float]:
    """Set the smallest weights of all layers taken together to zero.

    Weights of convolutions and linear layers compete by |w| whatever their layer (global,
    unstructured pruning). Biases and batch norms are kept and not counted in `keep`.

    Args:
        network: is left as it is.
        keep: share of those weights to keep, rounded to a whole number of them. Of weights that tie
            with the smallest one kept, all are kept.

    Returns:
        A pruned copy; and the share of all parameters, biases and batch norms included, that it
        keeps: comparable with `Size.parameters` of a smaller network.

    Raises:
        ValueError: `keep` is not in 0 … 1, or a weight is not finite.
    """
    if not 0 <= keep <= 1:
        raise ValueError(f"keep is {keep}: it is from 0 to 1")
    pruned = copy.deepcopy(network)
    layers = [weight.detach() for weight in weights(pruned).values()]
    magnitudes = torch.cat([weight.abs().flatten() for weight in layers])
    if not magnitudes.isfinite().all():
        raise ValueError("the network has weights that are not finite: it has diverged")
    removed = len(magnitudes) - round(keep * len(magnitudes))
    if removed == 0:
        return pruned, 1.0
    if removed == len(magnitudes):
        threshold = torch.full_like(magnitudes[0], torch.inf)
    else:
        threshold = magnitudes.kthvalue(removed + 1).values
    zeroed = 0
    for weight in layers:
        small = weight.abs() < threshold
        weight[small] = 0
        zeroed += int(small.sum())
    return pruned, 1 - zeroed / sum(parameter.numel() for parameter in pruned.parameters())


def effective_rank(weight: Float[Tensor, "channel_out channel_in ..."]) -> float:
    """exp(−Σ p_k ln p_k), p_k = s_k/Σ s, of the singular values s (Roy & Vetterli 2007).

    It is between 1 and the rank; 0 for a weight that is 0.

    Args:
        weight: of a linear layer, or of a convolution, seen as channel_out × (channel_in · taps).
    """
    matrix = weight.detach().flatten(1).to("cpu", torch.float64).numpy()
    # NumPy's takes a third of the time of torch's
    values = np.linalg.svd(matrix, compute_uv=False)
    if not values.any():
        return 0.0
    share = values / values.sum()
    return float(np.exp(entr(share).sum()))


def participation_ratio(weight: Float[Tensor, "channel_out channel_in ..."]) -> float:
    """Share of the output channels that carry the norm, (Σ‖w_i‖²)²/(m Σ‖w_i‖⁴) (1: all alike).

    It is between 1/m and 1 for m channels; 0 for a weight that is 0. Of a convolution before a
    batch norm, ‖w_i‖ is that of the weights alone, which the norm rescales.

    Args:
        weight: of a linear layer, or of a convolution.
    """
    squares = weight.detach().flatten(1).to(torch.float64).square().sum(dim=1)
    fourth = squares.square().sum()
    return float(squares.sum() ** 2 / (len(squares) * fourth)) if fourth > 0 else 0.0

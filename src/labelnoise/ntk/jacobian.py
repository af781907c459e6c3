"""Rows of a network's Jacobian with respect to its parameters, in blocks, and their products.

The row of ∂f/∂W that belongs to an output f, where W acts as z_p = W h_p at positions p, is
Σ_p (∂f/∂z_p) h_pᵀ. Of such layers only ∂f/∂z is asked of autograd, which for convolutions is far
cheaper than each image's own weight gradient. With one position the row has rank one and stays two
factors, whose products cost fan_in + fan_out and not fan_in × fan_out. Any other parameter is
differentiated as it is, image by image.
"""

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import vjp, vmap
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .layers import Capture, find_layers

Params = Mapping[str, Tensor]
Network = Callable[[Params, Tensor], Tensor]
"""(params, x of dims (image, …)) → outputs of dims (image, class), each of its own image only."""


@dataclass(frozen=True)
class Rows:
    """A block of the Jacobian, of some images and classes, by parameter.

    Attributes:
        dense: rows as they are, each of dims (image, class, parameter).
        inputs: factors h of the rows (∂f/∂z) hᵀ, each of dims (image, fan_in).
        slopes: their factors ∂f/∂z, each of dims (image, class, fan_out).
    """

    dense: list[Tensor]
    inputs: list[Tensor]
    slopes: list[Tensor]

    def part(self, images: slice, classes: slice) -> "Rows":
        """A part of the block, not copied."""
        return Rows(
            [rows[images, classes] for rows in self.dense],
            [rows[images] for rows in self.inputs],
            [rows[images, classes] for rows in self.slopes],
        )

    def copy_from(self, other: "Rows") -> None:
        """Take over the values of another block of the same shape."""
        mine = [*self.dense, *self.inputs, *self.slopes]
        for to, values in zip(mine, [*other.dense, *other.inputs, *other.slopes], strict=True):
            to.copy_(values)

    def add_product(self, other: "Rows", to: Float[Tensor, "row other_row"]) -> None:
        """Add J J'ᵀ; a row is an (image, class). Makes one tensor of the size of `to`."""
        for mine, its in zip(self.dense, other.dense, strict=True):
            to.addmm_(mine.flatten(0, 1), its.flatten(0, 1).T)
        factors = zip(self.inputs, other.inputs, self.slopes, other.slopes, strict=True)
        for h, its_h, slope, its_slope in factors:
            product = slope.flatten(0, 1) @ its_slope.flatten(0, 1).T
            split = product.view(*slope.shape[:2], *its_slope.shape[:2])
            to.add_(split.mul_((h @ its_h.T)[:, None, :, None]).view_as(to))
            del product, split


class Jacobian:
    """∂f/∂params of a network at `params`.

    Args:
        function: the network; each output depends on its own image only.
        params: what it is differentiated by.
        x: images to come; the first is used to see what the network does.

    Raises:
        ValueError: the output is not one row of classes for one image.
    """

    def __init__(self, function: Network, params: Params, x: Float[Tensor, "image ..."]) -> None:
        self.function = function
        # one object for each name, even where two names share a tensor
        self.params = {name: value.detach().view_as(value) for name, value in params.items()}
        self.layers, self.out = find_layers(function, self.params, x[:1])
        if self.out.dim() != 2 or len(self.out) != 1:
            raise ValueError(
                f"the network gave outputs of shape {tuple(self.out.shape)} for one image; "
                "(1, classes) was expected"
            )
        self.classes = self.out.shape[1]
        self.weights = {id(self.params[layer.weight]): layer.weight for layer in self.layers}
        own = {name for layer in self.layers for name in (layer.weight, layer.bias)}
        self.rest = [name for name in self.params if name not in own]

    @cached_property
    def sizes(self) -> tuple[list[int], list[int], list[int]]:
        """Numbers that a row has in each part of `Rows`."""
        dense, inputs, slopes = [self.params[name].numel() for name in self.rest], [], []
        for layer in self.layers:
            fan_out, fan_in = self.params[layer.weight].flatten(1).shape
            if layer.is_rank_one:
                inputs.append(fan_in + (layer.bias is not None))
                slopes.append(fan_out)
            else:
                dense += [fan_out * fan_in] + [fan_out] * (layer.bias is not None)
        return dense, inputs, slopes

    def empty(self, images: int, classes: int) -> Rows:
        """A block that holds nothing yet."""
        dense, inputs, slopes = self.sizes
        new = self.out.new_empty
        return Rows(
            [new(images, classes, size) for size in dense],
            [new(images, size) for size in inputs],
            [new(images, classes, size) for size in slopes],
        )

    def evaluate(self, x: Float[Tensor, "image ..."], classes: slice) -> Rows:
        """The rows of some images and classes, by one pass forward and one back."""
        shifts = {
            layer.weight: layer.zero.expand(len(x), *layer.shape)  # takes no memory
            for layer in self.layers
        }
        rest = {
            name: self.params[name].expand(len(x), *self.params[name].shape) for name in self.rest
        }

        def one(
            shifts: dict[str, Tensor], rest: dict[str, Tensor], x: Tensor
        ) -> tuple[Tensor, dict[str, Tensor]]:
            with Capture(self.weights, shifts) as seen:
                out = self.function(self.params | rest, x[None])
            return out[0], seen.inputs

        def outputs(
            shifts: dict[str, Tensor], rest: dict[str, Tensor]
        ) -> tuple[Tensor, dict[str, Tensor]]:
            return vmap(one)(shifts, rest, x)

        _, pull_back, given = cast(
            tuple[Any, Any, dict[str, Tensor]], vjp(outputs, shifts, rest, has_aux=True)
        )
        unit = torch.eye(self.classes, dtype=self.out.dtype, device=self.out.device)[classes]
        slopes, gradients = vmap(pull_back)(unit[:, None].expand(-1, len(x), -1))
        del pull_back
        dense = [gradients[name].transpose(0, 1).contiguous() for name in self.rest]
        rows = Rows([part.reshape(*part.shape[:2], -1) for part in dense], [], [])
        for layer in self.layers:
            columns = layer.columns(given.pop(layer.weight))
            slope = layer.slopes(slopes.pop(layer.weight))
            if layer.is_rank_one:
                ones = columns[:, :1, 0].new_ones(len(x), int(layer.bias is not None))
                rows.inputs.append(torch.cat([columns[..., 0], ones], 1))
                rows.slopes.append(slope[..., 0])
                continue
            product = slope.flatten(1, 2) @ columns.mT
            rows.dense.append(product.view(*slope.shape[:2], -1))
            if layer.bias is not None:
                rows.dense.append(slope.sum(-1))
        return rows

    def peak(self, x: Float[Tensor, "image ..."], classes: slice) -> int:
        """Bytes of the tensors that `evaluate` makes, at their most."""
        meter = _Meter()
        with meter:
            self.evaluate(x, classes)
        return meter.peak


class _Meter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that are made while it is on."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive, self.peak = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = _storages((args, kwargs))
        for key, storage in _storages(result).items():
            if key not in given:  # else a view, or in place
                self.alive += storage.nbytes()
                weakref.finalize(storage, self.free, storage.nbytes())
        self.peak = max(self.peak, self.alive)
        return result

    def free(self, size: int) -> None:
        """A tensor's memory was given back."""
        self.alive -= size


def _storages(tree: Any) -> dict[int, torch.UntypedStorage]:
    leaves = [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
    storages = [leaf.untyped_storage() for leaf in leaves]
    return {id(storage): storage for storage in storages}

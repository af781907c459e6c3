"""Which parameters of a network are the weight or bias of one linear map or convolution.

Found by watching one evaluation: a weight counts when a single `linear` or `conv2d` uses it and
nothing else does, so that shared, transposed or normalised weights do not.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves


@dataclass(frozen=True)
class _Call:
    """z = W h + b: its tensors, and the window that gathers h where it is a convolution."""

    input: Tensor
    weight: Tensor
    bias: Tensor | None
    window: dict[str, Any] | None = None


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> _Call:
    return _Call(input, weight, bias)


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> _Call | None:
    if groups != 1 or isinstance(padding, str) or input.dim() != 4:
        return None
    window = {"stride": stride, "padding": padding, "dilation": dilation}
    return _Call(input, weight, bias, window | {"kernel_size": tuple(weight.shape[2:])})


_MAPS: dict[Any, Callable[..., _Call | None]] = {F.linear: _linear, F.conv2d: _conv2d}


def _as_map(func: Any, args: Any, kwargs: Any) -> _Call | None:
    return _MAPS[func](*args, **kwargs) if func in _MAPS else None


@dataclass(frozen=True)
class Layer:
    """A map z_p = W h_p + b over positions p, and the names of its own W and b.

    Attributes:
        weight, bias: names of the parameters; no bias where there is none, or it is shared.
        window: of a convolution, the arguments of `unfold`.
        zero: 0 in the type of z.
        shape: of z, for one image.
    """

    weight: str
    bias: str | None
    window: dict[str, Any] | None
    zero: Tensor
    shape: torch.Size

    @property
    def is_rank_one(self) -> bool:
        """Whether there is only one position."""
        return self.window is None and math.prod(self.shape[:-1]) == 1

    def columns(self, given: Tensor) -> Float[Tensor, "image fan_in position"]:
        """All h_p, from the layer's inputs of dims (image, …)."""
        if self.window is None:
            return given.reshape(len(given), -1, given.shape[-1]).mT
        patches = F.unfold(given.flatten(0, 1), **self.window)
        return patches.view(len(given), -1, *patches.shape[1:]).transpose(1, 2).flatten(2)

    def slopes(self, given: Tensor) -> Float[Tensor, "image class fan_out position"]:
        """All ∂f/∂z_p, in the order of the columns, from dims (class, image, …)."""
        given = given.transpose(0, 1)
        if self.window is None:
            return given.reshape(*given.shape[:2], -1, given.shape[-1]).mT
        return given.flatten(-2).transpose(2, 3).flatten(3)


class _Watch(TorchFunctionMode):
    """Notes what uses which parameter."""

    def __init__(self, params: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.names = {id(value): name for name, value in params.items()}
        self.uses = dict.fromkeys(params, 0)
        self.calls: list[tuple[_Call, Tensor]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if not any(isinstance(leaf, Tensor) for leaf in tree_leaves(result)):
            return result  # asked for a shape or a type: no derivative passes
        for leaf in tree_leaves((args, kwargs)):
            if id(leaf) in self.names:
                self.uses[self.names[id(leaf)]] += 1
        call = _as_map(func, args, kwargs)
        if call is not None and id(call.weight) in self.names:
            self.calls.append((call, result))
        return result


class Capture(TorchFunctionMode):
    """While it is on, adds `shifts` to the z of the layers and keeps their `inputs`, by weight."""

    def __init__(self, weights: Mapping[int, str], shifts: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.weights, self.shifts = weights, shifts
        self.inputs: dict[str, Tensor] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        call = _as_map(func, args, kwargs)
        if call is None or id(call.weight) not in self.weights:
            return result
        name = self.weights[id(call.weight)]
        self.inputs[name] = call.input
        return result + self.shifts[name]


def find_layers(
    function: Callable[[Mapping[str, Tensor], Tensor], Tensor],
    params: Mapping[str, Tensor],
    x: Tensor,
) -> tuple[list[Layer], Tensor]:
    """The layers of a network, and its output.

    Args:
        function: the network.
        params: its parameters, each name an object of its own.
        x: one image, of dims (1, …).
    """
    with torch.no_grad(), _Watch(params) as seen:
        out = function(params, x)
    layers = []
    for call, z in seen.calls:
        weight, bias = seen.names[id(call.weight)], seen.names.get(id(call.bias))
        if seen.uses[weight] == 1:
            bias = bias if bias is not None and seen.uses[bias] == 1 else None
            layers.append(Layer(weight, bias, call.window, z.new_zeros(()), z.shape))
    return layers, out

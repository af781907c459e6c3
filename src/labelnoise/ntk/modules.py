"""A `torch.nn.Module` as a pure function of its trained parameters, where it has an NTK."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase


def trained(network: nn.Module) -> dict[str, Tensor]:
    """The parameters that training moves, by name; they share memory with the network's."""
    named = network.named_parameters()
    return {name: parameter.detach() for name, parameter in named if parameter.requires_grad}


def function_of(network: nn.Module) -> Callable[[Mapping[str, Tensor], Tensor], Tensor]:
    """A network as a pure function f(parameters, x); what is not given stays as it is."""

    def function(parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
        outputs: Tensor = functional_call(network, dict(parameters), (x,))
        return outputs

    return function


@contextmanager
def mode(network: nn.Module, *, training: bool) -> Iterator[None]:
    """A network in training or evaluation, and each of its modules as it was afterwards."""
    before = [(module, module.training) for module in network.modules()]
    network.train(training)
    try:
        yield
    finally:
        for module, was in before:
            module.training = was


def require_ntk(network: nn.Module) -> None:
    """Whether a network has an NTK and a linearisation: each output a function of its image only.

    Dropout is no hindrance: it is linearised as it is evaluated.

    Raises:
        ValueError: it normalises with statistics of the batch that it is trained on, or has a
            recurrent layer of torch's, which `torch.func` cannot differentiate image by image.
    """
    own = f"network: {type(network).__name__} has no NTK and no linearisation"
    with mode(network, training=True):
        for name, module in network.named_modules():
            where = f"its {type(module).__name__} ({name or 'the network itself'})"
            if isinstance(module, nn.RNNBase):
                raise ValueError(
                    f"{own} here: torch.func cannot differentiate {where} image by image; write "
                    f"it with torch.nn.{type(module).__name__}Cell, or train without ntk_drift "
                    "and linearised runs"
                )
            batched = isinstance(module, _BatchNorm)
            batched = batched or (isinstance(module, _NormBase) and module.running_mean is not None)
            if batched and module.training:
                raise ValueError(
                    f"{own}: {where} makes an output in training depend on more than its own "
                    "image; take GroupNorm or LayerNorm, or train without ntk_drift and "
                    "linearised runs"
                )

"""What a snapshot of a training measures."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from labelnoise.ntk.kernel import empirical_ntk, ntk_drift
from labelnoise.ntk.modules import trained

from .networks import first_layer_name
from .task import BATCH, Task, arithmetic

PER_SNAPSHOT = {
    "train_loss": ("loss on the training images, true labels", "L_train"),
    "test_loss": ("loss on the test images", "L_test"),
    "train_accuracy": ("share of the training images classified as their true label", "acc_train"),
    "test_accuracy": ("share of the test images classified as their label", "acc_test"),
    "distance": ("distance of all parameters from their start, over their norm there", "δ"),
    "w_norm_mean": ("mean over the first layer's neurons of ‖w_i‖", "⟨‖w_i‖⟩"),
    "norm_change_mean": ("mean over the first layer's neurons of ‖w_i‖/‖w_i(0)‖ − 1", "⟨Δ_i⟩"),
    "norm_change_std": ("standard deviation over them of ‖w_i‖/‖w_i(0)‖ − 1", "std Δ_i"),
}
"""Measures of a whole network: name in words, symbol."""

Forward = Callable[[Tensor], Tensor]


def outputs(forward: Forward, x: Float[Tensor, "image ..."]) -> Float[Tensor, "image class"]:
    """A network's outputs, a bounded number of images at a time; halved where memory is short."""
    parts, done, size = [], 0, min(BATCH, len(x))
    while done < len(x):
        try:
            parts.append(forward(x[done : done + size]))
            done += size
        except torch.cuda.OutOfMemoryError:  # of any device
            if size == 1:
                raise
            size //= 2
    return torch.cat(parts)


def performance(
    task: Task,
    train: Float[Tensor, "image class"],
    test: Float[Tensor, "test_image class"],
) -> dict[str, float]:
    """Losses and accuracies of outputs on the (first) training and the test images."""
    found = {}
    y_train = task.y_train[: len(train)]
    for name, out, labels in (("train", train, y_train), ("test", test, task.y_test)):
        found[f"{name}_loss"] = float(task.loss(out, labels))
        found[f"{name}_accuracy"] = float((out.argmax(1) == labels).double().mean())
    return found


def norms(w_norm: Float[Tensor, "neuron"], start: Float[Tensor, "neuron"]) -> dict[str, float]:
    """Mean norm of the neurons; mean and standard deviation of its relative change."""
    change = w_norm.double() / start.double() - 1
    return {
        "w_norm_mean": float(w_norm.double().mean()),
        "norm_change_mean": float(change.mean()),
        "norm_change_std": float(change.std(correction=0)),
    }


class Observer:
    """Measures a network against its start."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._start = {name: p.clone() for name, p in trained(task.network).items()}
        self._start_norm = task.start_norm
        self._start_w_norm = task.w_norm(self._start[first_layer_name(task.network)])
        self._drift = NTKDrift(task) if task.settings.ntk_drift else None

    @torch.no_grad()
    def measure(self) -> dict[str, Tensor]:
        """`PER_SNAPSHOT` as float64 scalars, `w_norm` over neurons; `ntk_drift` if asked."""
        task, network = self._task, self._task.network
        some = task.settings.measured_images
        network.eval()
        found = performance(
            task, outputs(network, task.x_train[:some]), outputs(network, task.x_test)
        )
        parameters = trained(network)
        w_norm = task.w_norm(parameters[first_layer_name(network)])
        found |= norms(w_norm, self._start_w_norm)
        moved = sum(
            float((p - self._start[name]).double().square().sum()) for name, p in parameters.items()
        )
        found["distance"] = moved**0.5 / self._start_norm
        if self._drift is not None:
            found["ntk_drift"] = self._drift.measure()
        scalars = {name: torch.tensor(v, dtype=torch.float64) for name, v in found.items()}
        return scalars | {"w_norm": w_norm.float().cpu()}


class NTKDrift:
    """How far the NTK of the training images is from where it started."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._kernel = self._ntk()

    def _ntk(self) -> Tensor:
        x = self._task.x_train
        memory = self._task.settings.ntk_memory * 2**20
        # bfloat16's rounding would hide a small drift
        with arithmetic("float32", x.device.type):
            return empirical_ntk(self._task.network, x, memory=memory)

    def measure(self) -> float:
        """‖K_t − K_0‖_F/‖K_0‖_F now."""
        return ntk_drift(self._kernel, self._ntk())

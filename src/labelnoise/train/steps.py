"""The step rules: (stochastic) gradient descent with redrawn labels, momentum, SAM."""

import math

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from .augment import Augmentation
from .backward import mlp_gradient
from .networks import MLP
from .noise import batches, noisy_labels
from .span import SpanMLP
from .task import Task

CHUNK = 2**18
"""Images whose labels and augmentation are drawn at a time: bounds memory."""

Tensors = tuple[Tensor, ...] | list[Tensor]
"""One for each parameter."""


class Trainer:
    """What steps one training.

    Attributes:
        network: as far as it is trained.
        step: the steps taken.
        velocity: of the momentum, by parameter; empty without momentum.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self.network = task.network
        if task.settings.compile:
            self.network.compile()
        self.step = 0
        self._parameters: list[Tensor] = [p for p in self.network.parameters() if p.requires_grad]
        self.velocity: list[Tensor] = []
        if task.settings.momentum:
            self.velocity = [torch.zeros_like(p) for p in self._parameters]
        self._labels = task.y_train.cpu().numpy()
        self._parts = 1
        # autocast and compilation are for what autograd sees
        self._written_out = not (task.settings.compile or task.settings.precision == "bf16")

    def advance(self, stop: int) -> None:
        """Take the steps up to `stop`. Nothing in them waits for the device."""
        settings, device = self._task.settings, self._task.x_train.device
        images = len(self._labels)
        batch = settings.batch_size or images
        self.network.train()
        while self.step < stop:
            count = min(stop - self.step, max(1, CHUNK // batch))
            if settings.batch_size is None:
                chosen = None
                true = self._labels[None].repeat(count, 0)
            else:
                order = batches(self._task.seed, images, batch, self.step, count)
                chosen = torch.from_numpy(order).to(device)
                true = self._labels[order]
            seen = noisy_labels(
                true,
                self._task.seed,
                settings.tau,
                len(self._task.classes),
                self.step,
                settings.noise,
            )
            labels = torch.from_numpy(seen).to(device)
            augment = self._augmentation(count, batch)
            for number in range(count):
                x = self._task.x_train if chosen is None else self._task.x_train[chosen[number]]
                self._take(x if augment is None else augment(x, number), labels[number])
                self.step += 1

    def _augmentation(self, count: int, batch: int) -> Augmentation | None:
        kind, x = self._task.settings.augmentation, self._task.x_train
        if kind == "none":
            return None
        rows, columns = x.shape[-2:]
        shape = count, batch
        return Augmentation(kind, self._task.seed, self.step, shape, (rows, columns), x.device)

    def _learning_rate(self) -> float:
        """η of the next step."""
        settings = self._task.settings
        if settings.eta_schedule == "constant":
            return settings.eta
        return settings.eta * (1 + math.cos(math.pi * self.step / settings.steps)) / 2

    def _gradient(self, x: Tensor, labels: Tensor) -> Tensors:
        """The gradient of the batch's loss; the batch is split where memory is short.

        Raises:
            torch.OutOfMemoryError: there is no room for one image, or for a batch that batch norm
                must see as a whole.
        """
        while True:
            try:
                if self._parts == 1:
                    return self._gradient_of(x, labels)
                return self._gradient_in_parts(x, labels)
            except torch.cuda.OutOfMemoryError as error:  # of any device
                if any(isinstance(module, _BatchNorm) for module in self.network.modules()):
                    raise torch.cuda.OutOfMemoryError(
                        f"no room for the {len(x)} images of a step, which batch norm must see as "
                        f"a whole: take a smaller batch_size, or precision: bf16 ({error})"
                    ) from error
                if self._parts >= len(x):
                    raise
                self._parts *= 2

    def _gradient_of(self, x: Tensor, labels: Tensor) -> Tensors:
        if self._written_out and isinstance(self.network, MLP | SpanMLP):
            return mlp_gradient(self.network, x, lambda out: self._task.slope(out, labels))
        loss = self._task.loss(self.network(x), labels)
        return torch.autograd.grad(loss, self._parameters, materialize_grads=True)

    def _gradient_in_parts(self, x: Tensor, labels: Tensor) -> Tensors:
        total = [torch.zeros_like(p) for p in self._parameters]
        parts = zip(x.tensor_split(self._parts), labels.tensor_split(self._parts), strict=True)
        for images, theirs in parts:
            if len(images):
                gradient = self._gradient_of(images, theirs)
                torch._foreach_add_(total, gradient, alpha=len(images) / len(x))
        return total

    def _take(self, x: Tensor, labels: Tensor) -> None:
        """One step: W ← W − η v, v ← μ v + g + λ W, with SAM's g where it is asked for."""
        settings = self._task.settings
        gradient = self._gradient(x, labels)
        if settings.algorithm == "sam" and settings.rho:
            gradient = self._sam_gradient(gradient, x, labels)
        with torch.no_grad():
            if settings.weight_decay:
                gradient = torch._foreach_add(
                    gradient, self._parameters, alpha=settings.weight_decay
                )
            if settings.momentum:
                torch._foreach_mul_(self.velocity, settings.momentum)
                torch._foreach_add_(self.velocity, gradient)
                gradient = self.velocity
            torch._foreach_add_(self._parameters, gradient, alpha=-self._learning_rate())

    def _sam_gradient(self, gradient: Tensors, x: Tensor, labels: Tensor) -> Tensors:
        """The gradient at θ + ρ g/‖g‖ (Foret et al. 2021).

        Same images and labels as the first pass, though a network's own dropout is drawn again;
        running statistics (buffers) are not counted twice; the weights come back as they were, to
        the bit; a zero gradient moves nothing.
        """
        buffers = list(self.network.buffers())
        with torch.no_grad():
            norm = torch.stack(torch._foreach_norm(gradient)).norm() / self._task.settings.rho
            norm = norm.clamp_min(torch.finfo(norm.dtype).tiny)
            moved = torch._foreach_addcdiv(self._parameters, gradient, [norm] * len(gradient))
            kept = [buffer.clone() for buffer in buffers]
        # other weights for one pass: to move these there and back would be two copies more
        own = [parameter.data for parameter in self._parameters]
        self._set(moved)
        gradient = self._gradient(x, labels)
        self._set(own)
        with torch.no_grad():
            if buffers:
                torch._foreach_copy_(buffers, kept)
        return gradient

    def _set(self, weights: Tensors) -> None:
        for parameter, weight in zip(self._parameters, weights, strict=True):
            parameter.data = weight

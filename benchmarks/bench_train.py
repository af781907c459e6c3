"""Steps per second of trainings on images, beside the straightforward PyTorch loop.

`python benchmarks/bench_train.py` measures, side by side in one process and on one thread a way:

- the authors' MLP (3072-512-10, 64 images, full batch), rotated into the span of its images, on all
  pixels, and by autograd, `torch.optim.SGD` and one-hot labels as a notebook does it;
- a ResNet on CIFAR-10-shaped images by mini-batches of 128, by this package's loop and by a
  `DataLoader`, autograd in eager float32 and `torch.optim.SGD`. On a GPU this is ResNet-18 in
  bfloat16, compiled; on a CPU a quarter of its width in float32.

Images are random: their content does not change the time.
"""

import time
from types import SimpleNamespace

import numpy as np
import torch
import xarray as xr
from machine import machine, side_by_side
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from labelnoise.train.images import Split, layout
from labelnoise.train.networks import build
from labelnoise.train.settings import TrainSettings
from labelnoise.train.steps import Trainer
from labelnoise.train.task import arithmetic, prepare

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def random_images(count: int) -> xr.Dataset:
    """As many training images, and 64 test images, of CIFAR-10's shape."""
    draw = np.random.default_rng(0)

    def split(number: int) -> Split:
        images = draw.integers(0, 256, (number, 3, 32, 32), dtype=np.uint8)
        return Split(images, (np.arange(number) % 10).astype(np.uint8))

    classes = tuple(map(str, range(10)))
    return layout(split(count), split(64), classes=classes, white=255, description="random")


def wait() -> None:
    """Until the device has done all it was told to."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def ours(settings: TrainSettings, images: xr.Dataset):
    """This package's loop: a function that takes steps and returns the seconds."""
    trainer = Trainer(prepare(settings, images, 0, DEVICE))

    def seconds(steps: int) -> float:
        with arithmetic(settings.precision, DEVICE):
            start = time.perf_counter()
            trainer.advance(trainer.step + steps)
            wait()
            return time.perf_counter() - start

    return seconds


def notebook(settings: TrainSettings, images: xr.Dataset):
    """The straightforward loop over a whole batch, or a DataLoader."""
    plain = settings.model_copy(update={"rotate": False})
    task = prepare(plain, images, 0, "cpu")
    network = build(plain, images["train_images"].shape[1:], 10, 0).to(DEVICE)
    optimiser = torch.optim.SGD(network.parameters(), lr=settings.eta)
    x, y = task.x_train.contiguous(), task.y_train
    whole = SimpleNamespace(x=x.to(DEVICE), y=y.to(DEVICE))
    loader = None
    if settings.batch_size:
        loader = DataLoader(TensorDataset(x, y), settings.batch_size, shuffle=True, drop_last=True)

    def take(x: torch.Tensor, labels: torch.Tensor) -> None:
        noisy = torch.where(
            torch.rand(len(labels), device=DEVICE) < settings.tau,
            torch.randint(0, 10, labels.shape, device=DEVICE),
            labels,
        )
        optimiser.zero_grad()
        if settings.loss == "mse":
            target = nn.functional.one_hot(noisy, 10).float()
            loss = 0.5 * ((network(x) - target) ** 2).mean()
        else:
            loss = nn.functional.cross_entropy(network(x), noisy)
        loss.backward()
        optimiser.step()

    def seconds(steps: int) -> float:
        start, taken = time.perf_counter(), 0
        while taken < steps:
            for x, labels in loader or [(whole.x, whole.y)]:
                take(x.to(DEVICE), labels.to(DEVICE))
                taken += 1
                if taken == steps:
                    break
        wait()
        return time.perf_counter() - start

    return seconds


def report(title: str, ways: dict) -> None:
    """Measure and print one table; the last way is the one compared with."""
    rates = side_by_side(list(ways.values()))
    print(f"\n## {title}\n")
    print("| way | steps/s, median | least–most | of the last |\n|---|---:|---:|---:|")
    for name, rate, ratio in zip(ways, rates.T, (rates / rates[:, -1:]).T, strict=True):
        median, least, most = (
            f"{value:,.0f}" if value > 99 else f"{value:.2g}"
            for value in (np.median(rate), rate.min(), rate.max())
        )
        print(f"| {name} | {median} | {least}–{most} | {np.median(ratio):.2f} × |")


def main() -> None:
    """Measure and print all."""
    torch.set_num_threads(1)
    print("# Trainings on images, steps per second\n")
    print("Output of `python benchmarks/bench_train.py`:\n")
    device = torch.cuda.get_device_name() if DEVICE == "cuda" else "CPU"
    print(f"device {device}, " + ", ".join(f"{k} {v}" for k, v in machine().items()))

    few = random_images(64)
    mlp = TrainSettings(source="cifar10", tau=0.5)
    sam = TrainSettings(source="cifar10", algorithm="sam", rho=0.1)
    report(
        "The authors' MLP, 64 images, full batch, label noise",
        {
            "labelnoise": ours(mlp, few),
            "labelnoise, SAM without label noise (two gradients a step)": ours(sam, few),
            "labelnoise, not rotated": ours(mlp.model_copy(update={"rotate": False}), few),
            "autograd and optimiser on all pixels": notebook(mlp, few),
        },
    )
    many = random_images(5000)
    wide = (
        {"width": 64, "precision": "bf16", "compile": True} if DEVICE == "cuda" else {"width": 16}
    )
    resnet = TrainSettings(
        source="cifar10", train_images=None, network="resnet", loss="cross_entropy",
        batch_size=128, tau=0.1, eta=0.1, steps=1_000_000, **wide,
    )  # fmt: skip
    report(
        f"ResNet-18 of width {resnet.hidden}, batches of 128, label noise",
        {
            "labelnoise": ours(resnet, many),
            "labelnoise, shifts and mirror images": ours(
                resnet.model_copy(update={"augmentation": "crop_flip"}), many
            ),
            "DataLoader, eager float32": notebook(resnet, many),
        },
    )


if __name__ == "__main__":
    main()

"""Train: settings, images and seeds in, an `xarray.Dataset` of curves and the weights out."""

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from labelnoise.config.fields import DIVERGED, snapshot_steps
from labelnoise.labels import Labelled, coordinates, diverged_step

from .checkpoint import Checkpoint
from .observe import PER_SNAPSHOT, Observer
from .settings import TrainSettings
from .steps import Trainer
from .task import arithmetic, prepare

CHECKPOINT_SECONDS = 30.0
"""Between two checkpoints of a training."""

STRIDE = 500
"""Steps, at most, between two looks at the clock."""

Progress = Callable[[int], None]


def train(
    settings: TrainSettings,
    images: xr.Dataset,
    seeds: Sequence[int],
    *,
    device: str = "cpu",
    progress: Progress | None = None,
    checkpoints: Mapping[int, Checkpoint] | None = None,
) -> tuple[xr.Dataset, dict[str, Tensor]]:
    """Train a network on images, once for each seed (paper §4.5).

    A run is a pure function of `settings`, `images` and its seed; on the CPU also to the last bit,
    whether it was interrupted or not. A run whose loss exceeds 10¹⁰ is a result: its
    snapshots from then on are NaN and `diverged_step` holds the step of the first of them.

    Args:
        settings: everything but the seed.
        images: an artifact of images (`labelnoise.train.images`).
        seeds: distinct integers in 0 … 2³²−1.
        device: torch device.
        progress: called now and then with the number of steps taken, over all seeds.
        checkpoints: a file for each seed to go on from, written every half a minute.

    Returns:
        Over (seed, step): `train_loss`, `test_loss`, their accuracies, `distance` (of all
        parameters from their start, relative), `w_norm_mean`, mean and standard deviation of the
        norms' relative change; `ntk_drift` where asked for; `w_norm` over (seed, step, neuron), the
        norms of the first layer's rows; `diverged_step` over (seed); as attributes, how many
        `classes` and `train_images` there were. And the final weights, as `seed=0/first.weight`.

    Raises:
        ValueError: no seeds, or seeds that repeat; settings that the images or the network refuse.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must be distinct and at least one, got {list(seeds)}")
    steps = snapshot_steps(settings)
    runs: list[dict[str, np.ndarray]] = []
    diverged: list[float] = []
    weights: dict[str, Tensor] = {}
    for number, seed in enumerate(seeds):
        done = number * settings.steps

        def report(step: int, done: int = done) -> None:
            if progress is not None:
                progress(done + step)

        run = _Run(settings, images, seed, device, (checkpoints or {}).get(seed))
        recorded, gone = run.finish(steps, report)
        runs.append(recorded)
        diverged.append(gone)
        weights |= {f"seed={seed}/{name}": value for name, value in run.weights().items()}
    labelled = _label(runs, diverged, seeds, steps)
    pool = settings.train_images or images.sizes["train_image"]
    return labelled.assign_attrs(classes=images.sizes["class"], train_images=pool), weights


class _Run:
    """One training, from its checkpoint where there is one."""

    def __init__(
        self,
        settings: TrainSettings,
        images: xr.Dataset,
        seed: int,
        device: str,
        checkpoint: Checkpoint | None,
    ) -> None:
        self._task = prepare(settings, images, seed, device)
        self._device = device
        self._checkpoint = checkpoint
        self._observer = Observer(self._task)
        self._trainer = Trainer(self._task)
        self._recorded: dict[str, list[Tensor]] = {}
        self._saved = time.monotonic()
        if settings.own_network:
            torch.manual_seed(seed)  # what it draws while it is trained, dropout for instance
        if checkpoint is not None and (found := checkpoint.load()) is not None:
            self._restore(*found)

    def finish(self, steps: np.ndarray, report: Progress) -> tuple[dict[str, np.ndarray], float]:
        """Take all steps; the recorded measures, and the step at which it diverged, or NaN."""
        taken = len(next(iter(self._recorded.values()), []))
        with arithmetic(self._task.settings.precision, self._device):
            for number, stop in enumerate(steps.tolist()):
                if number < taken:
                    continue
                while self._trainer.step < stop:
                    self._trainer.advance(min(stop, self._trainer.step + STRIDE))
                    report(self._trainer.step)
                    if time.monotonic() - self._saved > CHECKPOINT_SECONDS:
                        self._save()
                measured = self._observer.measure()
                loss = float(measured["train_loss"])
                if not loss <= DIVERGED:  # true for NaN
                    if not number:
                        raise ValueError(f"seed {self._task.seed}: the first loss is {loss:.3g}")
                    break
                for name, value in measured.items():
                    self._recorded.setdefault(name, []).append(value)
        self._save()
        recorded = {k: torch.stack(v).numpy() for k, v in self._recorded.items()}
        alive = len(recorded["train_loss"])
        return recorded, float(steps[alive]) if alive < len(steps) else float("nan")

    def weights(self) -> dict[str, Tensor]:
        """The weights and buffers, on all pixels, on the CPU."""
        state = self._task.weights(dict(self._trainer.network.state_dict()))
        return {name: value.detach().cpu() for name, value in state.items()}

    def _save(self) -> None:
        if self._checkpoint is None:
            return
        state = {f"network.{k}": v for k, v in self._trainer.network.state_dict().items()}
        state |= {f"velocity.{k}": v for k, v in enumerate(self._trainer.velocity)}
        state |= {f"recorded.{k}": torch.stack(v) for k, v in self._recorded.items()}
        state["random.cpu"] = torch.get_rng_state()
        if self._device.startswith("cuda"):
            state["random.cuda"] = torch.cuda.get_rng_state()
        self._checkpoint.save(self._trainer.step, state)
        self._saved = time.monotonic()

    def _restore(self, step: int, state: Mapping[str, Tensor]) -> None:
        def part(name: str) -> dict[str, Tensor]:
            start = f"{name}."
            return {k.removeprefix(start): v for k, v in state.items() if k.startswith(start)}

        self._trainer.network.load_state_dict(part("network"))
        for number, velocity in part("velocity").items():
            self._trainer.velocity[int(number)].copy_(velocity)
        self._recorded = {name: list(values) for name, values in part("recorded").items()}
        self._trainer.step = step
        torch.set_rng_state(state["random.cpu"])
        if "random.cuda" in state:
            torch.cuda.set_rng_state(state["random.cuda"])


def _label(
    runs: Sequence[Mapping[str, np.ndarray]],
    diverged: Sequence[float],
    seeds: Sequence[int],
    steps: np.ndarray,
) -> xr.Dataset:
    """The runs as a dataset, NaN after divergence."""
    names = PER_SNAPSHOT | {
        "w_norm": ("norm of the first layer's weights into each neuron", "‖w_i‖"),
        "ntk_drift": ("distance of the NTK from its start, over its norm there", "ΔK"),
    }
    variables: dict[str, Labelled] = {}
    # in this order, whatever that of a checkpoint was: the file's bytes depend on it
    for name, (long_name, symbol) in names.items():
        if name not in runs[0]:
            continue
        first = runs[0][name]
        values = np.full((len(runs), len(steps), *first.shape[1:]), np.nan, first.dtype)
        for row, run in zip(values, runs, strict=True):
            row[: len(run[name])] = run[name]
        dims = ("seed", "step", "neuron")[: values.ndim]
        variables[name] = (dims, values, {"long_name": long_name, "symbol": symbol, "units": "1"})
    variables["diverged_step"] = diverged_step(diverged)
    return xr.Dataset(variables, coordinates(seeds, steps))

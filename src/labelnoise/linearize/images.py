"""Networks on images linearised at their start, trained by gradient descent in closed form."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor
from torch.func import vjp

from labelnoise.config.fields import DIVERGED, snapshot_steps
from labelnoise.labels import coordinates, diverged_step
from labelnoise.ntk.function_space import FunctionSpace
from labelnoise.ntk.kernel import empirical_ntk
from labelnoise.ntk.modules import function_of, trained
from labelnoise.train.networks import first_layer_name
from labelnoise.train.noise import mean_shares
from labelnoise.train.observe import PER_SNAPSHOT, norms, outputs, performance
from labelnoise.train.settings import TrainSettings
from labelnoise.train.task import Task, arithmetic, prepare

MEASURED = tuple(PER_SNAPSHOT)


def linearize(
    settings: TrainSettings,
    images: xr.Dataset,
    seeds: Sequence[int],
    *,
    device: str = "cpu",
    say: Callable[[str], None] = lambda text: None,
) -> xr.Dataset:
    """Train the networks linearised at t = 0, once for each seed (paper §4.5).

    f_t = f_0 − K_{·,X} K_XX⁻¹ (I − (I − η K_XX/N)^t)(f_0 − ȳ) with the empirical NTK K and
    N = images × classes. Images and start are those of `labelnoise.train.run.train` for the same
    settings and seed. The labels ȳ are what label noise makes of them on average,
    (1 − τ) y + τ/classes: the linearised network under redrawn labels is this one plus
    fluctuations of mean zero. Without noise they are y. TF32 and bfloat16 are for trainings only:
    here it is float32 in their place.

    Args:
        settings: as for `train`; full-batch gradient descent on the square loss.
        images: an artifact of images (`labelnoise.train.images`).
        seeds: distinct integers in 0 … 2³²−1.
        device: torch device.
        say: called with a line on each seed.

    Returns:
        The measures of `train` over (seed, step), at its steps, NaN from divergence on;
        `eigenvalue` over (seed, mode), the spectrum of K_XX, ascending; `eta_max` over (seed), the
        learning rate at which gradient descent on it stops to converge; `diverged_step`.

    Raises:
        ValueError: the settings or the network have no linearised run; as `train`.
    """
    if not settings.is_linearized:
        raise ValueError(
            "the linearised run is of full-batch gradient descent on the square loss, without SAM, "
            "momentum, weight decay, schedule or batch norm; these settings ask for something else"
        )
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must be distinct and at least one, got {list(seeds)}")
    steps = snapshot_steps(settings)
    runs, spectra, limits = [], [], []
    for seed in seeds:
        with arithmetic("float32", device):
            curves, space = _one(prepare(settings, images, seed, device), steps)
        runs.append(curves)
        spectra.append(space.eigenvalues.cpu().numpy())
        limits.append(space.eta_max)
        say(f"seed {seed}: λ_max = {spectra[-1][-1]:.4g}, stable up to η = {limits[-1]:.4g}")
    return _label(runs, np.array(spectra), np.array(limits), seeds, steps)


@torch.no_grad()
def _one(task: Task, steps: np.ndarray) -> tuple[dict[str, np.ndarray], FunctionSpace]:
    """The curves of one linearised run, and its kernel's spectrum."""
    settings, function = task.settings, function_of(task.network.eval())
    start = trained(task.network)
    memory = settings.ntk_memory * 2**20
    kernel = empirical_ntk(task.network, task.x_train, memory=memory)
    across = empirical_ntk(task.network, task.x_test, task.x_train, memory=memory)
    space = FunctionSpace.from_kernel(kernel)
    f_train, f_test = (
        outputs(lambda x: function(start, x), x) for x in (task.x_train, task.x_test)
    )
    classes = len(task.classes)
    true, other = mean_shares(settings.tau, classes, settings.noise)
    targets = (true - other) * task.target(task.y_train) + other
    eta, time, t = settings.eta, settings.linearisation, torch.from_numpy(steps)
    train, test = space.predict(
        t,
        eta=eta,
        time=time,
        targets=targets,
        train_start=f_train,
        test_start=f_test,
        test_kernel=across,
    )
    coefficients = space.coefficients(t, eta=eta, time=time, errors=f_train - targets)
    moved = torch.einsum("sic,icjd,sjd->s", coefficients, kernel.double(), coefficients)
    curves = {name: np.full(len(steps), np.nan) for name in MEASURED}
    w_norms = _first_layer_norms(task, start, coefficients)
    start_norm = task.w_norm(start[first_layer_name(task.network)])
    for number, (out, out_test, norm) in enumerate(zip(train, test, w_norms, strict=True)):
        found = performance(task, out, out_test)
        if not found["train_loss"] <= DIVERGED:  # true for NaN
            break
        found |= norms(norm, start_norm)
        found["distance"] = float(moved[number].clamp(min=0).sqrt()) / task.start_norm
        for name in MEASURED:
            curves[name][number] = found[name]
    return curves, space


def _first_layer_norms(
    task: Task, start: dict[str, Tensor], coefficients: Float[Tensor, "step image class"]
) -> list[Float[Tensor, "neuron"]]:
    """‖w_i‖ of the linearised network: θ_t = θ_0 − J(X)ᵀ c_t, of which the first layer."""
    name = first_layer_name(task.network)
    function = function_of(task.network)
    pulled = vjp(lambda weight: function({**start, name: weight}, task.x_train), start[name])
    pull = cast(Callable[[Tensor], tuple[Tensor]], pulled[1])
    return [task.w_norm(start[name] - pull(one.to(task.x_train.dtype))[0]) for one in coefficients]


def _label(
    runs: Sequence[dict[str, np.ndarray]],
    spectra: np.ndarray,
    limits: np.ndarray,
    seeds: Sequence[int],
    steps: np.ndarray,
) -> xr.Dataset:
    variables: dict[str, Any] = {
        name: (
            ("seed", "step"),
            np.array([run[name] for run in runs]),
            {"long_name": f"{long_name}, of the linearised network", "symbol": s, "units": "1"},
        )
        for name, (long_name, s) in PER_SNAPSHOT.items()
    }
    alive = np.isfinite(variables["train_loss"][1])
    gone = np.where(alive.all(1), np.nan, steps[np.argmin(alive, 1)])
    variables["diverged_step"] = diverged_step(gone)
    text = {
        "eta_max": ("learning rate at which gradient descent stops to converge", "2N/λ_max", "1"),
        "eigenvalue": ("eigenvalues of the NTK of the training images", "λ", "1"),
    }
    spectral: list[tuple[str, tuple[str, ...], np.ndarray]] = [
        ("eta_max", ("seed",), limits),
        ("eigenvalue", ("seed", "mode"), spectra),
    ]
    for name, dims, values in spectral:
        label = dict(zip(("long_name", "symbol", "units"), text[name], strict=True))
        variables[name] = (dims, values, label)
    return xr.Dataset(variables, coordinates(seeds, steps))

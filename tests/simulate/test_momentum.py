"""SGD with heavy-ball momentum: exactly reduced, and the steps of a well-known optimiser."""

from typing import get_args

import numpy as np
import pytest
import torch

from labelnoise.config.modules import resolve
from labelnoise.simulate.algorithms import ALGORITHMS
from labelnoise.simulate.problem import draw_problem, label_noise, sample_order
from labelnoise.simulate.run import simulate
from labelnoise.simulate.settings import Settings

SHAPES = [
    {"width": 40, "dim": 5, "samples": 12},
    {"width": 3, "dim": 6, "samples": 9},  # fewer neurons than a core
    {"width": 30, "dim": 15, "samples": 7},  # more inputs than samples
]


def given(**more: object) -> Settings:
    return Settings.model_validate(
        {
            **{"algorithm": "momentum", "momentum": 0.8, "eta": 0.004, "sigma": 1.0},
            **{"steps": 400, "snapshots": 9, "trace_neurons": 1, "test_samples": 5},
            **SHAPES[0],
            **more,
        }
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("backend", ["compiled", "torch"])
def test_the_reduction_is_exact(shape: dict[str, int], backend: str) -> None:
    whole = simulate(given(**shape, reduce=False, backend="torch"), [0, 1])
    found = simulate(given(**shape, backend=backend), [0, 1])
    assert np.isnan(found["diverged_step"]).all()
    for name in ("theta", "theta_error", "w_norm_mean", "alignment_mean", "a_rms"):
        np.testing.assert_allclose(found[name], whole[name], rtol=1e-11, atol=1e-13, err_msg=name)
    assert float(abs(found["w_norm_mean"][:, -1] - found["w_norm_mean"][:, 0]).min()) > 1e-4


def test_it_takes_the_steps_of_torchs_optimiser() -> None:
    settings = given()
    problem = draw_problem(settings, 3)
    w, a = (torch.tensor(array, requires_grad=True) for array in (problem.w, problem.a))
    optimiser = torch.optim.SGD([w, a], lr=settings.learning_rate, momentum=settings.momentum)
    order = sample_order(3, settings.samples, 0, settings.steps)
    noise = settings.sigma * label_noise(3, "sign", 0, settings.steps)
    for sample, epsilon in zip(order, noise, strict=True):
        x = torch.tensor(problem.x[sample])
        optimiser.zero_grad()
        (0.5 * (a @ (w @ x) - problem.y[sample] - epsilon) ** 2).backward()
        optimiser.step()
    theta = (w.T @ a).detach().numpy()
    found = simulate(settings, [3])["theta"].isel(seed=0, step=-1)
    np.testing.assert_allclose(found, theta, rtol=1e-11, atol=1e-13)


def test_without_momentum_it_is_sgd() -> None:
    plain = simulate(given(algorithm="sgd"), [0])
    found = simulate(given(momentum=0.0), [0])
    np.testing.assert_allclose(found["theta"], plain["theta"], rtol=1e-12, atol=1e-14)


def test_a_call_may_be_split_anywhere() -> None:
    whole = simulate(given(snapshots=2), [0])
    split = simulate(given(snapshots=401), [0])
    assert (whole["theta"].isel(step=-1) == split["theta"].isel(step=-1)).all()


def test_a_run_that_diverges_ends_before_the_step_that_it_did_not_take() -> None:
    found = simulate(given(eta=0.5, backend="compiled"), [0])
    reference = simulate(given(eta=0.5, backend="torch"), [0])
    assert found["diverged_step"] == reference["diverged_step"]
    assert np.isfinite(found["diverged_step"]).all()


def test_the_table_is_the_settings_and_names_what_there_is() -> None:
    assert set(get_args(Settings.model_fields["algorithm"].annotation)) == ALGORITHMS.keys()
    for algorithm in ALGORITHMS.values():
        for name in (algorithm.step, algorithm.kernel, algorithm.linear_kernel):
            assert name is None or callable(resolve(name))
        assert {*algorithm.reads, *algorithm.arguments} <= Settings.model_fields.keys()
        assert set(algorithm.arguments) <= set(algorithm.reads)

"""Without label noise: the lazy regime in closed form, and what gradient flow conserves."""

import numpy as np
import pytest
import torch

from labelnoise.simulate.problem import draw_problem
from labelnoise.simulate.rules import sgd_step
from labelnoise.simulate.run import simulate
from labelnoise.simulate.settings import Settings

WIDTHS = (64, 256, 1024)
SEEDS = range(4)


def quiet(width):
    return Settings(width=width, sigma=0.0, steps=20_000, snapshots=2, trace_steps=0)


@pytest.fixture(scope="module")
def final():
    """The trained networks of each width; η is below the edge 2/‖K‖ ~ 1/m of all of them."""
    return {width: simulate(quiet(width), SEEDS).isel(step=-1) for width in WIDTHS}


def test_a_wide_network_without_noise_converges_and_stays_lazy(final):
    for width in WIDTHS:
        assert (final[width]["train_loss"] < 1e-15).all()
    assert (final[1024]["displacement"] < 0.01).all()
    largest = [float(final[width]["layer_displacement"].max()) for width in WIDTHS]
    assert largest[0] > 4 * largest[1] > 16 * largest[2]


def test_it_moves_as_far_as_its_linearisation_does(final):
    """Linearised, ΔW = a vᵀ and Δa = W v with (‖a‖² + WᵀW) v = θ* − θ(0) where the loss is 0."""
    errors = []
    for width in WIDTHS:
        moved = final[width]["layer_displacement"].values
        expected = []
        for seed in SEEDS:
            p = draw_problem(quiet(width), seed)
            gram = p.a @ p.a * np.eye(len(p.theta_star)) + p.w.T @ p.w
            v = np.linalg.solve(gram, p.theta_star - p.w.T @ p.a)
            expected.append(np.linalg.norm(p.a) * np.linalg.norm(v) / np.linalg.norm(p.w))
        errors.append(np.abs(moved / expected - 1).max())
    # what is left is of second order in the displacement
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.02


def test_noise_takes_the_same_network_out_of_the_lazy_regime(final):
    noisy = simulate(quiet(256).model_copy(update={"sigma": 4.0}), SEEDS).isel(step=-1)
    assert (noisy["layer_displacement"] > 5 * final[256]["layer_displacement"]).all()


def test_a_step_changes_the_conserved_quantity_at_second_order_only():
    """Δ(WWᵀ − aaᵀ) = η²r²(‖x‖² aaᵀ − Wx(Wx)ᵀ), exactly: the terms of first order cancel."""
    generator = torch.Generator().manual_seed(0)
    w, a, x, target = (
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in ((1, 6, 4), (1, 6), (1, 4), (1,))
    )
    eta = 0.1

    def conserved(w, a):
        return (w[0] @ w[0].T - torch.outer(a[0], a[0])).numpy()

    next_w, next_a, _ = sgd_step(w, a, x, target, torch.tensor([eta], dtype=torch.float64))
    second, hidden, sample = a[0].numpy(), (w[0] @ x[0]).numpy(), x[0].numpy()
    r = second @ hidden - target.item()
    expected = np.outer(second, second) * (sample @ sample) - np.outer(hidden, hidden)
    np.testing.assert_allclose(
        conserved(next_w, next_a) - conserved(w, a), (eta * r) ** 2 * expected, atol=1e-13
    )


def test_the_conserved_quantity_drifts_at_order_eta():
    """‖w_i‖² − a_i² is constant under gradient flow; over the same time η·steps SGD moves it ∝ η.

    The samples come in random order, so the sum of the steps' η²r²(…) is η times a Riemann sum
    of ∫E[r²(…)]dt, whose spread over seeds is of higher order: hence many seeds, few samples and
    a time by which the loss is down.
    """
    time, etas = 2.0, (1e-3, 5e-4, 2.5e-4)
    drifts = []
    for eta in etas:
        settings = Settings(
            **{"width": 20, "dim": 3, "samples": 5, "eta": eta, "sigma": 0.0},
            **{"steps": round(time / eta), "snapshots": 2, "trace_steps": 0},
        )
        runs = simulate(settings, range(32))
        conserved = runs["w_norm"].astype("f8") ** 2 - runs["a"].astype("f8") ** 2
        change = conserved.isel(step=-1) - conserved.isel(step=0)
        drifts.append(float(np.sqrt((change**2).mean())))
    orders = np.log2(np.divide(drifts[:-1], drifts[1:]))
    np.testing.assert_allclose(orders, 1, atol=0.06)
    assert abs(orders[1] - 1) < abs(orders[0] - 1)

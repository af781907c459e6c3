"""The step rule against autograd, against its formula, and its symmetry."""

import numpy as np
import pytest
import torch

from labelnoise.simulate.rules import residual, sgd_step

RUNS, NEURONS, DIM = 3, 6, 4


def batch(dtype=torch.float64, neurons=NEURONS):
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    eta = torch.tensor([0.01, 0.1, 0.3], dtype=dtype)
    return normal(RUNS, neurons, DIM), normal(RUNS, neurons), normal(RUNS, DIM), normal(RUNS), eta


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 2e-6)])
def test_a_step_is_autograd_and_torch_sgd(dtype, tolerance):
    w, a, x, target, eta = batch(dtype)
    next_w, next_a, r = sgd_step(w, a, x, target, eta)
    assert next_w.dtype == next_a.dtype == r.dtype == dtype
    for run in range(RUNS):
        weights = w[run].clone().requires_grad_()
        second = a[run].clone().requires_grad_()
        optimizer = torch.optim.SGD([weights, second], lr=float(eta[run]))
        output = second @ weights @ x[run]
        (0.5 * (output - target[run]) ** 2).backward()
        optimizer.step()
        torch.testing.assert_close(r[run], (output - target[run]).detach(), rtol=0, atol=tolerance)
        torch.testing.assert_close(next_w[run], weights.detach(), rtol=0, atol=tolerance)
        torch.testing.assert_close(next_a[run], second.detach(), rtol=0, atol=tolerance)


def test_a_step_is_the_formula_of_the_paper():
    tensors = batch()
    found = [tensor.numpy() for tensor in sgd_step(*tensors)]
    w, a, x, target, eta = (tensor.numpy() for tensor in tensors)
    for run in range(RUNS):
        r = a[run] @ (w[run] @ x[run]) - target[run]
        expected_w = w[run] - eta[run] * r * np.outer(a[run], x[run])
        expected_a = a[run] - eta[run] * r * (w[run] @ x[run])
        np.testing.assert_allclose(found[0][run], expected_w, rtol=0, atol=1e-14)
        np.testing.assert_allclose(found[1][run], expected_a, rtol=0, atol=1e-14)
        np.testing.assert_allclose(found[2][run], r, rtol=0, atol=1e-14)


def test_the_residual_vanishes_on_the_models_own_output():
    w, a, x, _, _ = batch()
    output = torch.stack([a[i] @ w[i] @ x[i] for i in range(RUNS)])
    r, hidden = residual(w, a, x, output)
    torch.testing.assert_close(r, torch.zeros(RUNS, dtype=torch.float64), rtol=0, atol=1e-14)
    torch.testing.assert_close(hidden, torch.stack([w[i] @ x[i] for i in range(RUNS)]))


def test_a_step_changes_none_of_its_arguments():
    tensors = batch()
    copies = [tensor.clone() for tensor in tensors]
    sgd_step(*tensors)
    assert all(torch.equal(*pair) for pair in zip(tensors, copies, strict=True))


@pytest.mark.parametrize("width", [NEURONS, 50])
def test_a_step_commutes_with_orthonormal_columns(width):
    """The rule run from QP is Q times the rule run from P, for QᵀQ = I."""
    w, a, x, target, eta = batch()
    matrix = np.random.default_rng(1).standard_normal((RUNS, width, NEURONS))
    q = torch.as_tensor(np.linalg.qr(matrix)[0])
    small_w, small_a, small_r = sgd_step(w, a, x, target, eta)
    wide_a = (q @ a[..., None])[..., 0]
    large_w, large_a, large_r = sgd_step(q @ w, wide_a, x, target, eta)
    torch.testing.assert_close(large_w, q @ small_w, rtol=0, atol=1e-13)
    torch.testing.assert_close(large_a, (q @ small_a[..., None])[..., 0], rtol=0, atol=1e-13)
    torch.testing.assert_close(large_r, small_r, rtol=0, atol=1e-13)

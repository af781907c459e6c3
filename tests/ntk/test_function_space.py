"""The closed form against the linear model trained step by step, and the expansion's orders."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from labelnoise.ntk.function_space import FunctionSpace, linearize
from labelnoise.ntk.kernel import empirical_ntk

# torch's own forward mode still calls it
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")

TRAIN, TEST, CLASSES, DIM = 6, 4, 3, 5


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def mlp(p, x):
    return F.linear(torch.erf(F.linear(x, p["w"], p["b"])), p["v"])


def draw(width=40):
    """Parameters of the MLP."""
    return {
        "w": normal(width, DIM, seed=1) / DIM**0.5,
        "b": normal(width, seed=2),
        "v": normal(CLASSES, width, seed=3) / width**0.5,
    }


X, X_TEST, Y = normal(TRAIN, DIM, seed=4), normal(TEST, DIM, seed=5), normal(TRAIN, CLASSES, seed=6)
STEPS = [0, 1, 2, 7, 50, 300]


def space(params, x=X, x_test=X_TEST, y=Y):
    """The decomposed kernel, and what `predict` asks for beside η."""
    kernel = empirical_ntk(mlp, x, params=params, memory=10**8)
    given = {
        "targets": y,
        "train_start": mlp(params, x),
        "test_start": mlp(params, x_test),
        "test_kernel": empirical_ntk(mlp, x_test, x, params=params, memory=10**8),
    }
    return FunctionSpace.from_kernel(kernel), given


def trained(params0, steps, eta, x=X, x_test=X_TEST, y=Y):
    """Outputs of the linear model in its parameters, under explicit gradient descent."""
    linear = linearize(mlp, params0)
    params, train, test = dict(params0), [], []

    def loss(p):
        return 0.5 * ((linear(p, x) - y) ** 2).mean()

    for step in range(max(steps) + 1):
        if step in steps:
            train.append(linear(params, x))
            test.append(linear(params, x_test))
        slope = torch.func.grad(loss)(params)
        params = {name: value - eta * slope[name] for name, value in params.items()}
    return torch.stack(train), torch.stack(test)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.99])
def test_it_is_gradient_descent_on_the_linear_model(share):
    """η at shares of its limit, where every mode decays, and where some alternate."""
    params = draw()
    modes, given = space(params)
    eta = share * modes.eta_max
    train, test = modes.predict(STEPS, eta=eta, **given)
    explicit = trained(params, STEPS, eta)
    torch.testing.assert_close(train, explicit[0], rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(test, explicit[1], rtol=1e-10, atol=1e-11)
    assert (train[-1] - train[0]).abs().max() > 0.1


def test_a_kernel_without_full_rank_is_no_obstacle():
    """Images twice, with labels of their own, and fewer parameters than outputs."""
    x = torch.cat([X, X[:3]])
    y = normal(len(x), CLASSES, seed=9)
    params = draw(width=2)
    modes, given = space(params, x, y=y)
    count = sum(value.numel() for value in params.values())
    assert count < len(modes.eigenvalues)
    assert (modes.eigenvalues >= 0).all()
    for eta in (0.1 * modes.eta_max, 0.9 * modes.eta_max):
        found = modes.predict(STEPS, eta=eta, **given)
        for mine, explicit in zip(found, trained(params, STEPS, eta, x, y=y), strict=True):
            torch.testing.assert_close(mine, explicit, rtol=1e-10, atol=1e-11)
    # at last the error is what no parameter can fit: the part of f_0 − y outside the range of K
    train, test = modes.predict([10**9], eta=0.5 * modes.eta_max, **given)
    null = modes.eigenvectors[:, modes.eigenvalues < 1e-9 * modes.eigenvalues[-1]]
    left = null @ (null.T @ (given["train_start"] - y).flatten())
    torch.testing.assert_close((train[0] - y).flatten(), left, rtol=1e-6, atol=1e-6)
    assert left.abs().max() > 0.1
    assert test.isfinite().all()


def test_eigenvalues_near_zero_are_in_the_limit():
    """(1 − (1 − u)^t)/u for u from 0 to 1.7, against the sum that has no difference."""
    values = torch.tensor([0.0, 1e-300, 1e-17, 1e-9, 1e-3, 0.4, 0.6, 0.99, 1.0, 1.7]).double()
    modes = FunctionSpace(values, torch.eye(10, dtype=torch.float64))
    start, steps = torch.zeros(10, 1, dtype=torch.float64), [0, 1, 2, 5, 9]
    kernel = torch.eye(10, dtype=torch.float64).view(10, 1, 10, 1)
    train, test = modes.predict(
        steps, eta=10.0, targets=start + 1, train_start=start, test_start=start, test_kernel=kernel
    )
    # Σ_{s<t} (1 − u)^s
    expected = torch.stack([sum((1 - values) ** s for s in range(t)) + 0 * values for t in steps])
    torch.testing.assert_close(test[..., 0], expected, rtol=1e-13, atol=0)
    torch.testing.assert_close(train[..., 0], values * expected, rtol=1e-13, atol=0)


def test_continuous_time_is_the_limit_of_small_steps():
    params = draw()
    modes, given = space(params)
    reach = 20 * modes.eta_max
    flow = modes.predict([reach], eta=1.0, time="continuous", **given)
    errors = []
    for count in (400, 800, 1600, 3200):
        found = modes.predict([count], eta=reach / count, **given)
        errors.append([float((a - b).norm()) for a, b in zip(found, flow, strict=True)])
    order = np.polyfit(np.log([400, 800, 1600, 3200]), np.log(errors), 1)[0]
    np.testing.assert_allclose(order, -1, atol=0.05)
    assert np.min(errors) > 1e-8
    # only ηt counts
    same = modes.predict([0.5, 2.5], eta=reach / 2.5, time="continuous", **given)
    torch.testing.assert_close(same[1][1], flow[1][0])
    quarter = modes.predict([1.0], eta=reach / 5, time="continuous", **given)
    torch.testing.assert_close(same[0][0], quarter[0][0])


def test_above_the_limit_it_diverges():
    params = draw()
    modes, given = space(params)
    largest = torch.linalg.eigvalsh(
        empirical_ntk(mlp, X, params=params, memory=10**8).reshape(TRAIN * CLASSES, -1)
    )[-1]
    assert modes.eta_max == pytest.approx(2 * TRAIN * CLASSES / float(largest))
    below = modes.predict([10_000], eta=0.999 * modes.eta_max, **given)[0]
    assert (below - Y).abs().max() < (given["train_start"] - Y).abs().max()
    eta = 1.01 * modes.eta_max
    train, test = modes.predict([0, 300, 10**9], eta=eta, **given)
    explicit = trained(params, [0, 300], eta)
    torch.testing.assert_close(train[:2], explicit[0], rtol=1e-9, atol=0)
    assert (train[1] - Y).abs().max() > 3 * (train[0] - Y).abs().max()
    assert not train[2].isfinite().any()
    assert not test[2].isfinite().any()


def test_no_kernel_no_motion():
    zero = torch.zeros(2, 1, 2, 1)
    modes = FunctionSpace.from_kernel(zero)
    assert modes.eta_max == float("inf")
    start = torch.tensor([[1.0], [2.0]])
    train, test = modes.predict(
        [0, 10**6], eta=5.0, targets=0 * start, train_start=start, test_start=start[:1],
        test_kernel=zero[:1],
    )  # fmt: skip
    assert train.dtype == test.dtype == torch.float64
    assert torch.equal(train, start.double().expand(2, 2, 1))
    assert torch.equal(test, start[:1].double().expand(2, 1, 1))


def test_a_float32_kernel_is_decomposed_in_float64():
    params = draw(width=3)
    kernel = empirical_ntk(mlp, X.repeat(3, 1), params=params, memory=10**8)
    exact = FunctionSpace.from_kernel(kernel)
    rounded = FunctionSpace.from_kernel(kernel.float())
    assert rounded.eigenvalues.dtype == torch.float64
    assert (rounded.eigenvalues >= 0).all()
    difference = (rounded.eigenvalues - exact.eigenvalues).abs().max()
    assert difference < 1e-6 * exact.eigenvalues[-1]


def test_what_is_no_kernel_is_refused():
    bad = torch.eye(4).reshape(2, 2, 2, 2)
    with pytest.raises(ValueError, match=r"the eigenvalue -1 beside its largest, 1; .* below 0"):
        FunctionSpace.from_kernel((bad.view(4, 4) * torch.tensor([1, 1, 1, -1])).view(2, 2, 2, 2))
    with pytest.raises(ValueError, match="below 0"):
        FunctionSpace.from_kernel(-bad)
    with pytest.raises(ValueError, match="not finite"):
        FunctionSpace.from_kernel(bad / 0)


def test_bad_steps_are_refused():
    modes, given = space(draw())
    for steps in ([-1], [0.5]):
        with pytest.raises(ValueError, match=r"whole in discrete time; got"):
            modes.predict(steps, eta=0.1, **given)
    with pytest.raises(ValueError, match="from 0 on"):
        modes.predict([-0.5], eta=0.1, time="continuous", **given)


def test_targets_of_other_images_are_refused():
    modes, given = space(draw())
    with pytest.raises(ValueError, match="K is of 18 outputs, the targets are 15"):
        fewer = {name: given[name][1:] for name in ("targets", "train_start")}
        fewer["test_kernel"] = given["test_kernel"][:, :, 1:]
        modes.predict([1], eta=0.1, **(given | fewer))


def test_the_linearisation_is_exact_where_the_network_is_linear():
    def network(p, x):
        return torch.sin(x) @ p["w"] + p["b"] ** 1 * 2

    start, end = ({"w": normal(DIM, 2, seed=s), "b": normal(2, seed=s + 9)} for s in (1, 2))
    torch.testing.assert_close(linearize(network, start)(end, X), network(end, X))


def test_its_error_is_of_second_order():
    start, direction = draw(), draw()
    direction = {name: normal(*value.shape, seed=31) for name, value in direction.items()}
    linear, sizes, errors = linearize(mlp, start), [1e-1, 1e-2, 1e-3, 1e-4], []
    torch.testing.assert_close(linear(start, X), mlp(start, X))
    for size in sizes:
        moved = {name: value + size * direction[name] for name, value in start.items()}
        errors.append(float((linear(moved, X) - mlp(moved, X)).norm()))
    order = np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    assert order == pytest.approx(2, abs=0.1)

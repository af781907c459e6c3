"""The blocked NTK against whole Jacobians, the analytic kernel of a wide network, and its bound."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from labelnoise.ntk import kernel as ntk
from labelnoise.ntk.jacobian import Jacobian
from labelnoise.ntk.kernel import empirical_ntk, ntk_drift

AMPLE = 10**9


class Erf(nn.Module):
    def forward(self, x):
        return torch.erf(x)


class Residual(nn.Module):
    """A block of a WideResNet without batch statistics."""

    def __init__(self):
        super().__init__()
        self.norm = nn.GroupNorm(2, 4)
        self.first = nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False)
        self.second = nn.Conv2d(6, 6, 3, padding=2, dilation=2)
        self.shortcut = nn.Conv2d(4, 6, 1, stride=2)

    def forward(self, x):
        x = torch.relu(self.norm(x))
        return self.shortcut(x) + self.second(torch.tanh(self.first(x)))


class Awkward(nn.Module):
    """Parameters that are used twice, transposed, grouped, not at all, or at several positions."""

    def __init__(self):
        super().__init__()
        self.shared = nn.Linear(4, 4)
        self.grouped = nn.Conv2d(2, 4, (3, 2), groups=2)
        self.same = nn.Conv2d(4, 4, 3, padding="same")
        self.patches = nn.Conv2d(4, 4, 2)
        self.mix = nn.Parameter(torch.randn(4, 4))
        self.temporal = nn.Conv1d(4, 4, 2)
        self.tokens = nn.Linear(4, 4)
        self.shared_bias = nn.Linear(4, 4)
        self.scale = nn.Parameter(torch.rand(()))
        self.unused = nn.Parameter(torch.rand(3))
        self.normalised = nn.Parameter(torch.randn(3, 4))

    def forward(self, x):
        x = torch.tanh(self.same(self.grouped(x)))
        # the image's own parts as a batch of a convolution
        parts = torch.stack([x, x.flip(-1) ** 2], 1).flatten(0, 1)
        parts = torch.sin(self.patches(parts))
        tokens = parts.view(len(x), 2, *parts.shape[1:]).transpose(1, 2).flatten(2).mT
        tokens = tokens + self.tokens(tokens)
        tokens = tokens + torch.softmax(tokens @ self.mix @ tokens.mT, -1) @ tokens
        tokens = tokens + self.shared(torch.tanh(self.shared(tokens)))
        pooled = F.linear(self.temporal(tokens.mT).mean(-1), self.shared_bias.weight, None)
        pooled = torch.tanh(pooled + self.shared_bias.bias) + self.shared_bias.bias
        pooled = F.linear(bias=self.scale.expand(4), input=pooled, weight=self.shared.weight.T)
        return F.linear(pooled, self.normalised / self.normalised.norm())


NETWORKS = {
    "mlp": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(32, 7), Erf(), nn.Linear(7, 3)), 5),
    "conv": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), Residual(), nn.Tanh(), nn.Flatten(), nn.Linear(24, 3)
        ),
        4,
    ),
    "awkward": (Awkward, 3),
}


def network(name, seed=0, dtype=torch.float64):
    """A pure function, its parameters and its images."""
    torch.manual_seed(seed)
    make, images = NETWORKS[name]
    module = make().to(dtype)
    shape = (2, 4, 4)
    params = dict(module.named_parameters())
    x = torch.randn(images, *shape, dtype=dtype)
    return lambda p, x: functional_call(module, p, (x,)), params, x


def whole(function, params, x1, x2):
    """J(x1) J(x2)ᵀ of whole Jacobians, by autograd's own."""
    values = tuple(value.detach() for value in params.values())

    def jacobian(x):
        def outputs(*values):
            return function(dict(zip(params, values, strict=True)), x)

        parts = torch.autograd.functional.jacobian(outputs, values)
        return torch.cat([part.reshape(*part.shape[:2], -1) for part in parts], 2)

    return torch.einsum("icp,jdp->icjd", jacobian(x1), jacobian(x2))


def images(name, count, seed=1):
    """More images for the same network."""
    return torch.randn(
        count, *network(name)[2].shape[1:], generator=torch.Generator().manual_seed(seed)
    ).double()


@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_that_of_whole_jacobians(name):
    function, params, x = network(name)
    expected = whole(function, params, x, x)
    for kernel in (
        empirical_ntk(function, x, params=params, memory=AMPLE),
        empirical_ntk(function, x, x, params=params, memory=AMPLE),
    ):
        torch.testing.assert_close(kernel, expected, rtol=1e-11, atol=1e-11)
        assert torch.equal(kernel, kernel.permute(2, 3, 0, 1))
    other = images(name, 2)
    kernel = empirical_ntk(function, x, other, params=params, memory=AMPLE)
    torch.testing.assert_close(kernel, whole(function, params, x, other), rtol=1e-11, atol=1e-11)
    assert not kernel.requires_grad


def test_each_network_takes_the_intended_ways():
    ways = {}
    for name in NETWORKS:
        function, params, x = network(name)
        jacobian = Jacobian(function, params, x)
        ways[name] = {layer.weight for layer in jacobian.layers}, set(jacobian.rest)
    assert ways["mlp"] == ({"1.weight", "3.weight"}, set())
    assert ways["conv"][1] == {"1.norm.weight", "1.norm.bias"}
    assert ways["awkward"][0] == {"patches.weight", "tokens.weight", "shared_bias.weight"}
    assert {"shared.weight", "shared_bias.bias", "unused"} <= ways["awkward"][1]


def test_parameters_that_are_left_out_are_constants():
    function, params, x = network("conv")
    some = {name: value for name, value in params.items() if "first" not in name}
    kernel = empirical_ntk(function, x, params=some, memory=AMPLE)
    torch.testing.assert_close(kernel, whole(function, some, x, x), rtol=1e-11, atol=1e-11)


def test_two_names_of_one_tensor_are_two_parameters():
    weight = torch.randn(3, 3, dtype=torch.float64)
    params, x = {"first": weight, "second": weight}, torch.randn(4, 3).double()

    def function(p, x):
        return F.linear(torch.tanh(F.linear(x, p["first"])), p["second"])

    kernel = empirical_ntk(function, x, params=params, memory=AMPLE)
    torch.testing.assert_close(kernel, whole(function, params, x, x), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", ["mlp", "conv", "awkward"])
@pytest.mark.parametrize("symmetric", [True, False])
def test_all_blocks_give_the_same(name, symmetric, monkeypatch):
    function, params, x = network(name)
    other = None if symmetric else images(name, 4)
    expected = empirical_ntk(function, x, other, params=params, memory=AMPLE)
    cases = [(1, 1, 1, 1), (2, 5, 1, 2), (3, 3, 1, 3), (5, 1, 2, 1), (7, 4, 2, 3), (12, 6, 3, 2)]
    for case in cases if name == "mlp" else cases[1:5:3]:
        with monkeypatch.context() as patch:
            patch.setattr(ntk, "_plan", lambda *_, case=case: ntk._Blocks(*case))
            kernel = empirical_ntk(function, x, other, params=params, memory=AMPLE)
        torch.testing.assert_close(kernel, expected, rtol=1e-12, atol=1e-12, msg=str(case))
        if symmetric:
            assert torch.equal(kernel, kernel.permute(2, 3, 0, 1))


@pytest.mark.parametrize("name", NETWORKS)
def test_float32_gives_float32(name):
    function, params, x = network(name)
    expected = empirical_ntk(function, x, params=params, memory=AMPLE)
    function, params, x = network(name, dtype=torch.float32)
    # the same weights and images, rounded
    exact = network(name)
    params = {key: value.detach().float() for key, value in exact[1].items()}
    kernel = empirical_ntk(function, exact[2].float(), params=params, memory=AMPLE)
    assert kernel.dtype == torch.float32
    assert float((kernel - expected).norm() / expected.norm()) < 1e-5


def most_bytes(call):
    """A result and the most bytes allocated at once, itself included, by torch's own profiler."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        result = call()
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return result, int(np.cumsum([event.nbytes() for event in events]).max())


@pytest.mark.parametrize("name", ["mlp", "conv"])
@pytest.mark.parametrize("symmetric", [True, False])
def test_the_bound_on_memory_holds(name, symmetric):
    function, params, x = network(name)
    other = None if symmetric else images(name, 4)
    with pytest.raises(ValueError, match="one output of one image takes") as refused:
        empirical_ntk(function, x, other, params=params, memory=1)
    smallest = int(str(refused.value).split()[-2])
    expected = empirical_ntk(function, x, other, params=params, memory=AMPLE)
    used = []
    for factor in (1, 3, 9, 30):
        memory = factor * smallest
        kernel, most = most_bytes(
            lambda memory=memory: empirical_ntk(function, x, other, params=params, memory=memory)
        )
        torch.testing.assert_close(kernel, expected, rtol=1e-12, atol=1e-12)
        used.append((most - kernel.nbytes) / memory)
    assert max(used) <= 1
    assert max(used) > 0.3  # and it is put to use
    with pytest.raises(ValueError, match=f"memory = {smallest - 1} bytes .* takes {smallest} by"):
        empirical_ntk(function, x, other, params=params, memory=smallest - 1)


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_block_that_a_gpu_has_no_room_for_is_halved(symmetric, monkeypatch):
    function, params, x = network("conv")
    other = None if symmetric else images("conv", 4)
    expected = empirical_ntk(function, x, other, params=params, memory=AMPLE)
    evaluate, room, sizes = Jacobian.evaluate, 4, []

    def limited(self, x, classes):
        rows = len(x) * (classes.stop - classes.start)
        sizes.append(rows)
        if rows > room:
            raise torch.OutOfMemoryError("fake")
        return evaluate(self, x, classes)

    monkeypatch.setattr(Jacobian, "evaluate", limited)
    kernel = empirical_ntk(function, x, other, params=params, memory=AMPLE)
    torch.testing.assert_close(kernel, expected, rtol=1e-12, atol=1e-12)
    assert max(sizes) > room
    assert sizes[-1] <= room


def test_what_fits_nowhere_is_out_of_memory(monkeypatch):
    def none(*_):
        raise torch.OutOfMemoryError("fake")

    function, params, x = network("mlp")
    monkeypatch.setattr(ntk, "_rows", none)
    with pytest.raises(torch.OutOfMemoryError, match="fake"):
        empirical_ntk(function, x, params=params, memory=AMPLE)


def test_it_goes_on_where_it_ran_out(monkeypatch):
    """What is done before the failure is not done again, what was half done is not added twice."""
    function, params, x = network("mlp")
    expected = empirical_ntk(function, x, params=params, memory=AMPLE)
    fill, done = ntk._fill, []

    def failing(flat, start, *args):
        stop = fill(flat, start, *args)
        if len(done) == 2:
            done.append(None)
            raise torch.OutOfMemoryError("fake")
        done.append(start)
        return stop

    monkeypatch.setattr(ntk, "_fill", failing)
    monkeypatch.setattr(ntk, "_plan", lambda *_: ntk._Blocks(6, 3, 1, 3))
    kernel = empirical_ntk(function, x, params=params, memory=AMPLE)
    torch.testing.assert_close(kernel, expected, rtol=1e-12, atol=1e-12)
    assert done == [0, 6, None, 12]


def test_outputs_of_another_form_are_refused():
    with pytest.raises(ValueError, match=r"shape \(1,\) for one image; \(1, classes\)"):
        empirical_ntk(lambda p, x: x @ p["w"], torch.ones(2, 3), params={"w": torch.ones(3)})


def erf_mlp(width, x, seed):
    """Kernels of V erf(Wx + b) + c, of all parameters and of W and b alone."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    dim = x.shape[1]
    first = {"w": normal(width, dim) / math.sqrt(dim), "b": normal(width)}
    second = {"v": normal(2, width) / math.sqrt(width), "c": normal(2)}

    def function(p, x):
        p = first | second | dict(p)
        return F.linear(torch.erf(F.linear(x, p["w"], p["b"])), p["v"], p["c"])

    return (
        empirical_ntk(function, x, params=first | second, memory=AMPLE),
        empirical_ntk(function, x, params=first, memory=AMPLE),
    )


def test_a_wide_mlp_has_the_analytic_kernel():
    """Standard parametrisation: f = V erf(Wx + b) + c, V_cj ~ N(0, 1/m).

    With Σ = x·x'/d + 1 and

        κ = E[erf(u) erf(v)] = 2/π asin(2Σ₁₂/√((1 + 2Σ₁₁)(1 + 2Σ₂₂))),
        κ' = E[erf'(u) erf'(v)] = 4/π/√((1 + 2Σ₁₁)(1 + 2Σ₂₂) − 4Σ₁₂²),

    the first layer gives Σ_j V_cj² erf'erf' (x·x' + 1) → κ' (x·x' + 1), its gradient not divided by
    the fan-in; V and c give m κ + 1. Different classes have 0.
    """
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    sigma = x @ x.T / 6 + 1
    scale = 1 + 2 * sigma.diagonal()
    scale = scale[:, None] * scale
    kappa = 2 / math.pi * torch.asin(2 * sigma / scale.sqrt())
    slope = 4 / math.pi / (scale - 4 * sigma**2).sqrt()
    classes = torch.eye(2, dtype=torch.float64)
    first = torch.einsum("ij,cd->icjd", slope * (x @ x.T + 1), classes)
    widths, errors = [64, 512, 4096], []
    for width in widths:
        second = torch.einsum("ij,cd->icjd", width * kappa + 1, classes)
        found = [erf_mlp(width, x, seed) for seed in range(24)]
        errors.append(
            [
                np.sqrt(np.mean([ntk_drift(first + second, k) ** 2 for k, _ in found])),
                np.sqrt(np.mean([ntk_drift(first, k) ** 2 for _, k in found])),
            ]
        )
        mean = sum(k for _, k in found) / len(found)
        assert ntk_drift(first, mean) < 0.6 * errors[-1][1]
    order = np.polyfit(np.log(widths), np.log(errors), 1)[0]
    np.testing.assert_allclose(order, -0.5, atol=0.08)
    assert np.max(errors[-1]) < 0.055


def test_the_drift_is_relative_to_the_start():
    k0 = torch.randn(3, 2, 3, 2, dtype=torch.float64)
    assert ntk_drift(k0, k0) == 0
    assert ntk_drift(k0, 3 * k0) == pytest.approx(2)
    change = torch.randn(3, 2, 3, 2, dtype=torch.float64)
    expected = np.linalg.norm(change.numpy()) / np.linalg.norm(k0.numpy())
    assert ntk_drift(k0, k0 + change) == pytest.approx(expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", NETWORKS)
def test_a_gpu_gives_the_same(name):
    function, params, x = network(name)
    expected = empirical_ntk(function, x, params=params, memory=AMPLE)
    on_gpu = {key: value.detach().cuda() for key, value in params.items()}
    kernel = empirical_ntk(function, x.cuda(), params=on_gpu, memory=AMPLE)
    torch.testing.assert_close(kernel.cpu(), expected, rtol=1e-10, atol=1e-10)

"""The step rules against naive references, and what SAM's second pass must not do."""

import copy
import math
import shutil

import pytest
import torch
from torch import nn

from labelnoise.train.noise import batches, noisy_labels
from labelnoise.train.steps import Trainer
from labelnoise.train.task import prepare

from .made import Dropping, images, settings

HERE = f"{__package__}.made"


@pytest.fixture(autouse=True)
def _allowed(monkeypatch):
    monkeypatch.setenv("LABELNOISE_ALLOW_MODULES", HERE.partition(".")[0])


def made(**given):
    """A task and its trainer; the network is not rotated."""
    task = prepare(settings(**{"rotate": False} | given), images(), 5, "cpu")
    return task, Trainer(task)


def own(**given):
    """A network with batch norm, and without dropout."""
    chosen = {"network": f"{HERE}:Dropping", "width": None, "network_options": {"rate": 0.0}}
    return made(**chosen | given)


def seen(task, step, batch):
    """The images and labels of a step, drawn one at a time."""
    chosen = torch.arange(12)
    if batch:
        chosen = torch.from_numpy(batches(5, 12, batch, step, 1)[0])
    true = task.y_train[chosen].numpy()[None]
    labels = noisy_labels(true, 5, task.settings.tau, 4, step)[0]
    return task.x_train[chosen], torch.from_numpy(labels)


def naive_loss(task, out, labels):
    if task.settings.loss == "cross_entropy":
        return -torch.log_softmax(out, 1)[range(len(labels)), labels].mean()
    target = torch.zeros_like(out)
    target[range(len(labels)), labels] = 1
    return ((out - target) ** 2).sum() / (2 * out.numel())


def test_gradient_descent_is_the_hand_derived_one():
    task, trainer = made()
    p = {name: value.detach().clone() for name, value in task.network.named_parameters()}
    x, y = task.x_train.flatten(1), torch.eye(4, dtype=torch.float64)[task.y_train]
    for _ in range(10):
        before = x @ p["first.weight"].T + p["first.bias"]
        hidden = torch.erf(before)
        error = (hidden @ p["last.weight"].T + p["last.bias"] - y) / y.numel()
        slope = (error @ p["last.weight"]) * 2 / torch.pi**0.5 * torch.exp(-(before**2))
        for name, gradient in (
            ("last.weight", error.T @ hidden),
            ("last.bias", error.sum(0)),
            ("first.weight", slope.T @ x),
            ("first.bias", slope.sum(0)),
        ):
            p[name] -= 0.3 * gradient
    trainer.advance(10)
    for name, value in task.network.named_parameters():
        torch.testing.assert_close(value.detach(), p[name], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("batch", [None, 5])
@pytest.mark.parametrize(
    "more", [{}, {"momentum": 0.8}, {"weight_decay": 0.1}, {"momentum": 0.8, "weight_decay": 0.1}]
)
def test_sgd_is_torchs(loss, batch, more):
    task, trainer = made(loss=loss, batch_size=batch, tau=0.4, eta=0.1, **more)
    network = copy.deepcopy(task.network)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, **more)
    for step in range(12):
        x, labels = seen(task, step, batch)
        optimizer.zero_grad()
        naive_loss(task, network(x), labels).backward()
        optimizer.step()
    for stop in (1, 5, 12):
        trainer.advance(stop)
        assert trainer.step == stop
    for mine, its in zip(task.network.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("batch", [None, 5])
@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_sam_is_the_gradient_at_the_point_uphill(batch, momentum):
    more = {"tau": 0.4, "momentum": momentum, "eta": 0.1, "weight_decay": 0.01}
    task, trainer = made(algorithm="sam", rho=0.7, batch_size=batch, **more)
    network = copy.deepcopy(task.network)
    velocity = [torch.zeros_like(p) for p in network.parameters()]
    for step in range(8):
        x, labels = seen(task, step, batch)

        def slope(at, x=x, labels=labels):
            return torch.autograd.grad(naive_loss(task, at(x), labels), list(at.parameters()))

        gradient, uphill = slope(network), copy.deepcopy(network)
        norm = sum((g**2).sum() for g in gradient) ** 0.5
        with torch.no_grad():
            for p, g in zip(uphill.parameters(), gradient, strict=True):
                p += 0.7 * g / norm
        gradient = slope(uphill)
        with torch.no_grad():
            for p, g, v in zip(network.parameters(), gradient, velocity, strict=True):
                v.copy_(momentum * v + g + 0.01 * p)
                p -= 0.1 * v
    trainer.advance(8)
    for mine, its in zip(task.network.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-10, atol=1e-12)


def test_sam_without_a_radius_is_sgd_to_the_bit():
    (one, a), (other, b) = made(algorithm="sam", rho=0), made()
    a.advance(5), b.advance(5)
    for mine, its in zip(one.network.parameters(), other.network.parameters(), strict=True):
        assert torch.equal(mine, its)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, nn.InstanceNorm2d])
def test_sams_second_pass_is_not_counted_in_running_statistics(norm):
    task, trainer = own(algorithm="sam", rho=0.5, eta=1e-9)
    layer = norm(4, track_running_stats=True).double()
    task.network.norm = layer
    trainer = Trainer(task)
    alone = copy.deepcopy(task.network).train()
    alone(task.x_train)
    trainer.advance(1)
    assert int(layer.num_batches_tracked) == int(alone.norm.num_batches_tracked)
    torch.testing.assert_close(layer.running_mean, alone.norm.running_mean, rtol=1e-12, atol=0)
    torch.testing.assert_close(layer.running_var, alone.norm.running_var, rtol=1e-12, atol=0)
    assert layer.track_running_stats


def test_sams_second_pass_normalises_by_its_batch():
    task, trainer = own(algorithm="sam", rho=0.5)
    task.network.norm.running_mean += 100  # not to be used
    other, untouched = own(algorithm="sam", rho=0.5)
    trainer.advance(3), untouched.advance(3)
    for mine, its in zip(task.network.parameters(), other.network.parameters(), strict=True):
        assert torch.equal(mine, its)


def test_sam_gives_the_weights_back_to_the_bit():
    task, trainer = own(algorithm="sam", rho=3.0)
    before = [p.detach().clone() for p in task.network.parameters()]
    gradient = trainer._gradient(task.x_train, task.y_train)
    moved = trainer._sam_gradient(task.x_train, task.y_train)
    assert not any(
        torch.equal(*pair) for pair in zip(moved, gradient, strict=True) if pair[0].any()
    )
    assert sum(bool(one.any()) for one in moved) > 4
    for mine, its in zip(task.network.parameters(), before, strict=True):
        assert torch.equal(mine, its)


@pytest.mark.parametrize("rho", [0.1, 1e6])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_gradient_of_zero_moves_nothing(rho, precision):
    task, trainer = made(algorithm="sam", rho=rho, precision=precision)
    with torch.no_grad():  # outputs are 0 but for the bias, and the bias fits the one label
        task.network.last.weight.zero_()
        task.network.first.weight.zero_()
        task.network.first.bias.zero_()
        task.network.last.bias.copy_(torch.eye(4)[1])
    task.y_train[:] = 1
    trainer = Trainer(task)
    before = [p.detach().clone() for p in task.network.parameters()]
    trainer.advance(3)
    for mine, its in zip(task.network.parameters(), before, strict=True):
        assert torch.equal(mine, its)


def test_what_is_not_used_or_not_trained_stays():
    task, trainer = own(momentum=0.5, algorithm="sam")
    assert isinstance(task.network, Dropping)
    task.network.last.weight.requires_grad_(False)
    trainer = Trainer(task)
    last, first = task.network.last.weight.clone(), task.network.first.weight.detach().clone()
    trainer.advance(5)
    assert torch.equal(task.network.unused, torch.ones(3, dtype=torch.float64))
    assert torch.equal(task.network.last.weight, last)
    assert not torch.equal(task.network.first.weight, first)
    assert task.network.training


def test_a_cosine_schedule_is_half_a_cosine():
    task, trainer = made(eta_schedule="cosine", steps=20)
    other, constant = made()
    rates = [0.3 * (1 + math.cos(math.pi * step / 20)) / 2 for step in range(20)]
    network = other.network
    for rate in rates:
        gradient = constant._gradient(other.x_train, other.y_train)
        with torch.no_grad():
            for p, g in zip(network.parameters(), gradient, strict=True):
                p -= rate * g
    trainer.advance(20)
    for mine, its in zip(task.network.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-11, atol=1e-13)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_network_takes_the_same_steps():
    def state(**given):
        _, trainer = own(network=f"{HERE}:Tied", network_options={}, **given)
        trainer.advance(3)
        return trainer.network.state_dict()

    plain, compiled = state(), state(compile=True)
    assert plain.keys() == compiled.keys()
    for name, value in plain.items():
        torch.testing.assert_close(compiled[name], value, rtol=1e-9, atol=1e-12)

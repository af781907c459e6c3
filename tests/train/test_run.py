"""A training's dataset: its layout, and its measures against naive ones."""

import numpy as np
import pytest
import torch
import xarray as xr

from labelnoise.config.fields import snapshot_steps
from labelnoise.train.networks import build
from labelnoise.train.observe import PER_SNAPSHOT
from labelnoise.train.steps import Trainer
from labelnoise.train.task import arithmetic, prepare

from .made import assert_same, curves, images, settings

HERE = f"{__package__}.made"
RESNET = {"network": "wide_resnet", "width": 1}


@pytest.fixture(autouse=True)
def _allowed(monkeypatch):
    monkeypatch.setenv("LABELNOISE_ALLOW_MODULES", HERE.partition(".")[0])


def own(name="Dropping", **given):
    return settings(**{"network": f"{HERE}:{name}", "width": None} | given)


def test_the_layout_and_the_labels():
    found, weights = curves(settings(ntk_drift=True), seeds=[4, 2])
    assert set(found.data_vars) == {*PER_SNAPSHOT, "w_norm", "ntk_drift", "diverged_step"}
    assert dict(found.sizes) == {"seed": 2, "step": 5, "neuron": 8}
    for name, variable in found.variables.items():
        assert variable.attrs["long_name"], name
        units = "step" if name in ("step", "diverged_step") else "1"
        assert variable.attrs["units"] == units, name
        assert "symbol" in variable.attrs or name in ("seed", "step", "diverged_step"), name
    for name in (*PER_SNAPSHOT, "ntk_drift"):
        assert found[name].dims == ("seed", "step") and found[name].dtype == np.float64, name
    assert found["w_norm"].dims == ("seed", "step", "neuron")
    assert found["seed"].values.tolist() == [4, 2]
    assert found["step"].values.tolist() == [0, 5, 10, 15, 20]
    assert found.attrs["classes"] == 4 and found.attrs["train_images"] == 12
    assert np.isnan(found["diverged_step"]).all()
    names = ("first.weight", "first.bias", "last.weight", "last.bias")
    assert set(weights) == {f"seed={seed}/{name}" for seed in (4, 2) for name in names}


def test_a_seed_is_the_same_whichever_it_is_trained_with():
    both, weights = curves(settings(tau=0.5, batch_size=5), seeds=[1, 0])
    for seed in (0, 1):
        alone, its = curves(settings(tau=0.5, batch_size=5), seeds=[seed])
        xr.testing.assert_identical(both.sel(seed=[seed]), alone)
        for name, value in its.items():
            assert torch.equal(value, weights[name])


@pytest.mark.parametrize("kind", ["mlp", "wide_resnet", "cross_entropy", "own", "few_measured"])
def test_every_snapshot_is_what_a_naive_measure_finds(kind):
    chosen = {
        "mlp": settings(tau=0.3),
        "wide_resnet": settings(**RESNET, steps=4, snapshots=3),
        "cross_entropy": settings(loss="cross_entropy", spacing="log"),
        "own": own(batch_size=5),
        "few_measured": settings(measured_images=3),
    }[kind]
    found, weights = curves(chosen, seeds=[1])
    # the plain network, of all pixels, trained beside
    task = prepare(chosen.model_copy(update={"rotate": False}), images(), 1, "cpu")
    network, trainer = task.network, Trainer(task)
    torch.manual_seed(1)
    start = {name: p.detach().clone() for name, p in network.named_parameters()}
    first = next(name for name, p in start.items() if p.ndim > 1)
    norms = [row.norm() for row in start[first].flatten(1)]
    for number, step in enumerate(snapshot_steps(chosen).tolist()):
        trainer.advance(step)
        network.eval()
        one = found.isel(seed=0, step=number)
        some = chosen.measured_images
        sets = (task.x_train[:some], task.y_train[:some]), (task.x_test, task.y_test)
        for name, (x, y) in zip(("train", "test"), sets, strict=True):
            losses, right = [], []
            for image, label in zip(x, y, strict=True):
                out = network(image[None])[0].detach().numpy()
                if chosen.loss == "mse":
                    losses.append(((out - np.eye(4)[label]) ** 2).mean() / 2)
                else:
                    losses.append(np.log(np.exp(out).sum()) - out[label])
                right.append(out.argmax() == int(label))
            assert float(one[f"{name}_loss"]) == pytest.approx(np.mean(losses), rel=1e-9)
            assert float(one[f"{name}_accuracy"]) == pytest.approx(np.mean(right))
        now = {name: p.detach() for name, p in network.named_parameters()}
        moved = sum(float(((now[name] - p) ** 2).sum()) for name, p in start.items()) ** 0.5
        whole = sum(float((p**2).sum()) for p in start.values()) ** 0.5
        assert float(one["distance"]) == pytest.approx(moved / whole, rel=1e-7, abs=1e-12)
        rows = np.array([float(row.norm()) for row in now[first].flatten(1)])
        np.testing.assert_allclose(one["w_norm"], rows, rtol=1e-6)
        change = rows / np.array([float(n) for n in norms]) - 1
        wanted = {"w_norm_mean": rows, "norm_change_mean": change}
        for name, values in wanted.items():
            assert float(one[name]) == pytest.approx(values.mean(), rel=1e-7, abs=1e-12)
        assert float(one["norm_change_std"]) == pytest.approx(change.std(), rel=1e-7, abs=1e-12)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(weights[f"seed=1/{name}"], value, rtol=1e-9, atol=1e-11)


def test_the_first_snapshot_is_the_start():
    found, _ = curves(settings(**RESNET, steps=2, snapshots=2, precision="float32"))
    task = prepare(settings(**RESNET, precision="float32"), images(), 0, "cpu")
    network = build(settings(**RESNET), (3, 10, 10), 4, 0)
    error = network(task.x_train.contiguous()) - torch.eye(4)[task.y_train]
    start = found.isel(step=0)
    assert float(start["train_loss"][0]) == pytest.approx(float((error**2).mean() / 2), rel=1e-5)
    for name in ("distance", "norm_change_mean", "norm_change_std"):
        assert float(start[name][0]) == 0


def test_a_run_that_diverges_is_a_result():
    # a gradient that is too long for the first, and an infinite loss at last
    found, weights = curves(settings(eta=60.0, steps=400, snapshots=81), seeds=[0, 1])
    fine, _ = curves(settings(eta=0.3, steps=400, snapshots=81))
    assert np.isnan(fine["diverged_step"]).all()
    for number in range(2):
        step = float(found["diverged_step"][number])
        assert step in found["step"].values and step > 0
        for name in set(found.data_vars) - {"diverged_step"}:
            one = found[name].isel(seed=number)
            assert one.sel(step=slice(step, None)).isnull().all(), name
            assert one.sel(step=slice(0, step - 1)).notnull().all(), name
    assert len(weights) == 8


@pytest.mark.parametrize("seeds", [[], [1, 1]])
def test_seeds_are_distinct_and_at_least_one(seeds):
    with pytest.raises(ValueError, match="seeds must be distinct and at least one"):
        curves(settings(), seeds=seeds)


def test_a_loss_that_is_infinite_at_the_start_is_an_error():
    source = images()
    chosen = own("Infinite")
    with pytest.raises(ValueError, match="seed 0: the first loss is inf"):
        curves(chosen, source)


def test_progress_is_told_over_all_seeds():
    told = []
    curves(settings(), seeds=[0, 1, 2], progress=told.append)
    assert told == list(range(5, 61, 5))
    told.clear()
    curves(settings(steps=1200, snapshots=2), progress=told.append)
    assert told == [500, 1000, 1200]


@pytest.mark.parametrize("network", [{}, RESNET])
def test_less_precise_arithmetic_is_nearly_the_same(network):
    given = network | {"steps": 10, "snapshots": 2, "eta": 0.1, "ntk_drift": True}
    found = {
        precision: curves(settings(**given, precision=precision), seeds=[0, 1, 2])[0]
        for precision in ("float64", "float32", "tf32", "bf16")
    }
    exact = found["float64"]
    drop = (exact["train_loss"][:, 0] - exact["train_loss"][:, -1]).values
    assert (drop > 0.05).all()  # it learns much more than the tolerance
    # rounding, another on each kind of CPU, can take one ReLU over its kink, where the NTK jumps:
    # rare, so that two seeds of three must agree
    for precision, within in (("float32", 1e-4), ("tf32", 1e-3), ("bf16", 0.1)):
        for name in ("train_loss", "distance", "ntk_drift", "w_norm_mean"):
            error = abs(found[precision][name] - exact[name]).max("step") / abs(exact[name]).max()
            assert float(error.median()) < within, (precision, name, error.values)
    assert not np.array_equal(found["bf16"]["train_loss"], found["float32"]["train_loss"])
    assert all(float(one["ntk_drift"][0, 0]) == 0 for one in found.values())


def test_arithmetic_leaves_torch_as_it_was():
    def state():
        cudnn = torch.backends.cudnn
        precision = torch.get_float32_matmul_precision()
        return precision, cudnn.allow_tf32, cudnn.benchmark, torch.is_autocast_enabled("cpu")

    before = state()
    for precision in ("float32", "tf32", "bf16", "float64"):
        with pytest.raises(KeyError), arithmetic(precision, "cpu"):
            assert torch.is_autocast_enabled("cpu") == (precision == "bf16")
            raise KeyError
        assert state() == before


@pytest.mark.parametrize("kind", ["mlp", "own", "tied", "normalised"])
def test_the_ntk_drift_is_that_of_naive_jacobians(kind):
    network = {
        "mlp": {},
        "own": {"network": f"{HERE}:Dropping", "network_options": {"norm": "group"}},
        "tied": {"network": f"{HERE}:Tied"},
        "normalised": {"network": f"{HERE}:Normalised"},
    }[kind]
    width = None if network else 8
    chosen = settings(**network, width=width, ntk_drift=True, rotate=False, steps=6, snapshots=2)
    found, _ = curves(chosen)
    task = prepare(chosen, images(), 0, "cpu")

    def kernel():
        task.network.eval()
        rows = []
        moved = [p for p in task.network.parameters() if p.requires_grad]
        for out in task.network(task.x_train).flatten():
            slopes = torch.autograd.grad(out, moved, retain_graph=True, materialize_grads=True)
            rows.append(torch.cat([slope.flatten() for slope in slopes]))
        jacobian = torch.stack(rows)
        return jacobian @ jacobian.T

    start, trainer = kernel(), Trainer(task)
    torch.manual_seed(0)
    trainer.advance(6)
    drift = float((kernel() - start).norm() / start.norm())
    assert drift > 1e-3
    assert float(found["ntk_drift"][0, 0]) == 0
    assert float(found["ntk_drift"][0, 1]) == pytest.approx(drift, rel=1e-8)


def test_a_users_network_with_dropout_is_a_function_of_its_seed():
    chosen = own(batch_size=5, tau=0.3)
    assert_same(curves(chosen, seeds=[0, 1]), curves(chosen, seeds=[0, 1]))
    with_rate, without = (
        curves(own(network_options={"rate": rate}))[1]["seed=0/last.weight"] for rate in (0.3, 0.0)
    )
    assert not torch.equal(with_rate, without)


def test_a_frozen_layer_and_a_shared_weight_stay_so():
    found, weights = curves(own("Tied"))
    start = prepare(own("Tied"), images(), 0, "cpu").network
    assert torch.equal(weights["seed=0/frozen.weight"], start.frozen.weight)
    assert torch.equal(weights["seed=0/one.weight"], weights["seed=0/two.weight"])
    assert not torch.equal(weights["seed=0/one.weight"], start.one.weight)
    assert found.sizes["neuron"] == 6


@pytest.mark.parametrize("algorithm", ["sgd", "sam"])
@pytest.mark.parametrize(
    "network",
    [
        {"network": f"{HERE}:Dropping", "network_options": {"norm": "group", "rate": 0.0}},
        {"network": f"{HERE}:Normalised"},
        {"network": f"{HERE}:Tied"},
        {"network": f"{HERE}:Recurrent"},
    ],
)
def test_a_users_network_is_trained_as_a_naive_loop_trains_it(network, algorithm):
    chosen = settings(**network, width=None, steps=8, algorithm=algorithm, rho=0.05)
    _, weights = curves(chosen)
    task = prepare(chosen, images(), 0, "cpu")
    named = {n: p for n, p in task.network.named_parameters() if p.requires_grad}

    def slopes():
        error = task.network(task.x_train) - torch.eye(4, dtype=torch.float64)[task.y_train]
        loss = (error**2).mean() / 2
        return torch.autograd.grad(loss, list(named.values()), materialize_grads=True)

    for _ in range(8):
        gradient, before = slopes(), [p.detach().clone() for p in named.values()]
        if algorithm == "sam":
            length = sum(float((g**2).sum()) for g in gradient) ** 0.5
            with torch.no_grad():
                for p, g in zip(named.values(), gradient, strict=True):
                    p += 0.05 * g / length
            gradient = slopes()
        with torch.no_grad():
            for p, start, g in zip(named.values(), before, gradient, strict=True):
                p.copy_(start - chosen.eta * g)
    for name, p in named.items():
        torch.testing.assert_close(weights[f"seed=0/{name}"], p.detach(), rtol=1e-9, atol=1e-11)

"""The linearised network is the one that explicit training of the linear model ends at."""

import numpy as np
import pytest
import torch

from labelnoise.config.fields import DIVERGED
from labelnoise.linearize.images import linearize
from labelnoise.train.images import digits
from labelnoise.train.observe import PER_SNAPSHOT
from labelnoise.train.run import train
from labelnoise.train.settings import TrainSettings
from labelnoise.train.task import prepare

from ..train.made import images, settings

HERE = f"{(__package__ or '').rpartition('.')[0]}.train.made"


@pytest.fixture(autouse=True)
def _allowed(monkeypatch):
    monkeypatch.setenv("LABELNOISE_ALLOW_MODULES", HERE.partition(".")[0])


def trained_explicitly(chosen, seed):
    """Gradient descent on the linear model of the plain network, step by step."""
    task = prepare(chosen.model_copy(update={"rotate": False}), images(), seed, "cpu")
    network = task.network.eval()
    start = {n: p.detach().clone() for n, p in network.named_parameters() if p.requires_grad}
    moved = [p for p in network.parameters() if p.requires_grad]

    def linear(x):
        """f(x) + J(x) (θ − θ_0), each row of J by itself."""
        out, rows = network(x), []
        for one in out.flatten():
            slopes = torch.autograd.grad(one, moved, retain_graph=True, materialize_grads=True)
            rows.append(torch.cat([slope.flatten() for slope in slopes]))
        jacobian = torch.stack(rows)

        def function(now):
            steps = torch.cat([(now[name] - p).flatten() for name, p in start.items()])
            return out.detach() + (jacobian @ steps).view_as(out)

        return function

    on_train, on_test = linear(task.x_train), linear(task.x_test)
    y = torch.eye(4, dtype=torch.float64)[task.y_train]
    if chosen.noise == "flip":
        y = (1 - chosen.tau) * y + chosen.tau * (1 - y) / 3
    else:
        y = (1 - chosen.tau) * y + chosen.tau / 4
    now = {name: p.clone().requires_grad_() for name, p in start.items()}
    first = next(name for name, p in start.items() if p.ndim > 1)
    whole = sum(float((p.detach() ** 2).sum()) for p in network.parameters()) ** 0.5
    rows = []
    for _ in range(chosen.steps + 1):
        out = on_train(now)
        row = {"w_norm": now[first].detach().flatten(1).norm(dim=1)}
        row["distance"] = (
            sum(float((now[n].detach() - p).square().sum()) for n, p in start.items()) ** 0.5
        )
        row["distance"] /= whole
        sets = (out, task.y_train), (on_test(now), task.y_test)
        for name, (f, labels) in zip(("train", "test"), sets, strict=True):
            target = torch.eye(4, dtype=torch.float64)[labels]
            row[f"{name}_loss"] = float(((f.detach() - target) ** 2).mean() / 2)
            row[f"{name}_accuracy"] = float((f.argmax(1) == labels).double().mean())
        rows.append(row)
        loss = ((out - y) ** 2).mean() / 2
        slopes = torch.autograd.grad(loss, list(now.values()), materialize_grads=True)
        with torch.no_grad():
            for p, slope in zip(now.values(), slopes, strict=True):
                p -= chosen.eta * slope
    return rows


CASES = {
    "mlp": {"eta": 0.1},
    "all_pixels": {"rotate": False, "eta": 0.1},
    "noise": {"tau": 0.6, "eta": 0.1},
    "flipped": {"tau": 0.6, "eta": 0.1, "noise": "flip"},
    "log": {"spacing": "log", "eta": 0.1},
    "ntk": {"parametrization": "ntk", "eta": 0.1},
    "little_memory": {"ntk_memory": 1, "eta": 0.1},
    "wide_resnet": {"network": "wide_resnet", "width": 1, "eta": 0.02, "steps": 6, "snapshots": 4},
    "own": {"network": f"{HERE}:Tied", "width": None},
    "dropout": {
        **{"network": f"{HERE}:Dropping", "width": None},
        "network_options": {"norm": "group"},
    },
    "frozen_statistics": {"network": f"{HERE}:Frozen", "width": None},
    "weight_norm": {"network": f"{HERE}:Normalised", "width": None, "eta": 0.004},
    "recurrent_cell": {"network": f"{HERE}:RecurrentCell", "width": None},
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_what_training_the_linear_model_gives(case):
    chosen = settings(**CASES[case])
    found = linearize(chosen, images(), [0, 3])
    for number, seed in enumerate((0, 3)):
        rows = trained_explicitly(chosen, seed)
        one = found.isel(seed=number)
        assert rows[-1]["train_loss"] < 0.9 * rows[0]["train_loss"]  # it does learn
        for position, step in enumerate(found["step"].values):
            row, start = rows[step], rows[0]["w_norm"]
            change = row["w_norm"] / start - 1
            row |= {
                "w_norm_mean": float(row["w_norm"].mean()),
                "norm_change_mean": float(change.mean()),
                "norm_change_std": float(change.std(correction=0)),
            }
            for name in PER_SNAPSHOT:
                value = float(one[name][position])
                assert value == pytest.approx(row[name], rel=1e-8, abs=1e-10), (name, step)


def test_it_starts_where_the_network_does():
    chosen = settings(tau=0.5)
    found, (network, _) = linearize(chosen, images(), [5]), train(chosen, images(), [5])
    for name in PER_SNAPSHOT:
        start, own = float(found[name][0, 0]), float(network[name][0, 0])
        assert start == pytest.approx(own, rel=1e-12, abs=1e-12), name
        assert found[name].attrs["units"] == "1" and "linearised" in found[name].attrs["long_name"]


@pytest.mark.parametrize("tau", [0.5, 1.0])
def test_under_noise_it_ends_at_the_mean_label(tau):
    chosen = settings(tau=tau, steps=10**7, snapshots=2, eta=0.1)
    end = float(linearize(chosen, images(), [0])["train_loss"][0, -1])
    assert end == pytest.approx(tau**2 * 3 / 4**2 / 2, rel=1e-3)


def test_continuous_time_is_the_limit_of_small_steps():
    def last(**given):
        found = linearize(settings(snapshots=2, **given), images(), [0])
        return found.isel(step=-1)[["train_loss", "distance", "w_norm_mean", "test_loss"]]

    limit = last(eta=0.2, steps=10, linearisation="continuous")
    errors = []
    for finer in (1, 10, 100):
        near = last(eta=0.2 / finer, steps=10 * finer)
        errors.append(max(float(abs(near[n] - limit[n]).max()) for n in limit))
    assert 5 < errors[0] / errors[1] < 20 and 8 < errors[1] / errors[2] < 12


def test_the_error_of_linearisation_falls_with_the_width():
    errors = []
    for width in (64, 1024):
        chosen = TrainSettings(
            **{"width": width, "parametrization": "ntk", "train_images": 8, "test_images": 20},
            **{"steps": 100, "snapshots": 3, "eta": 0.5, "precision": "float64"},
        )
        seeds = range(4)
        linear, (network, _) = (
            linearize(chosen, digits(), seeds),
            train(chosen, digits(), seeds),
        )
        gap = abs(linear["test_loss"] - network["test_loss"]).isel(step=-1)
        errors.append(float(gap.mean()))
        assert float(network["train_loss"][:, -1].max()) < 0.2 * float(network["train_loss"].max())
    # of order 1/√width of the NTK in this parametrisation, for outputs of order 1
    assert 2 < errors[0] / errors[1] < 16


def test_eta_max_is_where_gradient_descent_stops_to_converge():
    found = linearize(settings(), images(), [0, 1])
    eigenvalues = found["eigenvalue"].values
    assert eigenvalues.shape == (2, 12 * 4)
    assert (np.diff(eigenvalues, axis=1) >= 0).all() and (eigenvalues >= 0).all()
    for number in range(2):
        limit = float(found["eta_max"][number])
        assert limit == pytest.approx(2 * 48 / eigenvalues[number, -1])
        losses = {}
        for share in (0.99, 1.01):
            given = {"steps": 500, "snapshots": 3, "eta": share * limit}
            run = linearize(settings(**given), images(), [number])
            losses[share] = run["train_loss"].values[0]
        assert losses[0.99][-1] < losses[0.99][0] < losses[1.01][1] < losses[1.01][2]


def test_one_that_diverges_says_when_and_is_nan_from_there():
    found = linearize(settings(eta=1000.0, steps=2000), images(), [0, 1])
    fine = linearize(settings(), images(), [0])
    assert np.isnan(fine["diverged_step"]).all()
    for number in range(2):
        step = float(found["diverged_step"][number])
        assert step in found["step"].values[1:]
        for name in PER_SNAPSHOT:
            one = found[name].isel(seed=number)
            assert (one.isnull() == (found["step"] >= step)).all(), name


def test_it_diverges_where_a_training_does_and_not_where_numbers_end():
    limit = float(linearize(settings(), images(), [0])["eta_max"][0])
    given = {"eta": 1.02 * limit, "steps": 500, "snapshots": 501}
    found = linearize(settings(**given), images(), [0])
    step = int(found["diverged_step"][0])
    loss = found["train_loss"].values[0]
    assert DIVERGED / 2 < loss[step - 1] <= DIVERGED
    assert np.isnan(loss[step:]).all()


def test_bfloat16_is_not_for_the_kernel():
    one, other = (
        linearize(settings(precision=precision), images(), [0]) for precision in ("float32", "bf16")
    )
    assert one.identical(other)


@pytest.mark.parametrize(
    "given",
    [
        {"algorithm": "sam"},
        {"batch_size": 5},
        {"momentum": 0.5},
        {"weight_decay": 0.1},
        {"loss": "cross_entropy"},
        {"eta_schedule": "cosine"},
        {"rotate": False, "augmentation": "crop"},
        {"network": "resnet", "width": 4},
    ],
)
def test_settings_without_a_linearised_run_are_refused(given):
    with pytest.raises(ValueError, match="the linearised run is of full-batch gradient descent"):
        linearize(settings(**given), images(), [0])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("Dropping", {}, r"Dropping has no NTK .*: its BatchNorm2d \(norm\) makes .* GroupNorm"),
        ("Recurrent", {}, r"Recurrent has no NTK .* LSTM \(rows\) .*LSTMCell"),
        ("Recurrent", {"kind": "GRU"}, r"GRU \(rows\) .*GRUCell"),
        ("Recurrent", {"kind": "RNN"}, r"RNN \(rows\) .*RNNCell"),
    ],
)
def test_a_users_network_without_a_linearisation_is_refused(name, options, message):
    chosen = settings(network=f"{HERE}:{name}", width=None, network_options=options)
    with pytest.raises(ValueError, match=f"network: {message}" if options == {} else message):
        linearize(chosen, images(), [0])
    with pytest.raises(ValueError, match=message):
        train(chosen.model_copy(update={"ntk_drift": True}), images(), [0])


def test_sam_without_a_radius_is_gradient_descent():
    sam = linearize(settings(algorithm="sam", rho=0), images(), [0])
    assert sam.identical(linearize(settings(), images(), [0]))


@pytest.mark.parametrize("seeds", [[], [2, 2]])
def test_seeds_are_distinct_and_at_least_one(seeds):
    with pytest.raises(ValueError, match="seeds must be distinct and at least one"):
        linearize(settings(), images(), seeds)


def test_it_says_a_line_on_each_seed():
    said = []
    linearize(settings(), images(), [3, 1], say=said.append)
    assert [line.partition(":")[0] for line in said] == ["seed 3", "seed 1"]

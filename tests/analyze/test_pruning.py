"""Pruned networks are tested as they are, from the weights that a training left."""

import numpy as np
import pytest
import torch

from labelnoise.analyze.pruning import headline, prune
from labelnoise.analyze.sparsity import effective_rank, magnitude_prune
from labelnoise.train.task import prepare

from ..train.made import curves, images, settings

RESNET = settings(
    **{"network": "resnet", "width": 4, "depth": 10, "loss": "cross_entropy", "batch_size": 6},
    **{"steps": 30, "eta": 0.1},
)
CHANNELS, WEIGHTS = [0.5, 1.0, 0.25], [0.3, 1.0]


@pytest.fixture(scope="module")
def trained():
    return curves(RESNET, seeds=[0, 5])


@pytest.fixture(scope="module")
def pruned(trained):
    shares = {"channels_kept": CHANNELS, "weights_kept": WEIGHTS}
    return prune(RESNET, images(), trained[1], [0, 5], **shares)


def network_of(trained, seed):
    network = prepare(RESNET, images(), seed, "cpu").network
    start = f"seed={seed}/"
    state = {k[len(start) :]: v for k, v in trained[1].items() if k.startswith(start)}
    network.load_state_dict(state)
    return network.eval()


def accuracy(network, seed):
    task = prepare(RESNET, images(), seed, "cpu")
    with torch.no_grad():
        out = network(task.x_test)
    right = float((out.argmax(1) == task.y_test).double().mean())
    return right, float(torch.nn.functional.cross_entropy(out, task.y_test))


def test_nothing_pruned_is_the_trained_network(trained, pruned):
    for method, dim in (("merged", "channels_kept"), ("magnitude", "weights_kept")):
        whole = pruned.sel({dim: 1.0})
        np.testing.assert_array_equal(whole[f"{method}_parameters"], 1)
        for seed in (0, 5):
            one, last = whole.sel(seed=seed), trained[0].sel(seed=seed).isel(step=-1)
            assert float(one[f"{method}_test_accuracy"]) == float(last["test_accuracy"])
            assert float(one[f"{method}_test_loss"]) == pytest.approx(float(last["test_loss"]))


def test_magnitude_pruning_is_tested_as_a_plain_evaluation_would(trained, pruned):
    for seed in (0, 5):
        network, share = magnitude_prune(network_of(trained, seed), 0.3)
        one = pruned.sel(seed=seed, weights_kept=0.3)
        right, loss = accuracy(network, seed)
        assert float(one["magnitude_parameters"]) == share < 0.5
        assert float(one["magnitude_test_accuracy"]) == right
        assert float(one["magnitude_test_loss"]) == pytest.approx(loss)


def test_fewer_channels_are_fewer_parameters_and_operations(pruned):
    assert pruned["channels_kept"].values.tolist() == [1.0, 0.5, 0.25]
    for name in ("merged_parameters", "merged_multiply_adds"):
        assert (pruned[name].diff("channels_kept") < 0).all()
    # half the channels of a convolution on both sides
    half = pruned["merged_parameters"].sel(channels_kept=0.5)
    assert ((half > 0.2) & (half < 0.35)).all()


def test_sparsity_is_measured_by_layer(trained, pruned):
    weight = dict(network_of(trained, 5).named_modules())["stages.1.0.second.conv"].weight
    found = pruned["effective_rank"].sel(seed=5, layer="stages.1.0.second.conv")
    assert float(found) == pytest.approx(effective_rank(weight) / 8)
    assert ((pruned["participation_ratio"] > 0) & (pruned["participation_ratio"] <= 1)).all()


def test_a_training_that_diverged_is_missing_and_the_others_are_not(trained, pruned):
    weights = dict(trained[1])
    weights["seed=0/head.weight"] = torch.full_like(weights["seed=0/head.weight"], torch.nan)
    shares = {"channels_kept": CHANNELS, "weights_kept": WEIGHTS}
    found = prune(RESNET, images(), weights, [0, 5], **shares)
    assert all(found[name].sel(seed=0).isnull().all() for name in found.data_vars)
    assert found.sel(seed=5).equals(pruned.sel(seed=5))
    assert np.isfinite(list(headline(found).values())).all()


def test_the_headline_is_the_mean_over_shares_and_seeds(pruned):
    found = headline(pruned)
    assert found["merged_area"] == pytest.approx(float(pruned["merged_test_accuracy"].mean()))
    assert found["effective_rank"] == pytest.approx(float(pruned["effective_rank"].mean()))


def test_other_networks_are_refused():
    with pytest.raises(ValueError, match="only a resnet can be pruned here, not mlp"):
        prune(settings(), images(), {}, [0], channels_kept=[1.0], weights_kept=[1.0])

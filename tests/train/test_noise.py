"""Which images a step takes and which labels it sees."""

import itertools

import numpy as np
import pytest
from scipy.stats import chisquare

from labelnoise.train.noise import batches, mean_shares, noisy_labels


def drawn(tau, *, seed=0, classes=10, count=3000, images=16, start=0):
    labels = np.tile(np.arange(images) % classes, (count, 1))
    return labels, noisy_labels(labels, seed, tau, classes, start)


@pytest.mark.parametrize("tau", [0.05, 0.5, 1.0])
@pytest.mark.parametrize("classes", [2, 10])
def test_a_label_is_redrawn_with_probability_tau_to_any_class(tau, classes):
    labels, noisy = drawn(tau, classes=classes)
    # a redrawn label is the true one in one case of `classes`
    changed, expected = (labels != noisy).mean(), tau * (1 - 1 / classes)
    assert abs(changed - expected) < 4 * np.sqrt(expected * (1 - expected) / labels.size)
    for true in range(classes):
        seen = np.bincount(noisy[labels == true], minlength=classes)
        share = np.full(classes, tau / classes)
        share[true] += 1 - tau
        assert chisquare(seen, share * seen.sum()).pvalue > 1e-4


@pytest.mark.parametrize("tau", [0.05, 0.5, 1.0])
@pytest.mark.parametrize("classes", [2, 10])
def test_a_label_is_flipped_with_probability_tau_to_another_class(tau, classes):
    labels, _ = drawn(0.0, classes=classes)
    noisy = noisy_labels(labels, 0, tau, classes, 0, "flip")
    changed = (labels != noisy).mean()
    assert abs(changed - tau) <= 4 * np.sqrt(tau * (1 - tau) / labels.size)
    for true in range(classes):
        seen = np.bincount(noisy[(labels == true) & (labels != noisy)], minlength=classes)
        assert seen[true] == 0
        assert classes == 2 or chisquare(np.delete(seen, true)).pvalue > 1e-4


@pytest.mark.parametrize("noise", ["redraw", "flip"])
def test_the_mean_noisy_label_is_what_is_seen_on_average(noise):
    labels, _ = drawn(0.0)
    noisy = noisy_labels(labels, 0, 0.3, 10, 0, noise)
    true, other = mean_shares(0.3, 10, noise)
    assert true + 9 * other == pytest.approx(1)
    assert (noisy == labels).mean() == pytest.approx(true, abs=0.01)
    assert (noisy == (labels + 3) % 10).mean() == pytest.approx(other, abs=0.01)


def test_images_and_steps_are_independent():
    labels, noisy = drawn(0.5)
    changed = (labels != noisy).astype(float)
    for one, other in ((changed[:, 0], changed[:, 1]), (changed[1:, 0], changed[:-1, 0])):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.08
    others = drawn(0.5, seed=1)[1]
    assert 0.4 < (noisy != others).mean() < 0.9


def test_a_smaller_tau_redraws_some_of_the_same_to_the_same_class():
    labels, _ = drawn(0.0)
    noisy = {tau: drawn(tau)[1] for tau in (0.1, 0.3, 1.0)}
    for low, high in ((0.1, 0.3), (0.3, 1.0)):
        changed = noisy[low] != labels
        np.testing.assert_array_equal(noisy[low][changed], noisy[high][changed])
        assert 0 < changed.sum() < (noisy[high] != labels).sum()


def test_no_noise_is_no_noise():
    labels, noisy = drawn(0.0)
    np.testing.assert_array_equal(labels, noisy)


@pytest.mark.parametrize("cuts", [[1], [3, 4], [1, 2, 3, 4, 5, 6]])
def test_however_many_steps_are_drawn_at_a_time(cuts):
    labels, whole = drawn(0.5, count=7, images=5)
    order = batches(3, 11, 4, 0, 7)
    edges = [0, *cuts, 7]
    parts = [noisy_labels(labels[a:b], 0, 0.5, 10, a) for a, b in itertools.pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    orders = [batches(3, 11, 4, a, b - a) for a, b in itertools.pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(orders), order)


@pytest.mark.parametrize(("images", "batch"), [(12, 4), (11, 4), (5, 5), (7, 1), (3, 8)])
def test_each_epoch_takes_every_image_once(images, batch):
    taken = batches(0, images, batch, 0, 3 * images).ravel()
    epochs = taken.reshape(-1, images)
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(range(images), (3 * batch, 1)))
    assert len(np.unique(epochs, axis=0)) > 1
    assert (taken != batches(1, images, batch, 0, 3 * images).ravel()).any()


def test_every_order_is_as_likely_as_another():
    orders = batches(0, 3, 3, 0, 6000) @ np.array([9, 3, 1])
    seen = np.unique(orders, return_counts=True)[1]
    assert len(seen) == 6 and chisquare(seen).pvalue > 1e-4

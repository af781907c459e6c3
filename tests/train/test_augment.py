"""Augmented images are shifted and mirrored copies, the same whatever the chunk."""

import numpy as np
import pytest
import torch

from labelnoise.train.augment import Augmentation
from labelnoise.train.steps import Trainer
from labelnoise.train.task import prepare

from .made import images, settings

SIZE = (16, 24)


def augmentation(kind="crop_flip", start=0, steps=40, batch=5, seed=3):
    return Augmentation(kind, seed, start, (steps, batch), SIZE, torch.device("cpu"))


def pictures(count=5):
    """Images of which every pixel, zero excluded, is another number."""
    pixels = torch.arange(1, 1 + count * 2 * SIZE[0] * SIZE[1], dtype=torch.float64)
    return pixels.reshape(count, 2, *SIZE)


def moved(image, down, right, mirrored):
    """A naive shift by whole pixels, zeros coming in."""
    source = image.numpy()[..., ::-1] if mirrored else image.numpy()
    out = np.zeros_like(source)
    rows, columns = SIZE
    for r in range(rows):
        for c in range(columns):
            if 0 <= r + down < rows and 0 <= c + right < columns:
                out[:, r, c] = source[:, r + down, c + right]
    return out


def found_in(image, out):
    """Which shift and mirroring made `out` of `image`."""
    for mirrored in (False, True):
        for down in range(-2, 3):
            for right in range(-2, 3):
                if np.array_equal(moved(image, down, right, mirrored), out.numpy()):
                    return down, right, mirrored
    raise AssertionError("neither a shifted nor a mirrored copy")


@pytest.mark.parametrize("kind", ["crop", "crop_flip"])
def test_each_image_is_shifted_by_at_most_an_eighth_and_mirrored_if_asked(kind):
    x, augment = pictures(), augmentation(kind)
    seen = [found_in(x[i], augment(x, step)[i]) for step in range(12) for i in range(5)]
    assert {down for down, _, _ in seen} == set(range(-2, 3))
    assert {right for _, right, _ in seen} == set(range(-2, 3))
    assert {mirrored for *_, mirrored in seen} == (
        {False, True} if kind == "crop_flip" else {False}
    )
    assert x.equal(pictures())


def test_a_step_does_not_depend_on_where_the_chunk_starts():
    x, whole = pictures(), augmentation()
    later = augmentation(start=17, steps=3)
    for step in range(3):
        torch.testing.assert_close(later(x, step), whole(x, 17 + step), rtol=0, atol=0)
    assert not augmentation(seed=4)(x, 0).equal(whole(x, 0))


def test_training_is_on_augmented_images_and_the_step_counts_across_chunks(monkeypatch):
    given = {"network": "wide_resnet", "width": 1, "steps": 6, "batch_size": 4}
    chosen = settings(**given, augmentation="crop_flip")

    def weights(changed, chunk):
        monkeypatch.setattr("labelnoise.train.steps.CHUNK", chunk)
        trainer = Trainer(prepare(changed, images(), 0, "cpu"))
        trainer.advance(6)
        assert trainer.step == 6
        return torch.cat([p.detach().flatten() for p in trainer.network.parameters()])

    augmented = weights(chosen, 2**18)
    assert augmented.equal(weights(chosen, 8))
    assert not augmented.equal(weights(settings(**given), 2**18))


def test_the_cosine_schedule_ends_at_zero():
    chosen = settings(eta_schedule="cosine", steps=20)
    trainer = Trainer(prepare(chosen, images(), 0, "cpu"))
    rates = []
    for _ in range(20):
        rates.append(trainer._learning_rate())
        trainer.advance(trainer.step + 1)
    wanted = chosen.eta / 2 * (1 + np.cos(np.pi * np.arange(20) / 20))
    np.testing.assert_allclose(rates, wanted, rtol=1e-12)
    assert trainer._learning_rate() == pytest.approx(0, abs=1e-15)

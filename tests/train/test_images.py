"""Sources of images and what a run draws from them."""

import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
from sklearn.datasets import load_digits

from labelnoise import rng
from labelnoise.artifacts.store import open_dataset, write_dataset
from labelnoise.config.load import ConfigError, load
from labelnoise.rng import Stream
from labelnoise.simulate import problem
from labelnoise.train import images as module
from labelnoise.train.images import Split, digits, layout, subset

RECIPE = {"source": "digits", "code": "0" * 64, "libraries": {}}
EVERYTHING = {"train_images": None, "test_images": None, "balanced": False, "seed": 0}


def drawn(source, **given):
    return subset(
        source,
        **{"train_images": 64, "test_images": 64, "balanced": True, "seed": 0}
        | {"normalisation": "array"}
        | given,
    )


def made(counts=(30, 50, 20), tests=(9, 9, 12), channels=3) -> xr.Dataset:
    """Images whose first pixel is their number; classes in no order."""
    generator = np.random.default_rng(7)
    splits = []
    for numbers in (counts, tests):
        labels = generator.permutation(np.repeat(np.arange(3), numbers)).astype(np.uint8)
        images = generator.integers(0, 256, (len(labels), channels, 4, 5), np.uint8)
        images[:, 0, 0, 0] = np.arange(len(labels))
        splits.append(Split(images, labels))
    return layout(*splits, classes=("ant", "bee", "cow"), white=255, description="noise")


def test_digits_are_scikit_learns_each_once():
    source, found = load_digits(), digits()
    assert dict(found.sizes) == {
        **{"train_image": 1297, "test_image": 500, "class": 10},
        **{"channel": 1, "row": 8, "column": 8},
    }
    pairs = [
        (image.tobytes(), int(label))
        for split in ("train", "test")
        for image, label in zip(
            found[f"{split}_images"].values[:, 0], found[f"{split}_labels"].values, strict=True
        )
    ]
    expected = [
        (image.astype(np.uint8).tobytes(), int(label))
        for image, label in zip(source.images, source.target, strict=True)
    ]
    assert sorted(pairs) == sorted(expected)
    assert found["class"].values.tolist() == list("0123456789")
    assert found["train_images"].valid_max == source.images.max() == 16


def test_digits_are_split_in_the_same_shares_of_each_class():
    found = digits()
    test = np.bincount(found["test_labels"])
    both = test + np.bincount(found["train_labels"])
    share = both * 500 / 1797
    np.testing.assert_array_less(np.abs(test - share), 1)
    up = test > share
    assert (share % 1)[up].min() >= (share % 1)[~up].max()
    # not the last ones, nor the first: the source is sorted by who wrote it
    order = {image.tobytes(): k for k, image in enumerate(load_digits().images.astype(np.uint8))}
    places = [order[image.tobytes()] for image in found["test_images"].values[:, 0]]
    assert abs(np.mean(places) - 898) < 4 * 1797 / np.sqrt(12 * 500)
    xr.testing.assert_identical(found, digits())


@pytest.mark.parametrize("source", [digits, made])
def test_a_source_comes_back_from_its_file(source, tmp_path):
    images = source()
    for name in ("one.nc", "two.nc"):
        write_dataset(images, tmp_path / name, title="Images", recipe=RECIPE, inputs={})
    assert (tmp_path / "one.nc").read_bytes() == (tmp_path / "two.nc").read_bytes()
    with open_dataset(tmp_path / "one.nc") as found:
        xr.testing.assert_equal(found, images)
        for name, variable in found.variables.items():
            assert variable.attrs["long_name"], name
            assert variable.attrs["units"] == "1", name
            assert variable.dtype == np.uint8 or name == "class"
        for count in (5, 60):
            lazy, direct = (drawn(s, train_images=count, test_images=3) for s in (found, images))
            np.testing.assert_array_equal(lazy.x_train, direct.x_train)
            np.testing.assert_array_equal(lazy.x_test, direct.x_test)


def test_few_images_cost_few_chunks(tmp_path):
    count = 6400
    images = np.zeros((count, 3, 2, 2), np.uint8)
    split = Split(images, np.zeros(count, np.uint8))
    source = layout(split, split, classes=("ant",), white=255, description="black")
    write_dataset(source, tmp_path / "a.nc", title="Images", recipe=RECIPE, inputs={})
    with open_dataset(tmp_path / "a.nc") as found:
        for split_name in ("train", "test"):
            chunk = found[f"{split_name}_images"].encoding["chunksizes"]
            assert chunk == (64, 3, 2, 2)


@pytest.mark.parametrize("balanced", [True, False])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 58, 60])
def test_what_is_drawn_are_images_of_the_source_with_their_labels(count, balanced):
    source = made()
    found = drawn(
        source, train_images=count, test_images=5, balanced=balanced, normalisation="none"
    )
    for split, x, y, index in (
        ("train", found.x_train, found.y_train, found.train_index),
        ("test", found.x_test, found.y_test, found.test_index),
    ):
        assert len(index) == len(set(index)) == (count if split == "train" else 5)
        assert (np.diff(index) > 0).all()
        np.testing.assert_array_equal(y, source[f"{split}_labels"].values[index])
        pixels = source[f"{split}_images"].values[index]
        np.testing.assert_allclose(x, pixels / 255, rtol=1e-6)
        np.testing.assert_array_equal(pixels[:, 0, 0, 0], index)
    assert found.classes == ("ant", "bee", "cow")


def test_the_draw_is_of_the_documented_words():
    found = drawn(made(), balanced=False, train_images=10, test_images=4, seed=5)
    for index, part, there in ((found.train_index, 3, 100), (found.test_index, 4, 30)):
        words = rng.words(5, Stream.DATA, 0, there, part=part)
        assert set(index) == set(sorted(range(there), key=lambda i: words[i])[: len(index)])


def test_parts_of_the_stream_are_used_once():
    mine = [module.TRAIN, module.TEST, module.TRAIN_CLASSES, module.TEST_CLASSES, module.SPLIT]
    theirs = [problem.TRAIN, problem.DIRECTION, problem.TEST]
    assert len({*mine, *theirs}) == len(mine) + len(theirs)


@pytest.mark.parametrize("count", [3, 30, 31, 32, 59, 60, 61, 62])
def test_balanced_is_as_many_of_each_class_to_one(count):
    counts = np.bincount(drawn(made(), train_images=count, test_images=3).y_train, minlength=3)
    assert counts.sum() == count
    assert counts.max() - counts.min() <= 1


def test_which_class_gets_one_more_is_drawn():
    source = made()
    larger = np.zeros(3)
    for seed in range(300):
        found = drawn(source, train_images=31, test_images=4, seed=seed)
        larger += np.bincount(found.y_train) - 10
    assert larger.sum() == 300
    # five standard deviations of a binomial
    assert (np.abs(larger - 100) < 5 * np.sqrt(300 * 2 / 9)).all()


@pytest.mark.parametrize("balanced", [True, False])
def test_every_image_is_as_likely_as_the_others_of_its_kind(balanced):
    source = made()
    times = np.zeros(100)
    for seed in range(400):
        times[
            drawn(source, train_images=30, test_images=3, balanced=balanced, seed=seed).train_index
        ] += 1
    sizes = np.array([30, 50, 20])[source["train_labels"].values]
    share = 10 / sizes if balanced else np.full(100, 0.3)
    assert (np.abs(times - 400 * share) < 5 * np.sqrt(400 * share * (1 - share))).all()


def test_a_draw_depends_on_the_seed_alone_and_fewer_are_among_more():
    source = made()
    for balanced in (True, False):
        one, again, other, more = (
            drawn(source, train_images=n, test_images=6, balanced=balanced, seed=seed)
            for n, seed in ((20, 1), (20, 1), (20, 2), (33, 1))
        )
        np.testing.assert_array_equal(one.train_index, again.train_index)
        np.testing.assert_array_equal(one.test_index, more.test_index)
        assert set(one.train_index) != set(other.train_index)
        assert set(one.test_index) != set(other.test_index)
        assert set(one.train_index) < set(more.train_index)


def test_training_and_test_images_are_drawn_apart():
    split = Split(np.zeros((50, 1, 2, 2), np.uint8), np.zeros(50, np.uint8))
    split.images[:, 0, 0] = np.arange(50)[:, None]
    source = layout(split, split, classes=("ant",), white=255, description="same")
    found = drawn(source, train_images=10, test_images=10)
    assert set(found.train_index) != set(found.test_index)


@pytest.mark.parametrize("balanced", [True, False])
def test_none_is_all_in_their_order(balanced):
    found = subset(made(), **EVERYTHING | {"balanced": balanced, "normalisation": "none"})
    np.testing.assert_array_equal(found.train_index, np.arange(100))
    np.testing.assert_array_equal(found.test_index, np.arange(30))


@pytest.mark.parametrize("axes", ["array", "channel"])
def test_training_images_have_mean_zero_and_deviation_one(axes):
    source = made()
    found = drawn(source, train_images=30, test_images=12, normalisation=axes)
    over = (0, 2, 3) if axes == "channel" else None
    pixels = source["train_images"].values[found.train_index].astype(np.float64)
    mean, std = pixels.mean(axis=over, keepdims=True), pixels.std(axis=over, keepdims=True)
    np.testing.assert_allclose(found.x_train, (pixels - mean) / std, rtol=1e-5, atol=1e-6)
    test = source["test_images"].values[found.test_index]
    np.testing.assert_allclose(found.x_test, (test - mean) / std, rtol=1e-5, atol=1e-6)


def test_channels_are_told_apart():
    source = made()
    source["train_images"].values[:, 1] //= 4
    whole, each = (
        drawn(source, train_images=30, test_images=3, normalisation=n).x_train.std(axis=(0, 2, 3))
        for n in ("array", "channel")
    )
    np.testing.assert_allclose(each, 1, rtol=1e-5)
    assert whole[1] < 0.5 * whole[0]


def test_sums_of_very_many_bright_pixels_are_exact():
    images = np.full((2000, 1, 50, 50), 255, np.uint8)
    images[0, 0, 0, 0] = 254
    split = Split(images, np.zeros(2000, np.uint8))
    source = layout(split, split, classes=("ant",), white=255, description="bright")
    found = subset(source, **EVERYTHING, normalisation="array")
    share = 1 / images.size
    np.testing.assert_allclose(found.x_train[0, 0, 0, 0], -np.sqrt((1 - share) / share), rtol=1e-3)


def test_the_darkest_is_0_and_the_brightest_1_without_normalisation():
    found = subset(digits(), **EVERYTHING, normalisation="none")
    assert (found.x_train.min(), found.x_train.max()) == (0, 1)
    assert (found.x_test.min(), found.x_test.max()) == (0, 1)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"train_images": 101}, ["train_images = 101", "from 1 to 100"]),
        ({"test_images": 31}, ["test_images = 31", "from 1 to 30"]),
        ({"train_images": 0}, ["train_images = 0", "from 1 to 100"]),
        ({"test_images": -3}, ["test_images = -3", "from 1 to 30"]),
        ({"train_images": 63}, ["train_images = 63", "at most 62", "has 20", "balanced: false"]),
        ({"test_images": 29}, ["test_images = 29", "at most 28", "has 9"]),
    ],
)
def test_more_than_there_are_is_refused(given, words):
    with pytest.raises(ValueError, match=words[0]) as error:
        drawn(made(), **{"train_images": 6, "test_images": 6} | given)
    assert [word for word in words if word not in str(error.value)] == []


@pytest.mark.parametrize("normalisation", ["array", "channel"])
def test_images_of_one_value_are_not_divided_by_zero(normalisation):
    source = made()
    source["train_images"].values[:] = 9
    with pytest.raises(ValueError, match=f"normalisation: {normalisation}: the 6 chosen"):
        drawn(source, train_images=6, test_images=6, normalisation=normalisation)


def test_scikit_learn_is_imported_for_digits_alone():
    code = "import sys, labelnoise.train.images; print('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def configured(images):
    return {
        "experiments": {"x": {"verb": "simulate"}},
        "figures": {"figure2": {"experiments": ["x"]}},
        "images": images,
    }


def test_the_archive_is_configured():
    assert load(configured({})).images.cifar10 is None
    assert load(configured({"cifar10": "a.tar.gz"})).images.cifar10 == "a.tar.gz"


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ({"cifar": "x"}, ["images.cifar: ", "did you mean cifar10?"]),
        ({"cifar10": 3}, ["images.cifar10: got 3", "string"]),
        ({"cifar10": ""}, ["images.cifar10: got ", "at least 1 character"]),
    ],
)
def test_a_mistake_about_the_archive_is_one_line(images, words):
    with pytest.raises(ConfigError) as error:
        load(configured(images))
    (line,) = str(error.value).splitlines()
    assert [word for word in words if word not in line] == []

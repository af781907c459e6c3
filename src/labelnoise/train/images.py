"""Labelled images: one layout for every source, handwritten digits, and subsets to train on.

A source is a Dataset of bytes (`layout`); `subset` draws from it and normalises. CIFAR-10 is read
by `archives`.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float32, Float64, Int64, UInt8

from labelnoise import rng
from labelnoise.rng import Stream

# parts of the stream of data; `simulate.problem` has 0 to 2
TRAIN, TEST, TRAIN_CLASSES, TEST_CLASSES, SPLIT = 3, 4, 5, 6, 7

DIGITS_TEST = 500
"""Test images among the 1,797 handwritten digits."""

_Images = UInt8[np.ndarray, "image channel row column"]


@dataclass(frozen=True)
class Split:
    """The training images of a source, or its test images.

    Attributes:
        images: their pixels.
        labels: their classes, as numbers.
    """

    images: UInt8[np.ndarray, "image channel row column"]
    labels: UInt8[np.ndarray, "image"]


@dataclass(frozen=True)
class Subset:
    """Images drawn for one run, normalised.

    Attributes:
        x_train: training images.
        y_train: their classes, as numbers.
        x_test: test images, by the same normalisation.
        y_test: their classes, as numbers.
        classes: names of the classes.
        train_index: where the training images are in the source, ascending.
        test_index: where the test images are in the source, ascending.
    """

    x_train: Float32[np.ndarray, "train_image channel row column"]
    y_train: Int64[np.ndarray, "train_image"]
    x_test: Float32[np.ndarray, "test_image channel row column"]
    y_test: Int64[np.ndarray, "test_image"]
    classes: tuple[str, ...]
    train_index: Int64[np.ndarray, "train_image"]
    test_index: Int64[np.ndarray, "test_image"]


def layout(
    train: Split,
    test: Split,
    *,
    classes: tuple[str, ...],
    white: int,
    description: str,
) -> xr.Dataset:
    """The Dataset of a source of images.

    Args:
        train: training images.
        test: test images.
        classes: names of the classes, in the order of the labels.
        white: value of the brightest pixel; 0 is black.
        description: what the images are.

    Returns:
        `train_images` over (train_image, channel, row, column), `train_labels` over (train_image),
        `test_images` and `test_labels` likewise, all bytes; coordinate `class`.
    """
    variables: dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, object]]] = {}
    for name, long_name, split in (("train", "training", train), ("test", "test", test)):
        variables[f"{name}_images"] = (
            (f"{name}_image", "channel", "row", "column"),
            split.images,
            {
                "long_name": f"{long_name} images ({description})",
                "units": "1",
                "valid_max": np.uint8(white),
            },
        )
        variables[f"{name}_labels"] = (
            (f"{name}_image",),
            split.labels,
            {"long_name": f"classes of the {long_name} images, as numbers", "units": "1"},
        )
    names = (
        "class",
        list(classes),
        {"long_name": "classes, in the order of the labels", "units": "1"},
    )
    return xr.Dataset(variables, {"class": names})


def digits() -> xr.Dataset:
    """Scikit-learn's handwritten digits, as `layout` has them: 1,797 grey images, 8×8, 0 … 16.

    They are split once and for all into 1,297 training and 500 test images: of each class the same
    share (the largest remainders rounded up), drawn by the counter-based generator at seed 0.

    Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998.
    """
    from sklearn.datasets import load_digits

    source = load_digits()
    images = source.images.astype(np.uint8)[:, None]
    labels = source.target.astype(np.uint8)
    share = np.bincount(labels) * DIGITS_TEST / len(labels)
    counts = np.floor(share).astype(np.int64)
    counts[np.argsort(counts - share, kind="stable")[: DIGITS_TEST - counts.sum()]] += 1
    tested = _first_of_each(labels, counts, _shuffled(0, SPLIT, len(labels)))
    return layout(
        Split(images[~tested], labels[~tested]),
        Split(images[tested], labels[tested]),
        classes=tuple(map(str, source.target_names)),
        white=16,
        description="scikit-learn's handwritten digits",
    )


def _shuffled(seed: int, part: int, count: int) -> Int64[np.ndarray, "count"]:
    """0 … count−1 in a random order: that of as many words of the stream of data."""
    return np.argsort(rng.words(seed, Stream.DATA, 0, count, part=part), kind="stable")


def _first_of_each(
    labels: UInt8[np.ndarray, "image"],
    counts: Int64[np.ndarray, "class"],
    order: Int64[np.ndarray, "image"],
) -> Bool[np.ndarray, "image"]:
    """Which images are the first `counts[c]` of their class c in an order."""
    chosen = np.zeros(len(labels), bool)
    for label, count in enumerate(counts):
        chosen[order[labels[order] == label][:count]] = True
    return chosen


def _draw(
    labels: UInt8[np.ndarray, "image"],
    classes: int,
    key: str,
    count: int | None,
    balanced: bool,
    seed: int,
    parts: tuple[int, int],
) -> Int64[np.ndarray, "drawn"]:
    """Indices of the images of one split, ascending."""
    there = len(labels)
    if count is None:
        return np.arange(there)
    if not 1 <= count <= there:
        raise ValueError(f"{key} = {count:,}: must be from 1 to {there:,}, which is all there are")
    order = _shuffled(seed, parts[0], there)
    if not balanced:
        return np.sort(order[:count])
    each, more = divmod(count, classes)
    sizes = np.bincount(labels, minlength=classes)
    larger = np.flatnonzero(sizes > each)
    if sizes.min() < each or len(larger) < more:
        least = int(sizes.min())
        most = classes * least + int((sizes > least).sum() if least else 0)
        raise ValueError(
            f"{key} = {count:,}: balanced, at most {most:,} can be drawn "
            f"(the smallest class has {least:,}); ask for fewer, or set balanced: false"
        )
    counts = np.full(classes, each)
    counts[larger[_shuffled(seed, parts[1], len(larger))[:more]]] += 1
    return np.flatnonzero(_first_of_each(labels, counts, order))


def subset(
    images: xr.Dataset,
    *,
    train_images: int | None,
    test_images: int | None,
    balanced: bool,
    normalisation: Literal["array", "channel", "none"],
    seed: int,
) -> Subset:
    """Draw images for one run, without replacement, and normalise them.

    The draw is a pure function of the seed and the counts. Of a lazily opened source only the
    chunks with chosen images are read. Fewer images of the same seed are among the more.

    Args:
        images: a source, as `layout` has it.
        train_images: how many training images; None: all.
        test_images: how many test images; None: all.
        balanced: as many of each class, or one more of some classes, which are drawn; otherwise
            uniformly among all. Where all are taken, it changes nothing.
        normalisation: `array`: (p − μ)/s with the mean μ and the standard deviation s of all pixels
            p of the chosen training images, for training and test images alike; `channel`: so for
            each channel; `none`: p scaled to [0, 1].
        seed: the run's, in 0 … 2³²−1.

    Raises:
        ValueError: a count is below 1 or more than there are (of each class, if balanced), the
            chosen training images are of one value, or the seed is out of range.
    """
    classes = images.sizes["class"]
    drawn, labels, pixels = {}, {}, {}
    for split, count, parts in (
        ("train", train_images, (TRAIN, TRAIN_CLASSES)),
        ("test", test_images, (TEST, TEST_CLASSES)),
    ):
        every = images[f"{split}_labels"].values
        key = f"{split}_images"
        index = _draw(every, classes, key, count, balanced, seed, parts)
        drawn[split], labels[split] = index, every[index].astype(np.int64)
        pixels[split] = _read(images[key], index)
    if normalisation == "none":
        channels = pixels["train"].shape[1]
        shift, scale = (
            np.zeros(channels),
            np.full(channels, float(images["train_images"].valid_max)),
        )
    else:
        shift, scale = _moments(pixels["train"], by_channel=normalisation == "channel")
        if not scale.all():
            raise ValueError(
                f"normalisation: {normalisation}: the {len(drawn['train']):,} chosen training "
                "images are of one value; take more images, or normalisation: none"
            )
    return Subset(
        x_train=_normalised(pixels["train"], shift, scale),
        y_train=labels["train"],
        x_test=_normalised(pixels["test"], shift, scale),
        y_test=labels["test"],
        classes=tuple(map(str, images["class"].values)),
        train_index=drawn["train"],
        test_index=drawn["test"],
    )


def _read(images: xr.DataArray, index: Int64[np.ndarray, "drawn"]) -> _Images:
    """The images at ascending indices."""
    dim = str(images.dims[0])
    # HDF5 reads scattered rows one by one: where they are many, all is faster
    if len(index) > images.sizes[dim] / 8:
        return np.asarray(images.values[index])
    return np.asarray(images.isel({dim: index}).values)


def _moments(
    pixels: _Images, *, by_channel: bool
) -> tuple[Float64[np.ndarray, "channel"], Float64[np.ndarray, "channel"]]:
    """Mean and standard deviation of the pixels, from exact integer sums."""
    sums = pixels.sum(axis=(0, 2, 3), dtype=np.int64)
    squares = np.square(pixels, dtype=np.uint16).sum(axis=(0, 2, 3), dtype=np.int64)
    count = pixels[:, 0].size
    if not by_channel:
        count *= len(sums)
        sums, squares = np.full_like(sums, sums.sum()), np.full_like(squares, squares.sum())
    mean = sums / count
    return mean, np.sqrt(np.maximum(squares / count - mean**2, 0))


def _normalised(
    pixels: _Images,
    shift: Float64[np.ndarray, "channel"],
    scale: Float64[np.ndarray, "channel"],
) -> Float32[np.ndarray, "image channel row column"]:
    x = pixels.astype(np.float32)
    x -= shift.astype(np.float32)[:, None, None]
    x /= scale.astype(np.float32)[:, None, None]
    return x

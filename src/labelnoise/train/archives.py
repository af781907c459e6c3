"""CIFAR-10 from an archive: the official one (pickles), or one of image folders.

Which of the two a file is, is told by what it holds and not by its name. Members are read in
memory, in one pass; nothing is unpacked to disk.
"""

import gzip
import io
import pickle
import re
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import UInt8
from PIL import Image

from .images import Split, layout


class ArchiveError(ValueError):
    """An archive that is not the CIFAR-10 it should be."""


@dataclass(frozen=True)
class Spec:
    """What a complete archive holds.

    Attributes:
        classes: their names, in the order of the labels.
        train: training images of each class.
        test: test images of each class.
        batches: training batches of the official archive.
        side: rows, and columns, of an image.
    """

    classes: tuple[str, ...]
    train: int
    test: int
    batches: int
    side: int


CIFAR10 = Spec(
    classes=(
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    ),
    train=5000,
    test=1000,
    batches=5,
    side=32,
)

_BATCH = re.compile(r"(?:.*/)?(data_batch_\d+|test_batch|batches\.meta)")
_PICTURE = re.compile(r"(?:.*/)?(train|test)/([^/]+)/(\d+)\.(?:jpe?g|png)", re.IGNORECASE)


def read_cifar10(path: Path, spec: Spec = CIFAR10) -> xr.Dataset:
    """All images of an archive, as `images.layout` has them.

    The official archive keeps its order; image folders are ordered by class and number. What is
    checked is the content: every image there, of the right size, and as many of each class as
    there should be.

    Args:
        path: a gzip-compressed tar archive: the official one (`data_batch_1` … `test_batch`,
            `batches.meta`), or `train/{class}/{number}.jpg` (or `.png`) and `test/…` of the same.
        spec: what it must hold.

    Raises:
        FileNotFoundError: there is no such file.
        ArchiveError: it is damaged, incomplete or something else; the message names the file, what
            was found and what was expected.
    """
    batches: dict[str, bytes] = {}
    pictures: dict[tuple[str, str, int], tuple[str, bytes]] = {}
    others: list[str] = []
    try:
        with gzip.open(path) as stream:
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                for member in archive:
                    content = archive.extractfile(member)
                    if content is None:  # a folder
                        continue
                    if batch := _BATCH.fullmatch(member.name):
                        batches[batch[1]] = content.read()
                    elif picture := _PICTURE.fullmatch(member.name):
                        key = picture[1].lower(), picture[2], int(picture[3])
                        pictures[key] = member.name, content.read()
                    else:
                        others.append(member.name)
            while stream.read(2**20):  # to its end, where gzip keeps the checksum
                pass
    except FileNotFoundError:
        raise
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise ArchiveError(
            f"{path}: not a whole .tar.gz archive ({error}); get it once more, or another one"
        ) from error
    if batches:
        return _official(path, batches, spec)
    if pictures:
        return _folders(path, pictures, spec)
    found = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
    raise ArchiveError(
        f"{path}: is not CIFAR-10: holds {found or 'no files'}; expected data_batch_1 … test_batch "
        "(the official archive), or train/{class}/{number}.jpg and test/{class}/{number}.jpg"
    )


def _dataset(train: Split, test: Split, spec: Spec, content: str) -> xr.Dataset:
    return layout(
        train,
        test,
        classes=spec.classes,
        white=255,
        description=f"CIFAR-10, {content}",
    )


def _listed(problems: list[str]) -> str:
    more = len(problems) - 3
    return "; ".join(problems[:3]) + (f"; and {more} more" if more > 0 else "")


def _folders(
    path: Path, pictures: Mapping[tuple[str, str, int], tuple[str, bytes]], spec: Spec
) -> xr.Dataset:
    problems = []
    for split, name in sorted({key[:2] for key in pictures}):
        if name not in spec.classes:
            problems.append(f"{split}/{name} is no class; expected {', '.join(spec.classes)}")
    for split, expected in (("train", spec.train), ("test", spec.test)):
        for name in spec.classes:
            found = sum(key[:2] == (split, name) for key in pictures)
            if found != expected:
                problems.append(f"{split}/{name} holds {found:,} images, expected {expected:,}")
    if problems:
        raise ArchiveError(f"{path}: {_listed(problems)}")

    def decode(split: str) -> Split:
        keys = sorted(key for key in pictures if key[0] == split)
        images = np.empty((len(keys), 3, spec.side, spec.side), np.uint8)
        for image, key in zip(images, keys, strict=True):
            image[:] = _picture(path, *pictures[key], spec.side)
        return Split(images, np.array([spec.classes.index(key[1]) for key in keys], np.uint8))

    return _dataset(decode("train"), decode("test"), spec, "image folders")


def _picture(
    path: Path, name: str, content: bytes, side: int
) -> UInt8[np.ndarray, "channel row column"]:
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as picture:
            picture.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ArchiveError(f"{path}: {name} is not a readable JPEG or PNG ({error})") from error
    if picture.size != (side, side) or picture.mode != "RGB":
        columns, rows = picture.size
        raise ArchiveError(
            f"{path}: {name} is {columns}×{rows} pixels, {picture.mode}; "
            f"expected {side}×{side}, RGB"
        )
    return np.asarray(picture).transpose(2, 0, 1)


def _official(path: Path, files: Mapping[str, bytes], spec: Spec) -> xr.Dataset:
    labelled = {
        f"data_batch_{k}": f"training batch {k} of {spec.batches}"
        for k in range(1, spec.batches + 1)
    } | {"test_batch": "testing batch 1 of 1"}
    missing = [name for name in (*labelled, "batches.meta") if name not in files]
    if missing:
        raise ArchiveError(f"{path}: {', '.join(missing)} missing; the official archive has them")
    names = _unpickle(path, "batches.meta", files).get(b"label_names")
    expected = [name.encode() for name in spec.classes]
    if names != expected:
        raise ArchiveError(f"{path}: batches.meta names classes {names!r}, expected {expected!r}")
    total = len(spec.classes)
    splits = {}
    for split, batches, each in (
        ("training", list(labelled)[:-1], spec.train),
        ("test", ["test_batch"], spec.test),
    ):
        size = each * total // len(batches)
        parts = [_batch(path, name, files, labelled[name], size, spec) for name in batches]
        images = np.concatenate([part.images for part in parts])
        labels = np.concatenate([part.labels for part in parts])
        counts = np.bincount(labels, minlength=total)
        problems = [
            f"{found:,} {split} images of class {name}, expected {each:,}"
            for name, found in zip(spec.classes, counts, strict=True)
            if found != each
        ]
        if problems:
            raise ArchiveError(f"{path}: {_listed(problems)}")
        splits[split] = Split(images, labels)
    return _dataset(splits["training"], splits["test"], spec, "official archive")


def _batch(
    path: Path, name: str, files: Mapping[str, bytes], label: str, size: int, spec: Spec
) -> Split:
    batch = _unpickle(path, name, files)
    if batch.get(b"batch_label") != label.encode():
        found = batch.get(b"batch_label")
        raise ArchiveError(f"{path}: {name} is labelled {found!r}, expected {label.encode()!r}")
    data, labels = batch.get(b"data"), batch.get(b"labels")
    pixels = 3 * spec.side**2
    if not isinstance(data, _Array) or data.shape != (size, pixels):
        found = data.shape if isinstance(data, _Array) else type(data).__name__
        raise ArchiveError(f"{path}: data of {name} is {found}, expected {(size, pixels)} bytes")
    total = len(spec.classes)
    if (
        not isinstance(labels, list)
        or len(labels) != size
        or not all(type(found) is int and 0 <= found < total for found in labels)
    ):
        raise ArchiveError(
            f"{path}: labels of {name} are not {size:,} integers from 0 to {total - 1}"
        )
    images = data.values().reshape(size, 3, spec.side, spec.side)
    return Split(images, np.array(labels, np.uint8))


class _Array:
    """What a pickled NumPy array of bytes becomes: its shape, order and raw content."""

    shape: tuple[int, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, self.shape, _, self._fortran, self._raw = state

    def values(self) -> UInt8[np.ndarray, "image pixel"]:
        flat = np.frombuffer(self._raw, np.uint8)
        return flat.reshape(self.shape, order="F" if self._fortran else "C")


class _Bytes:
    """What a pickled NumPy data type becomes, if it is that of bytes."""

    def __init__(self, code: object, *_: object) -> None:
        if code not in (b"u1", "u1"):
            raise pickle.UnpicklingError(f"holds an array of type {code!r}, expected bytes (u1)")

    def __setstate__(self, state: object) -> None:
        pass


def _reconstruct(kind: object, *_: object) -> _Array:
    if kind is not _Array:
        raise pickle.UnpicklingError(f"holds an array of {kind!r}")
    return _Array()


class _Unpickler(pickle.Unpickler):
    """Reads dicts, lists, numbers, bytes and arrays of bytes; runs nothing that a pickle names."""

    _KNOWN: Mapping[tuple[str, str], Any] = {
        ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Bytes,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._KNOWN:
            raise pickle.UnpicklingError(f"asks for {module}.{name}, which has no place in it")
        return self._KNOWN[module, name]


def _unpickle(path: Path, name: str, files: Mapping[str, bytes]) -> dict[object, Any]:
    try:
        found = _Unpickler(io.BytesIO(files[name]), encoding="bytes").load()
    except Exception as error:  # a damaged pickle raises nearly anything
        raise ArchiveError(
            f"{path}: {name} is not a batch of the official archive ({error})"
        ) from error
    if not isinstance(found, dict):
        raise ArchiveError(f"{path}: {name} holds a {type(found).__name__}, expected a dict")
    return found

"""CIFAR-10 archives of both kinds, made here: what is in them comes out, nothing else passes."""

import gzip
import io
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from labelnoise.train.archives import CIFAR10, ArchiveError, Spec, read_cifar10

SMALL = Spec(classes=("ant", "bee", "cow"), train=4, test=2, batches=2, side=8)
TRAIN, TEST = 12, 6


class Python2Pickler(pickle._Pickler):
    """Writes what Python 2 and the NumPy of then wrote, as the official archive has it."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_bytes(self, content):
        self.write(pickle.BINSTRING + len(content).to_bytes(4, "little") + content)
        self.memoize(content)

    dispatch[bytes] = save_bytes


def pickled(content) -> bytes:
    file = io.BytesIO()
    Python2Pickler(file, protocol=2).dump(content)
    return file.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def pixels(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 3, 8, 8), np.uint8)


def labels(count: int) -> list[int]:
    """Evenly many of each class, in no order."""
    return np.random.default_rng(count).permutation(np.arange(count) % 3).tolist()


def batch(label: bytes, start: int, stop: int, total: int) -> dict[bytes, object]:
    return {
        b"batch_label": label,
        b"labels": labels(total)[start:stop],
        b"data": pixels(total).reshape(total, -1)[start:stop],
        b"filenames": [b"a.png"] * (stop - start),
    }


def official() -> dict[str, dict[bytes, object]]:
    return {
        "batches.meta": {b"num_cases_per_batch": 6, b"label_names": [b"ant", b"bee", b"cow"]},
        # not in the order of their numbers
        "data_batch_2": batch(b"training batch 2 of 2", 6, 12, TRAIN),
        "data_batch_1": batch(b"training batch 1 of 2", 0, 6, TRAIN),
        "test_batch": batch(b"testing batch 1 of 1", 0, 6, TEST),
    }


def write_official(path: Path, parts) -> Path:
    raw = {name: p if isinstance(p, bytes) else pickled(p) for name, p in parts.items()}
    files = {f"cifar-10-batches-py/{name}": content for name, content in raw.items()}
    return tar(path, files | {"cifar-10-batches-py/readme.html": b"<html>"})


def picture(image: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind)
    return file.getvalue()


def folders() -> dict[str, bytes]:
    """Lossless pictures, in a scrambled order; image k of its split has the k-th pixels."""
    files = {}
    for split, each in (("train", 4), ("test", 2)):
        images = pixels(3 * each).transpose(0, 2, 3, 1)
        names = [f"{split}/{name}/{8 + k:02d}.png" for name in SMALL.classes for k in range(each)]
        for k in np.random.default_rng(0).permutation(len(names)):
            files[names[k]] = picture(images[k])
    return files


def test_the_official_archive_keeps_its_order(tmp_path):
    found = read_cifar10(write_official(tmp_path / "any.name", official()), SMALL)
    np.testing.assert_array_equal(found["train_images"], pixels(TRAIN))
    np.testing.assert_array_equal(found["test_images"], pixels(TEST))
    assert found["train_labels"].values.tolist() == labels(TRAIN)
    assert found["test_labels"].values.tolist() == labels(TEST)
    assert found["class"].values.tolist() == ["ant", "bee", "cow"]
    assert {found[name].dtype for name in found.data_vars} == {np.dtype(np.uint8)}


def test_image_folders_come_by_class_and_number(tmp_path):
    path = tar(tmp_path / "cifar-10-python.tar.gz", folders())
    found = read_cifar10(path, SMALL)
    np.testing.assert_array_equal(found["train_images"], pixels(TRAIN))
    np.testing.assert_array_equal(found["test_images"], pixels(TEST))
    assert found["train_labels"].values.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert found["test_labels"].values.tolist() == [0, 0, 1, 1, 2, 2]


def test_numbers_are_numbers_and_a_folder_may_be_around(tmp_path):
    files = {
        "./cifar/" + name.replace("/08", "/8").replace("/09", "/9"): content
        for name, content in folders().items()
    }
    junk = {"./cifar/train/ant/._8.png": b"?", "./cifar/README": b"?", "train/Thumbs.db": b"?"}
    found = read_cifar10(tar(tmp_path / "a.tgz", files | junk), SMALL)
    np.testing.assert_array_equal(found["train_images"], pixels(TRAIN))


def test_a_jpeg_is_what_pillow_makes_of_it(tmp_path):
    files = folders()
    image = np.tile(np.array([200, 100, 50], np.uint8), (8, 8, 1))
    files["train/bee/10.jpg"] = picture(image, "JPEG")
    del files["train/bee/10.png"]
    found = read_cifar10(tar(tmp_path / "a.tgz", files), SMALL)["train_images"][6]
    np.testing.assert_allclose(found.astype(int), image.transpose(2, 0, 1), atol=3)


def test_newer_pickles_of_the_same_are_read(tmp_path):
    parts = {name: pickle.dumps(part, protocol=4) for name, part in official().items()}
    found = read_cifar10(write_official(tmp_path / "a.tgz", parts), SMALL)
    np.testing.assert_array_equal(found["train_images"], pixels(TRAIN))


def test_the_real_one_is_expected_by_default():
    assert CIFAR10.classes == tuple(sorted(CIFAR10.classes)) and len(CIFAR10.classes) == 10
    assert (CIFAR10.train, CIFAR10.test, CIFAR10.batches, CIFAR10.side) == (5000, 1000, 5, 32)


def refused(path: Path, *words: str) -> None:
    with pytest.raises(ArchiveError) as error:
        read_cifar10(path, SMALL)
    for word in (str(path), *words):
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p.pop("data_batch_2"), ["data_batch_2 missing"]),
        (lambda p: p.pop("batches.meta"), ["batches.meta missing"]),
        (lambda p: p.pop("test_batch"), ["test_batch missing"]),
        (
            lambda p: p["batches.meta"].update({b"label_names": [b"ant", b"cow", b"bee"]}),
            ["batches.meta", "b'cow', b'bee'", "expected [b'ant', b'bee', b'cow']"],
        ),
        (
            lambda p: p.update(data_batch_2=p["data_batch_1"]),
            ["data_batch_2", "b'training batch 1 of 2'", "expected b'training batch 2 of 2'"],
        ),
        (
            lambda p: p["data_batch_1"].update({b"data": np.zeros((6, 190), np.uint8)}),
            ["data_batch_1", "(6, 190)", "expected (6, 192)"],
        ),
        (
            lambda p: p["data_batch_1"].update({b"data": np.zeros((5, 192), np.uint8)}),
            ["data_batch_1", "(5, 192)", "expected (6, 192)"],
        ),
        (
            lambda p: p["test_batch"].update({b"data": np.zeros((6, 192), np.float32)}),
            ["test_batch", "'f4'", "expected bytes"],
        ),
        (lambda p: p["test_batch"].pop(b"data"), ["data of test_batch", "NoneType"]),
        (
            lambda p: p["test_batch"].update({b"labels": [0, 1, 2, 0, 1]}),
            ["labels of test_batch", "not 6 integers from 0 to 2"],
        ),
        (
            lambda p: p["test_batch"].update({b"labels": [0, 1, 2, 0, 1, 3]}),
            ["labels of test_batch", "not 6 integers from 0 to 2"],
        ),
        (
            lambda p: p["test_batch"].update({b"labels": [0, 1, 2, 0, 1, -1]}),
            ["labels of test_batch", "not 6 integers from 0 to 2"],
        ),
        (
            lambda p: p["test_batch"].update({b"labels": [0, 0, 0, 1, 1, 2]}),
            ["3 test images of class ant, expected 2", "1 test images of class cow, expected 2"],
        ),
        (lambda p: p.update(test_batch=b"no pickle"), ["test_batch is not a batch"]),
        (lambda p: p.update(test_batch=pickled(p["test_batch"])[:-20]), ["test_batch is not"]),
        (lambda p: p.update(test_batch=[1]), ["test_batch holds a list, expected a dict"]),
    ],
)
def test_an_official_archive_that_is_not_complete_is_refused(tmp_path, change, words):
    parts = official()
    change(parts)
    refused(write_official(tmp_path / "a.tgz", parts), *words)


class Command:
    """What an attacker's pickle would run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


class Array:
    """A pickle that makes an object of its own choice where an array should be."""

    def __reduce__(self):
        return np._core.multiarray._reconstruct, (np.dtype, (0,), b"b")


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_runs_nothing(tmp_path, protocol):
    made = tmp_path / "made"
    content = pickle.dumps([Command(made)], protocol=protocol)
    path = write_official(tmp_path / "a.tgz", official() | {"data_batch_1": content})
    refused(path, "data_batch_1", "mkdir")
    assert not made.exists()


def test_a_pickled_array_is_of_no_other_type(tmp_path):
    content = pickled({b"data": Array()})
    path = write_official(tmp_path / "a.tgz", official() | {"data_batch_1": content})
    refused(path, "data_batch_1 is not a batch", "an array of")


def without(part):
    return lambda files: {k: v for k, v in files.items() if part not in k}


def damaged(name, content):
    return lambda files: files | {name: content(files[name])}


GREY = np.zeros((8, 8), np.uint8)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("train/bee/"), ["train/bee holds 0 images, expected 4"]),
        (without("test/"), ["test/ant holds 0 images, expected 2"]),
        (without("train/cow/09"), ["train/cow holds 3 images, expected 4"]),
        (
            lambda files: files | {"test/ant/77.png": files["test/ant/08.png"]},
            ["test/ant holds 3 images, expected 2"],
        ),
        (
            lambda files: {k.replace("ant", "fly"): v for k, v in files.items()},
            ["test/fly is no class; expected ant, bee, cow", "train/fly", "and 1 more"],
        ),
        (
            damaged("train/cow/09.png", lambda _: picture(np.zeros((9, 8, 3), np.uint8))),
            ["train/cow/09.png is 8×9 pixels, RGB; expected 8×8, RGB"],
        ),
        (damaged("train/cow/09.png", lambda _: picture(GREY)), ["train/cow/09.png", "8×8", "L;"]),
        (
            damaged("test/cow/09.png", lambda _: picture(np.zeros((8, 8, 4), np.uint8))),
            ["test/cow/09.png is 8×8 pixels, RGBA; expected 8×8, RGB"],
        ),
        (damaged("test/cow/09.png", lambda _: b"no picture"), ["test/cow/09.png is not a reada"]),
        (damaged("test/cow/09.png", lambda content: content[:120]), ["test/cow/09.png is not"]),
        (
            damaged("test/cow/09.png", lambda _: picture(np.zeros((8, 8, 3), np.uint8), "BMP")),
            ["test/cow/09.png is not a readable JPEG or PNG"],
        ),
        (lambda _: {"readme": b"?", "b": b"?"}, ["is not CIFAR-10: holds readme, b;", "train/{cl"]),
        (lambda _: {}, ["is not CIFAR-10: holds no files;"]),
    ],
)
def test_image_folders_that_are_not_complete_are_refused(tmp_path, change, words):
    refused(tar(tmp_path / "a.tgz", change(folders())), *words)


def flipped(content: bytes) -> bytes:
    """One byte of gzip's checksum changed."""
    return content[:-7] + bytes([content[-7] ^ 1]) + content[-6:]


def cut_tar(content: bytes) -> bytes:
    return gzip.compress(gzip.decompress(content)[: 512 * 9 + 20])


@pytest.mark.parametrize("make", [write_official, tar], ids=["official", "folders"])
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda content: content[: len(content) // 2], ["not a whole .tar.gz archive"]),
        (lambda content: content[:-4], ["not a whole .tar.gz archive"]),
        (flipped, ["not a whole .tar.gz archive", "CRC"]),
        (cut_tar, []),
        (lambda _: b"", ["not a whole .tar.gz archive"]),
        (lambda _: b"PK\x03\x04 a zip", ["not a whole .tar.gz archive", "gzipped"]),
        (lambda _: gzip.compress(b"no tar" * 999), ["not a whole .tar.gz archive"]),
    ],
)
def test_a_damaged_archive_is_refused(tmp_path, make, damage, words):
    path = make(tmp_path / "a.tgz", official() if make is write_official else folders())
    path.write_bytes(damage(path.read_bytes()))
    refused(path, *words)


def test_a_file_that_is_not_there_is_that(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.tgz"):
        read_cifar10(tmp_path / "nothing.tgz", SMALL)


def test_nothing_is_unpacked_to_disk(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    outside = {"../../outside/train/ant/99.png": b"?", "/tmp/labelnoise-outside": b"?"}
    path = tar(tmp_path / "a.tgz", folders() | outside)
    refused(path, "train/ant holds 5 images")
    assert sorted(tmp_path.iterdir()) == [path, tmp_path / "here"]
    assert not any((tmp_path / "here").iterdir())

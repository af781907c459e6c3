"""Images as the workflow makes them: digits without a download, CIFAR-10 from what is given."""

import gzip
import json
from pathlib import Path

import numpy as np

from labelnoise.artifacts.store import open_dataset

from .conftest import new_checkout


def test_digits_are_made_once_and_need_no_download(tmp_path: Path) -> None:
    checkout = new_checkout(tmp_path / "digits")
    checkout.snakemake("results/images/digits.nc")
    with open_dataset(checkout.folder / "results/images/digits.nc") as images:
        assert np.bincount(images["test_labels"]).sum() == 500
    record = json.loads((checkout.folder / "results/images/digits.json").read_text())
    assert record["metrics"] == {"train_image": 1297, "test_image": 500}
    assert checkout.planned("results/images/digits.nc") == set()


def test_the_archive_is_the_given_one_or_downloaded(tmp_path: Path) -> None:
    checkout = new_checkout(tmp_path / "cifar10")
    target = "results/images/cifar10.nc"
    assert checkout.planned(target) == {"images cifar10", "download CIFAR-10"}
    (checkout.folder / "mine.tar.gz").write_bytes(gzip.compress(b""))
    given = ["--config", "images={cifar10: mine.tar.gz}"]
    assert checkout.planned(target, *given) == {"images cifar10"}
    output = checkout.snakemake(target, *given, fails=True)
    assert "mine.tar.gz: not a whole .tar.gz archive" in output
    assert "images.cifar10" in output
    assert "Traceback" not in output
    missing = ["--config", "images={cifar10: missing.tar.gz}"]
    output = checkout.snakemake(target, *missing, fails=True)
    assert (
        "images.cifar10: missing.tar.gz is no file; give the path of a CIFAR-10 archive" in output
    )

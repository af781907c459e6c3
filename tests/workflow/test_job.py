"""The frame of a job: what it refuses to start from, and what it says that it did."""

import hashlib
import json
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from labelnoise.artifacts.store import ArtifactError, open_dataset, write_json
from labelnoise.train.settings import TrainSettings
from labelnoise.workflow import job as frame
from labelnoise.workflow.job import Job

RECIPE = {"code": "c" * 64, "libraries": {"numpy": "2"}, "tau": 0.5}
DATA = xr.Dataset({"loss": ("step", np.arange(3.0))})


class Outputs(list):
    """As Snakemake's: a list with names."""

    data = "results/train/few/tau=0.5.nc"
    record = "results/train/few/tau=0.5.json"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LABELNOISE_CALL", raising=False)
    yield tmp_path
    logging.getLogger("labelnoise").handlers.clear()


def job(*inputs, resources=None):
    outputs = Outputs([Outputs.data, Outputs.record])
    return Job(
        SimpleNamespace(
            rule="train",
            wildcards=["few", "tau=0.5"],
            input=list(inputs),
            output=outputs,
            params=SimpleNamespace(recipe=json.dumps(RECIPE)),
            resources=resources or SimpleNamespace(),
            log=["job.log"],
        )
    )


def made(path, content=b"made", recorded=None):
    """A file with a record beside it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    write_json({"artifacts": {str(path): recorded or digest}}, path.with_suffix(".json"))
    return str(path), digest


def test_the_record_says_what_was_made_of_what_and_when():
    path, digest = made("results/images/digits.nc")
    this = job(path)
    before = datetime.now(UTC)
    this.device = "cuda"
    this.save(DATA, "A title", {"final_loss": 2.0})
    record = json.loads(Path(Outputs.record).read_text())
    assert record["artifact"] == Outputs.data
    content = Path(Outputs.data).read_bytes()
    assert record["artifacts"] == {Outputs.data: hashlib.sha256(content).hexdigest()}
    assert record["inputs"] == {path: digest}
    assert (record["verb"], record["recipe"], record["caption"]) == ("train", RECIPE, "")
    assert record["metrics"] == {"final_loss": 2.0}
    assert record["origin"]["device"] == "cuda"
    assert abs(datetime.fromisoformat(record["started"]) - before) < timedelta(seconds=5)
    assert 0 <= record["seconds"] < 60
    with open_dataset(Path(Outputs.data)) as data:
        xr.testing.assert_equal(data, DATA)
        assert json.loads(data.attrs["input_digests"]) == {path: digest}
        assert json.loads(data.attrs["configuration"]) == {"tau": 0.5}


def test_files_beside_the_artifact_are_recorded_with_it():
    this = job()
    weights = Path("results/train/few/tau=0.5.safetensors")
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    this.save(DATA, "A title", {}, beside=[str(weights)])
    record = json.loads(Path(Outputs.record).read_text())
    assert list(record["artifacts"]) == [Outputs.data, str(weights)]
    assert record["artifacts"][str(weights)] == hashlib.sha256(b"weights").hexdigest()


def test_where_a_users_own_file_lies_decides_no_content(folder):
    found = []
    for place in ("here", "there/deep"):
        archive = folder / place / "cifar-10.tar.gz"
        archive.parent.mkdir(parents=True)
        archive.write_bytes(b"images")
        this = job(str(archive))
        assert list(this.inputs) == [str(archive)]  # the record, and so MLflow, has the whole path
        this.save(DATA, "A title", {})
        found.append(Path(Outputs.data).read_bytes())
        with open_dataset(Path(Outputs.data)) as data:
            assert list(json.loads(data.attrs["input_digests"])) == ["cifar-10.tar.gz"]
    assert found[0] == found[1]


def test_a_damaged_input_is_named_and_nothing_is_made():
    path, digest = made("results/images/digits.nc", recorded="0" * 64)
    with pytest.raises(
        ArtifactError, match=rf"{path} is damaged: found sha256 {digest}.*{'0' * 64}"
    ):
        job(path)
    assert not Path(Outputs.data).exists() and not Path(Outputs.record).exists()


@pytest.mark.parametrize("record", [None, b"not JSON", b"[1]", b'{"artifacts": {"other.nc": "0"}}'])
def test_an_input_that_no_record_knows_is_taken_as_it_is(record):
    path, digest = made("results/images/digits.nc")
    Path(path).with_suffix(".json").unlink()
    if record is not None:
        Path(path).with_suffix(".json").write_bytes(record)
    assert job(path).inputs == {path: digest}


def test_progress_is_said_at_a_pace_with_the_time_that_is_left(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(frame.time, "monotonic", lambda: clock[-1])
    report = job().progress(1000)
    for now, done in ((101.0, 1), (104.9, 100), (105.0, 10), (106.0, 300), (110.0, 500)):
        clock.append(now)
        report(done)
    lines = [line.split(" ", 1)[1] for line in Path("job.log").read_text().splitlines()]
    assert lines == [
        "train few tau=0.5: 10 of 1,000 steps (1%)",  # too early to say when it ends
        "train few tau=0.5: 500 of 1,000 steps (50%), 10 s left",
    ]


@pytest.mark.parametrize(
    ("gpu", "wanted", "there", "device"),
    [
        (0, "auto", True, "cpu"),  # the rule asked for none
        (1, "auto", True, "cuda"),
        (1, "auto", False, "cpu"),  # a GPU that this torch cannot use
        (1, "cuda", False, "cuda"),  # asked for by name: torch says why it cannot
    ],
)
def test_a_device_is_chosen(monkeypatch, gpu, wanted, there, device):
    monkeypatch.setattr("torch.cuda.is_available", lambda: there)
    assert job(resources=SimpleNamespace(gpu=gpu, device=wanted)).device == device


def test_the_settings_are_the_recipes_and_the_memory_the_rules(monkeypatch):
    # nothing is a value: all test images, and not the default's 64
    given = {"tau": 0.5, "network": "mlp", "test_images": None}
    monkeypatch.setitem(RECIPE, "settings", given)
    found = job(resources=SimpleNamespace(ntk_memory=64)).settings(TrainSettings)
    assert found == TrainSettings(**given, ntk_memory=64)
    assert found.test_images is None
    assert job().settings(TrainSettings) == TrainSettings(**given)

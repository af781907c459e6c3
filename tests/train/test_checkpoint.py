"""A training that was killed goes on from its checkpoint, and ends the same to the last bit."""

import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from labelnoise.train import run
from labelnoise.train.checkpoint import Checkpoint, save_tensors

from .made import assert_same, curves, settings

HERE = f"{__package__}.made"
EVERYTHING = {
    **{"batch_size": 5, "momentum": 0.8, "tau": 0.4, "algorithm": "sam", "rho": 0.2},
    **{"steps": 24, "eta": 0.05, "precision": "float32"},
}
CASES = {
    "mlp": EVERYTHING,
    "mlp_on_all_pixels": EVERYTHING | {"weight_decay": 0.01, "eta_schedule": "cosine"},
    "drift": {"ntk_drift": True},
    "wide_resnet": EVERYTHING
    | {"network": "wide_resnet", "width": 1, "steps": 8, "augmentation": "crop_flip"},
    "dropout": EVERYTHING | {"network": f"{HERE}:Dropping", "width": None},
    "tied": EVERYTHING | {"network": f"{HERE}:Tied", "width": None},
}


class Killed(Exception):
    """What ends a training before its time."""


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    """A checkpoint after every two steps at most."""
    monkeypatch.setenv("LABELNOISE_ALLOW_MODULES", HERE.partition(".")[0])
    monkeypatch.setattr(run, "CHECKPOINT_SECONDS", -1.0)
    monkeypatch.setattr(run, "STRIDE", 2)


def files(folder: Path, seeds=(0, 1), identity="this"):
    return {seed: Checkpoint(folder / f"seed={seed}.safetensors", identity) for seed in seeds}


def kill_at(count: int):
    """A progress that ends the training when it is told of at least so many steps."""

    def progress(step: int) -> None:
        if step >= count:
            raise Killed

    return progress


@pytest.mark.parametrize("case", CASES)
def test_it_ends_the_same_wherever_it_was_interrupted(case, tmp_path):
    chosen = settings(**CASES[case])
    whole = curves(chosen, seeds=[0, 1])
    kept = files(tmp_path)
    # in the first seed, twice; at its end; in the second seed
    for share in (0.2, 0.6, 1.0, 1.1, 1.7):
        torch.manual_seed(99)  # another process has other random numbers
        with pytest.raises(Killed):
            curves(chosen, seeds=[0, 1], checkpoints=kept, progress=kill_at(share * chosen.steps))
    steps = [checkpoint.load()[0] for checkpoint in kept.values()]
    assert 0 < steps[1] < chosen.steps <= steps[0]
    torch.manual_seed(99)
    told = []
    resumed = curves(chosen, seeds=[0, 1], checkpoints=kept, progress=told.append)
    assert_same(resumed, whole)
    assert min(told) > chosen.steps  # it did not begin again
    # and from what a finished one left
    assert_same(curves(chosen, seeds=[0, 1], checkpoints=kept), whole)


def test_a_run_that_diverged_ends_the_same(tmp_path):
    chosen = settings(eta=5.0, steps=400, snapshots=201)
    whole, kept = curves(chosen), files(tmp_path, [0])
    step = float(whole[0]["diverged_step"][0])
    assert 10 < step < 400
    with pytest.raises(Killed):
        curves(chosen, checkpoints=kept, progress=kill_at(step - 3))
    for _ in range(2):  # from before it diverged, and from after
        assert_same(curves(chosen, checkpoints=kept), whole)
        assert kept[0].load()[0] == step


SCRIPT = """
import sys, pathlib, torch
from labelnoise.train import run
from labelnoise.train.checkpoint import Checkpoint
from {package}.made import curves, settings
torch.set_num_threads(1)
run.CHECKPOINT_SECONDS, run.STRIDE = -1.0, 2
checkpoint = Checkpoint(pathlib.Path(sys.argv[1]), "this")
curves(settings(**{given}), checkpoints={{0: checkpoint}})
"""


def test_it_ends_the_same_after_its_process_was_killed(tmp_path):
    given = CASES["dropout"] | {"steps": 300}
    chosen, path = settings(**given), tmp_path / "seed=0.safetensors"
    script = SCRIPT.format(package=__package__, given=given)
    checkpoint = Checkpoint(path, "this")
    root = Path(__file__).parents[2]
    process = subprocess.Popen([sys.executable, "-c", script, str(path)], cwd=root)
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if (found := checkpoint.load()) is not None and found[0] > 20:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.01)
    assert process.wait() == -signal.SIGKILL
    assert 20 < checkpoint.load()[0] < 300
    assert_same(curves(chosen, checkpoints={0: checkpoint}), curves(chosen))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]  # nor half a file


def test_a_checkpoint_of_another_training_is_not_read(tmp_path):
    chosen, whole = settings(), curves(settings())
    with pytest.raises(Killed):
        other = files(tmp_path, [0], "another")
        curves(settings(eta=0.1), checkpoints=other, progress=kill_at(10))
    assert files(tmp_path, [0], "another")[0].load() is not None
    mine = files(tmp_path, [0])
    assert mine[0].load() is None
    assert_same(curves(chosen, checkpoints=mine), whole)


@pytest.mark.parametrize("harm", ["truncated", "no_end", "empty", "rubbish", "pickle"])
def test_a_damaged_checkpoint_is_as_good_as_none(harm, tmp_path):
    kept = files(tmp_path, [0])
    whole = curves(settings(), checkpoints=kept)
    content = kept[0].path.read_bytes()
    kept[0].path.write_bytes(
        {
            "truncated": content[: len(content) // 2],
            "no_end": content[:-1],
            "empty": b"",
            "rubbish": b"\xff" * 1000,
            "pickle": pickle.dumps(Bomb()),
        }[harm]
    )
    assert kept[0].load() is None
    assert_same(curves(settings(), checkpoints=kept), whole)
    assert kept[0].load()[0] == 20


class Bomb:
    """Unpickled, it goes off."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


def test_it_is_removed_and_may_be_gone(tmp_path):
    (checkpoint,) = files(tmp_path, [0]).values()
    assert checkpoint.load() is None
    checkpoint.remove()
    checkpoint.save(3, {"a": torch.arange(4)})
    step, state = checkpoint.load()
    assert step == 3 and torch.equal(state["a"], torch.arange(4))
    checkpoint.remove()
    assert checkpoint.load() is None and not list(tmp_path.iterdir())


def test_the_same_tensors_give_the_same_bytes_whatever_their_layout(tmp_path):
    weight = torch.randn(2, 3, 4, 5)
    tensors = {"w": weight, "same": weight, "view": weight[:, 1:], "whole": torch.tensor(7)}
    save_tensors(tensors, tmp_path / "one")
    moved = tensors | {"w": weight.to(memory_format=torch.channels_last)}
    save_tensors(dict(reversed(moved.items())), tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_without_checkpoints_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    curves(settings())
    assert not list(tmp_path.iterdir())

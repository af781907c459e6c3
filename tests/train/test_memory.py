"""Measuring a network goes on with smaller batches where there is no room for large ones."""

import pytest
import torch

from labelnoise.train import observe
from labelnoise.train.observe import outputs
from labelnoise.train.steps import Trainer
from labelnoise.train.task import prepare

from .made import images, settings


class Device:
    """A network on a device that has room for some images at a time."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.seen: list[int] = []

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(x))
        if len(x) > self.room:
            raise torch.OutOfMemoryError("no room")
        return torch.stack([x.sum(1), x.prod(1)], 1)


@pytest.mark.parametrize("images", [1, 7, 16, 37])
@pytest.mark.parametrize("room", [1, 2, 3, 5, 100])
def test_the_outputs_are_those_of_one_batch(monkeypatch, images, room):
    monkeypatch.setattr(observe, "BATCH", 16)
    x = torch.rand(images, 3, dtype=torch.float64)
    device = Device(room)
    out = outputs(device, x)
    assert torch.equal(out, torch.stack([x.sum(1), x.prod(1)], 1))
    assert max(device.seen) == min(16, images)
    refused = [size for size in device.seen if size > room]
    # halved each time, and what is done is not done again
    assert refused == [min(16, images) // 2**i for i in range(len(refused))]
    assert sum(size for size in device.seen if size <= room) == images


def test_no_room_for_one_image_is_an_error():
    with pytest.raises(torch.OutOfMemoryError):
        outputs(Device(0), torch.rand(4, 3))


def test_other_errors_are_not_swallowed():
    calls = []

    def broken(x):
        calls.append(len(x))
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        outputs(broken, torch.rand(4, 3))
    assert calls == [4]


CASES = {
    "mlp": {"tau": 0.3, "momentum": 0.9},
    "wide_resnet": {"network": "wide_resnet", "width": 1, "eta": 0.02},
    "sam": {"algorithm": "sam", "rho": 0.1},
    "cross_entropy": {"loss": "cross_entropy", "batch_size": 5},
}


def trained(given, room, seen):
    """The weights after some steps on a device that has room for some images at a time."""
    task = prepare(settings(**given), images(), 3, "cpu")
    trainer = Trainer(task)

    gradient_of = trainer._gradient_of

    def crowded(x, labels):
        seen.append(len(x))
        if seen[-1] > room:
            raise torch.OutOfMemoryError("no room")
        return gradient_of(x, labels)

    trainer._gradient_of = crowded
    trainer.advance(6)
    return torch.cat([p.detach().flatten() for p in trainer.network.parameters()])


@pytest.mark.parametrize("room", [1, 2, 5, 11])
@pytest.mark.parametrize("case", CASES)
def test_a_step_on_a_batch_in_parts_is_the_step_on_the_batch(case, room):
    whole, seen = trained(CASES[case], 100, []), []
    parts = trained(CASES[case], room, seen)
    torch.testing.assert_close(parts, whole, rtol=1e-10, atol=1e-12)
    batch = CASES[case].get("batch_size", 12)
    refused = [size for size in seen if size > room]
    assert bool(refused) == (room < batch) and refused[:1] == [batch] * bool(refused)
    assert len(refused) <= 4  # it remembers what there is room for


def test_a_step_without_room_for_one_image_is_an_error():
    with pytest.raises(torch.OutOfMemoryError, match="no room"):
        trained(CASES["mlp"], 0, [])


def test_what_batch_norm_must_see_as_a_whole_is_not_split():
    seen, given = [], {"network": "resnet", "width": 2, "eta": 0.02}
    with pytest.raises(torch.OutOfMemoryError, match=r"12 images of a step.* a smaller batch_size"):
        trained(given, 11, seen)
    assert seen == [12]

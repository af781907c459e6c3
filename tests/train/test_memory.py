"""Measuring a network goes on with smaller batches where there is no room for large ones."""

import pytest
import torch

from labelnoise.train import observe
from labelnoise.train.observe import outputs


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

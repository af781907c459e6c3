"""Small images and networks for the tests of trainings, and naive references."""

import numpy as np
import torch
import xarray as xr
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from labelnoise.train.images import Split, layout
from labelnoise.train.run import train
from labelnoise.train.settings import TrainSettings

SMALL = {
    **{"network": "mlp", "width": 8, "train_images": 12, "test_images": 7},
    **{"steps": 20, "snapshots": 5, "eta": 0.3, "precision": "float64"},
}


def settings(**given) -> TrainSettings:
    return TrainSettings(**(SMALL | given))


def images(shape=(3, 10, 10), classes=4, repeated=0, source=7) -> xr.Dataset:
    """A source of 30 training and 20 test images; the first `repeated` are one image."""
    generator = np.random.default_rng(source)
    splits = []
    for count in (30, 20):
        labels = generator.permutation(np.arange(count) % classes).astype(np.uint8)
        pixels = generator.integers(0, 256, (count, *shape), np.uint8)
        pixels[:repeated] = pixels[0]
        splits.append(Split(pixels, labels))
    names = tuple(f"class{number}" for number in range(classes))
    return layout(*splits, classes=names, white=255, description="noise")


def curves(chosen: TrainSettings, source=None, seeds=(0,), **given):
    """The dataset and the weights of a training."""
    return train(chosen, images() if source is None else source, list(seeds), **given)


def assert_same(one, other):
    """Two trainings are the same to the last bit, as files are."""
    xr.testing.assert_identical(one[0], other[0])
    assert list(one[0].variables) == list(other[0].variables)
    assert list(one[1]) == list(other[1])
    assert one[1].keys() == other[1].keys()
    for name, value in one[1].items():
        # bytes, since NaN is not equal to itself
        assert value.numpy().tobytes() == other[1][name].numpy().tobytes(), name


class Dropping(nn.Module):
    """A convolution, a norm, dropout and a dense layer; one parameter is not used."""

    def __init__(self, image, classes, channels=4, rate=0.3, norm="batch"):
        super().__init__()
        self.first = nn.Conv2d(image[0], channels, 3)
        group = nn.GroupNorm(2, channels) if norm == "group" else None
        self.norm = group or nn.BatchNorm2d(channels)
        self.drop = nn.Dropout(rate)
        self.last = nn.Linear(channels, classes)
        self.unused = nn.Parameter(torch.ones(3))

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        return self.last(self.drop(x.mean((-2, -1))))


class Frozen(Dropping):
    """Its batch norm keeps to its running statistics, in training too."""

    def train(self, mode=True):
        super().train(mode)
        self.norm.eval()
        return self


class Normalised(nn.Module):
    """Weight norm and layer norm between dense layers."""

    def __init__(self, image, classes):
        super().__init__()
        self.first = weight_norm(nn.Linear(int(np.prod(image)), 6))
        self.norm = nn.LayerNorm(6)
        self.last = weight_norm(nn.Linear(6, classes))

    def forward(self, x):
        return self.last(torch.tanh(self.norm(self.first(x.flatten(1)))))


class Recurrent(nn.Module):
    """Reads an image row by row."""

    def __init__(self, image, classes, kind="LSTM"):
        super().__init__()
        channels, _, columns = image
        self.rows = getattr(nn, kind)(channels * columns, 5, batch_first=True)
        self.last = nn.Linear(5, classes)

    def forward(self, x):
        return self.last(self.rows(x.transpose(1, 2).flatten(2))[0][:, -1])


class RecurrentCell(nn.Module):
    """The same, with a cell."""

    def __init__(self, image, classes):
        super().__init__()
        channels, _, columns = image
        self.cell = nn.GRUCell(channels * columns, 5)
        self.last = nn.Linear(5, classes)

    def forward(self, x):
        state = x.new_zeros(len(x), 5)
        for row in x.transpose(1, 2).flatten(2).unbind(1):
            state = self.cell(row, state)
        return self.last(state)


class Tied(nn.Module):
    """Two layers that share a weight, and a layer that is not trained, before a dense one."""

    def __init__(self, image, classes):
        super().__init__()
        size = int(np.prod(image))
        self.frozen = nn.Linear(size, 6)
        self.frozen.requires_grad_(False)
        self.one, self.two = nn.Linear(6, 6), nn.Linear(6, 6)
        self.two.weight = self.one.weight
        self.last = nn.Linear(6, classes)

    def forward(self, x):
        x = torch.tanh(self.frozen(x.flatten(1)))
        return self.last(torch.tanh(self.two(torch.tanh(self.one(x)))))


class Bare(nn.Module):
    """No parameter of two dimensions."""

    def __init__(self, image, classes):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, x):
        return self.bias.expand(len(x), -1)


def not_a_network(image, classes):
    """A function, where a class is asked for."""
    return Bare(image, classes)


class Infinite(nn.Module):
    """Outputs that are not finite."""

    def __init__(self, image, classes):
        super().__init__()
        self.last = nn.Linear(int(np.prod(image)), classes)

    def forward(self, x):
        return self.last(x.flatten(1)) / 0

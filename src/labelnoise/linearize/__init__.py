"""What the network would do if it were lazy: its linearisation at the start."""

from labelnoise.simulate.settings import Settings
from labelnoise.train.settings import TrainSettings

LINEARIZED = ("sgd", "gd")
"""Algorithms of the two-layer network whose linearised run is defined."""


def is_linearized(settings: Settings | TrainSettings) -> bool:
    """Whether settings have a linearised run.

    Of a network on images it is full-batch gradient descent on the square loss, nothing more.
    """
    if isinstance(settings, Settings):
        return settings.algorithm in LINEARIZED
    plain = settings.algorithm == "sgd" or settings.rho == 0
    whole = settings.batch_size is None and not (settings.momentum or settings.weight_decay)
    return plain and whole and settings.loss == "mse"

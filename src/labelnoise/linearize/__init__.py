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
    whole = settings.batch_size is None and settings.eta_schedule == "constant"
    whole = whole and not (settings.momentum or settings.weight_decay)
    # batch norm makes an output depend on the other images
    own_output = settings.network != "resnet" and settings.augmentation == "none"
    return plain and whole and own_output and settings.loss == "mse"

"""What the network would do if it were lazy: its linearisation at the start."""

LINEARIZED = ("sgd", "gd")
"""Algorithms whose linearised run is defined."""

"""Everything random about a run: data, initialisation, sample order and label noise (paper §4.1).

Each array is a pure function of the settings and the seed. Runs that differ only in σ or η share
data, initialisation, sample order and noise signs (paired comparison).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int32

from labelnoise import rng
from labelnoise.rng import Stream

from .chain import chain_levels
from .settings import Settings

# parts of a stream
TRAIN, DIRECTION, TEST = 0, 1, 2
FIRST_LAYER, SECOND_LAYER = 0, 1


@dataclass(frozen=True)
class Problem:
    """The data and the initial network of one run.

    Attributes:
        theta_star: ground truth θ*, uniform on the sphere of radius `theta_star_norm`; (dim,).
        x: training inputs, x_i ~ N(0, I_d); (samples, dim).
        y: clean training labels ⟨θ*, x_i⟩; (samples,).
        x_test: fresh inputs of the same law; (test_samples, dim).
        w: first layer W(0), W_ij ~ N(0, 1/d) (eq. 5); (width, dim).
        a: second layer a(0), a_i ~ N(0, 1/m) (eq. 5), or the chain's first state; (width,).
    """

    theta_star: Float64[np.ndarray, "dim"]
    x: Float64[np.ndarray, "samples dim"]
    y: Float64[np.ndarray, "samples"]
    x_test: Float64[np.ndarray, "test_samples dim"]
    w: Float64[np.ndarray, "width dim"]
    a: Float64[np.ndarray, "width"]

    @cached_property
    def squared_inputs(self) -> Float64[np.ndarray, "samples"]:
        """‖x_i‖² of the training inputs."""
        return np.asarray(np.einsum("ij,ij->i", self.x, self.x))

    @cached_property
    def squared_w(self) -> Float64[np.ndarray, "width"]:
        """‖w_i‖² of the neurons at the start."""
        return np.asarray(np.einsum("ij,ij->i", self.w, self.w))


def draw_problem(settings: Settings, seed: int) -> Problem:
    """Draw the data and the NTK initialisation of one run (paper §4.1, eq. 5).

    Raises:
        ValueError: `seed` is not in 0 … 2³²−1.
    """
    n, m, d = settings.samples, settings.width, settings.dim

    def normal(stream: Stream, part: int, *shape: int) -> Float64[np.ndarray, "..."]:
        return rng.normals(seed, stream, 0, int(np.prod(shape)), part=part).reshape(shape)

    direction = normal(Stream.DATA, DIRECTION, d)
    theta_star = settings.theta_star_norm * direction / np.linalg.norm(direction)
    x = normal(Stream.DATA, TRAIN, n, d)
    w = normal(Stream.INITIALISATION, FIRST_LAYER, m, d) / np.sqrt(d)
    if settings.rule.stream == "chain":
        a = settings.delta * chain_levels(seed, np.array(settings.transition), m, 0, 1)[0]
    else:
        a = normal(Stream.INITIALISATION, SECOND_LAYER, m) / np.sqrt(m)
    if settings.initialisation == "small":
        shrink = np.sqrt(settings.learning_rate) / max(
            np.linalg.norm(w, axis=1).max(), np.abs(a).max()
        )
        w, a = shrink * w, shrink * a
    elif settings.initialisation == "aligned":
        a = np.sqrt(settings.theta_star_norm / 2) / np.linalg.norm(a) * a
        w = np.outer(a, theta_star / settings.theta_star_norm)
    return Problem(
        theta_star=theta_star,
        x=x,
        y=x @ theta_star,
        x_test=normal(Stream.DATA, TEST, settings.test_samples, d),
        w=w,
        a=a,
    )


def sample_order(seed: int, samples: int, start: int, count: int) -> Int32[np.ndarray, "count"]:
    """Indices i_t of the samples that steps `start … start+count−1` see, uniform on 0 … n−1."""
    return rng.integers(seed, Stream.SAMPLE_ORDER, start, count, below=samples)


def label_noise(
    seed: int, law: Literal["sign", "gaussian"], start: int, count: int
) -> Float64[np.ndarray, "count"]:
    """Label noise ε_t/σ of steps `start … start+count−1`: ±1, or N(0, 1) of the same signs."""
    draw = rng.signs if law == "sign" else rng.normals
    return draw(seed, Stream.LABEL_NOISE, start, count)

"""The compiled core: the step rules of `rules` for one run on one CPU core, by Numba.

The state is stored transposed, one row an input (and a last one for `a`), neurons contiguous and
padded with zeros to whole vectors: a neuron that is zero stays zero. A step's update of W and the
next step's hidden layer share one pass over W.
"""

import numpy as np
from jaxtyping import Float64
from numba import njit

LANES = 8
"""Neurons are padded to a multiple of this: one AVX-512 vector of float64."""


def pack(core: Float64[np.ndarray, "neuron inputplus1"]) -> Float64[np.ndarray, "inputplus1 lane"]:
    """The transposed, padded copy of a state [W | a] that the kernels work on."""
    neurons, columns = core.shape
    lanes = -(-neurons // LANES) * LANES
    # NumPy aligns to 16 bytes; aligned to a cache line the kernel is up to 30 % faster
    buffer = np.zeros(columns * lanes + LANES)
    offset = -(buffer.ctypes.data // buffer.itemsize) % LANES
    state = buffer[offset : offset + columns * lanes].reshape(columns, lanes)
    state[:, :neurons] = core.T
    return state


@njit(nogil=True, cache=True, fastmath={"contract"})
def sgd(state, x, y, order, noise, eta, limit):  # type: ignore[no-untyped-def]
    """Run label-noise SGD (paper eq. 3–4) in place, one step for each entry of `order`.

    Args:
        state: packed [W | a], changed in place; (input + 1, lane).
        x: inputs; (sample, input).
        y: clean labels; (sample,).
        order: sample index of each step; (step,).
        noise: label noise ε of each step; (step,).
        eta: learning rate η.
        limit: a residual beyond this, or not finite, is divergence.

    Returns:
        The number of steps taken: fewer than asked for if and only if the run diverged.
    """
    steps = order.shape[0]
    dim = state.shape[0] - 1
    lanes = state.shape[1]
    a = state[dim].copy()
    hidden = np.zeros(lanes)
    following = np.zeros(lanes)
    if steps > 0:
        for k in range(dim):
            for j in range(lanes):
                hidden[j] += state[k, j] * x[order[0], k]
    for t in range(steps):
        now = order[t]
        after = order[min(t + 1, steps - 1)]
        # four partial sums in a fixed order: the same bits whatever the vector width
        f0 = f1 = f2 = f3 = 0.0
        for j in range(0, lanes, 4):
            f0 += a[j] * hidden[j]
            f1 += a[j + 1] * hidden[j + 1]
            f2 += a[j + 2] * hidden[j + 2]
            f3 += a[j + 3] * hidden[j + 3]
        residual = (f0 + f1) + (f2 + f3) - (y[now] + noise[t])
        if not abs(residual) <= limit:
            state[dim] = a
            return t
        step = -eta * residual
        following[:] = 0.0
        for k in range(dim):
            change = step * x[now, k]
            x_after = x[after, k]
            for j in range(lanes):
                weight = state[k, j] + change * a[j]
                state[k, j] = weight
                following[j] += weight * x_after
        for j in range(lanes):
            a[j] += step * hidden[j]
            hidden[j] = following[j]
    state[dim] = a
    return steps

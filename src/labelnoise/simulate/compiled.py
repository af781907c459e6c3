"""The compiled core: the step rules of `rules` for one run on one CPU core, by Numba.

`sgd` and `sam` take one step after another, in a few lines: `blocks` has the same rules at about
twice the speed, and is checked against these.

The state is stored transposed, one row an input (and a last one for `a`), neurons contiguous and
padded with zeros to whole vectors: a neuron that is zero stays zero. A step's update of W and the
next step's hidden layer share one pass over W.

A kernel takes its steps in place and returns how many it took: fewer than asked for if and only
if the run diverged, and then the state is the one before the step that it did not take. Sums have
a fixed order: the same bits whatever the vector width, and however the steps are split into calls.

The kernels call nothing outside of this file: Numba compiles a cached function again when its own
file changes, and not when another does.
"""

import math

import numpy as np
from jaxtyping import Float64
from numba import njit

LANES = 8
"""Neurons are padded to a multiple of this: one AVX-512 vector of float64."""

_TILE = 64  # a power of 2


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
def _dot(u, v):  # type: ignore[no-untyped-def]
    """⟨u, v⟩ in four partial sums."""
    size = u.shape[0]
    whole = size - size % 4
    s0 = s1 = s2 = s3 = 0.0
    for j in range(0, whole, 4):
        s0 += u[j] * v[j]
        s1 += u[j + 1] * v[j + 1]
        s2 += u[j + 2] * v[j + 2]
        s3 += u[j + 3] * v[j + 3]
    for j in range(whole, size):
        s0 += u[j] * v[j]
    return (s0 + s1) + (s2 + s3)


@njit(nogil=True, cache=True, fastmath={"contract"})
def _first_hidden(state, x, order):  # type: ignore[no-untyped-def]
    """The hidden layer Wx of the first step."""
    hidden = np.zeros(state.shape[1])
    if order.shape[0] > 0:
        for k in range(state.shape[0] - 1):
            for j in range(state.shape[1]):
                hidden[j] += state[k, j] * x[order[0], k]
    return hidden


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
    hidden = _first_hidden(state, x, order)
    following = np.empty(lanes)
    for t in range(steps):
        now = order[t]
        after = order[min(t + 1, steps - 1)]
        residual = _dot(a, hidden) - (y[now] + noise[t])
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


@njit(nogil=True, cache=True, fastmath={"contract"})
def sam(state, x, y, order, noise, eta, rho, limit):  # type: ignore[no-untyped-def]
    """Run SAM (paper §5, `rules.sam_step`) in place, one step for each entry of `order`.

    Args:
        state: packed [W | a], changed in place; (input + 1, lane).
        x: inputs; (sample, input).
        y: clean labels; (sample,).
        order: sample index of each step; (step,).
        noise: label noise ε of each step; (step,).
        eta: learning rate η.
        rho: radius ρ of the perturbation.
        limit: a residual beyond this, or not finite, is divergence.

    Returns:
        The number of steps taken.
    """
    steps = order.shape[0]
    dim = state.shape[0] - 1
    lanes = state.shape[1]
    squared = np.empty(x.shape[0])
    for i in range(x.shape[0]):
        squared[i] = _dot(x[i], x[i])
    a = state[dim].copy()
    there = np.empty(lanes)
    hidden = _first_hidden(state, x, order)
    following = np.empty(lanes)
    for t in range(steps):
        now = order[t]
        after = order[min(t + 1, steps - 1)]
        output = _dot(a, hidden)
        residual = output - (y[now] + noise[t])
        if not abs(residual) <= limit:
            state[dim] = a
            return t
        # all that the perturbed point is needed for follows from three products of a and Wx
        squared_norm = _dot(a, a) * squared[now] + _dot(hidden, hidden)
        c = 0.0
        if residual != 0.0 and squared_norm > 0.0:
            c = math.copysign(rho / math.sqrt(squared_norm), residual)
        cx = c * squared[now]
        step = -eta * (residual + c * (squared_norm + cx * output))
        for j in range(lanes):
            there[j] = a[j] + c * hidden[j]
            a[j] += step * (hidden[j] + cx * a[j])
        following[:] = 0.0
        for k in range(dim):
            change = step * x[now, k]
            x_after = x[after, k]
            for j in range(lanes):
                weight = state[k, j] + change * there[j]
                state[k, j] = weight
                following[j] += weight * x_after
        hidden[:] = following
    state[dim] = a
    return steps


@njit(nogil=True, cache=True, fastmath={"contract"})
def momentum(state, memory, x, y, order, noise, eta, mu, limit):  # type: ignore[no-untyped-def]
    """Run SGD with heavy-ball momentum (`rules.momentum_step`) in place, a step for each sample.

    Args:
        state: packed [W | a], changed in place; (input + 1, lane).
        memory: packed sum G of the gradients, changed in place; (input + 1, lane).
        x: inputs; (sample, input).
        y: clean labels; (sample,).
        order: sample index of each step; (step,).
        noise: label noise ε of each step; (step,).
        eta: learning rate η.
        mu: momentum μ.
        limit: a residual beyond this, or not finite, is divergence.

    Returns:
        The number of steps taken.
    """
    steps = order.shape[0]
    dim = state.shape[0] - 1
    lanes = state.shape[1]
    a = state[dim].copy()
    hidden = _first_hidden(state, x, order)
    following = np.empty(lanes)
    for t in range(steps):
        now = order[t]
        after = order[min(t + 1, steps - 1)]
        residual = _dot(a, hidden) - (y[now] + noise[t])
        if not abs(residual) <= limit:
            state[dim] = a
            return t
        following[:] = 0.0
        for k in range(dim):
            slope = residual * x[now, k]
            x_after = x[after, k]
            for j in range(lanes):
                gradient = mu * memory[k, j] + slope * a[j]
                memory[k, j] = gradient
                weight = state[k, j] - eta * gradient
                state[k, j] = weight
                following[j] += weight * x_after
        for j in range(lanes):
            gradient = mu * memory[dim, j] + residual * hidden[j]
            memory[dim, j] = gradient
            a[j] -= eta * gradient
            hidden[j] = following[j]
    state[dim] = a
    return steps


@njit(nogil=True, cache=True, fastmath={"contract"})
def _symmetric_product(matrix, vector, product):  # type: ignore[no-untyped-def]
    """Write the product of a symmetric matrix with a vector, row by row: that vectorises."""
    product[:] = 0.0
    for k in range(vector.shape[0]):
        for j in range(vector.shape[0]):
            product[j] += vector[k] * matrix[k, j]


@njit(nogil=True, cache=True, fastmath={"contract"})
def _gradient(theta, covariance, correlation, limit, g):  # type: ignore[no-untyped-def]
    """Write g = Σ̂θ − ĉ; whether all of it is finite and within the limit."""
    _symmetric_product(covariance, theta, g)
    fine = True
    for k in range(g.shape[0]):
        g[k] -= correlation[k]
        if not abs(g[k]) <= limit:
            fine = False
    return fine


@njit(nogil=True, cache=True, fastmath={"contract"})
def gd(state, covariance, correlation, steps, eta, limit):  # type: ignore[no-untyped-def]
    """Run full-batch gradient descent (`rules.gd_step`) in place.

    Args:
        state: packed [W | a], changed in place; (input + 1, lane).
        covariance: Σ̂ = XᵀX/n; (input, input).
        correlation: ĉ = Xᵀy/n; (input,).
        steps: number of steps.
        eta: learning rate η.
        limit: an entry of g = Σ̂Wᵀa − ĉ beyond this, or not finite, is divergence.

    Returns:
        The number of steps taken.
    """
    dim = state.shape[0] - 1
    lanes = state.shape[1]
    a = state[dim].copy()
    projected = np.empty(lanes)
    theta = np.empty(dim)
    g = np.empty(dim)
    for t in range(steps):
        for k in range(dim):
            theta[k] = _dot(state[k], a)
        if not _gradient(theta, covariance, correlation, limit, g):
            state[dim] = a
            return t
        projected[:] = 0.0
        for k in range(dim):
            change = -eta * g[k]
            for j in range(lanes):
                weight = state[k, j]
                projected[j] += change * weight
                state[k, j] = weight + change * a[j]
        for j in range(lanes):
            a[j] += projected[j]
    state[dim] = a
    return steps


@njit(nogil=True, cache=True, fastmath={"contract"})
def linear(theta, x, y, mx, order, noise, eta, limit):  # type: ignore[no-untyped-def]
    """Run label-noise SGD on the linearised model in place.

    Args:
        theta: predictor θ of the linearised model, changed in place; (input,).
        x: inputs; (sample, input).
        y: clean labels; (sample,).
        mx: the inputs times the metric, XM with M = ‖a(0)‖² I + W(0)ᵀW(0); (sample, input).
        order: sample index of each step; (step,).
        noise: label noise ε of each step; (step,).
        eta: learning rate η.
        limit: a residual beyond this, or not finite, is divergence.

    Returns:
        The number of steps taken.
    """
    dim = theta.shape[0]
    for t in range(order.shape[0]):
        now = order[t]
        residual = _dot(theta, x[now]) - (y[now] + noise[t])
        if not abs(residual) <= limit:
            return t
        step = -eta * residual
        for k in range(dim):
            theta[k] += step * mx[now, k]
    return order.shape[0]


@njit(nogil=True, cache=True, fastmath={"contract"})
def linear_gd(  # type: ignore[no-untyped-def]
    theta, covariance, correlation, metric, steps, eta, limit
):
    """Run full-batch gradient descent on the linearised model in place.

    Args:
        theta: predictor θ of the linearised model, changed in place; (input,).
        covariance: Σ̂ = XᵀX/n; (input, input).
        correlation: ĉ = Xᵀy/n; (input,).
        metric: M = ‖a(0)‖² I + W(0)ᵀW(0); (input, input).
        steps: number of steps.
        eta: learning rate η.
        limit: an entry of g = Σ̂θ − ĉ beyond this, or not finite, is divergence.

    Returns:
        The number of steps taken.
    """
    dim = theta.shape[0]
    g = np.empty(dim)
    preconditioned = np.empty(dim)
    for t in range(steps):
        if not _gradient(theta, covariance, correlation, limit, g):
            return t
        _symmetric_product(metric, g, preconditioned)
        for k in range(dim):
            theta[k] -= eta * preconditioned[k]
    return steps


@njit(nogil=True, cache=True, fastmath={"contract"})
def _update_and_project(w, change, now, after, theta):  # type: ignore[no-untyped-def]
    """W ← W + now changeᵀ and θ = Wᵀ after, in one pass over W (here transposed)."""
    # a partial sum a lane of the tile: the inner loop reduces nothing, so that it vectorises with
    # the order of the sums fixed; partial sums in scalars took twice the time
    sums = np.empty(_TILE)
    for k in range(w.shape[0]):
        by = change[k]
        sums[:] = 0.0
        for left in range(0, w.shape[1], _TILE):
            row = w[k, left : left + _TILE]
            was = now[left : left + _TILE]
            becomes = after[left : left + _TILE]
            for j in range(row.shape[0]):
                weight = row[j] + by * was[j]
                row[j] = weight
                sums[j] += weight * becomes[j]
        half = _TILE // 2
        while half > 0:
            for j in range(half):
                sums[j] += sums[j + half]
            half //= 2
        theta[k] = sums[0]


@njit(nogil=True, cache=True)
def _move_chain(level, thresholds, words):  # type: ignore[no-untyped-def]
    """Move the chain of each neuron once (see `labelnoise.simulate.chain`)."""
    for i in range(level.shape[0]):
        word = np.uint64(words[i])
        row = level[i] + 1
        level[i] = np.int8(word >= thresholds[row, 0]) + np.int8(word >= thresholds[row, 1]) - 1


@njit(nogil=True, cache=True, fastmath={"contract"})
def oscillate(  # type: ignore[no-untyped-def]
    w, level, covariance, correlation, delta, thresholds, active, words, eta, limit
):
    """Train W by full-batch gradient descent while `a` follows its chain (§4.3, Lemma 4.4).

    Step t: W ← W − η a gᵀ with g = Σ̂Wᵀa − ĉ and a = δ·level; then, where the chain is active,
    every neuron's level moves by its word of the random stream (`labelnoise.simulate.chain`). The
    m levels are independent, so that the network has no smaller core; but they do not depend on
    W, so that a step's update and the next step's Wᵀa share one pass over W.

    Args:
        w: packed W, changed in place; (input, lane).
        level: a/δ in −1, 0, 1, changed in place; (neuron,) of int8.
        covariance: Σ̂ = XᵀX/n; (input, input).
        correlation: ĉ = Xᵀy/n; (input,).
        delta: size δ of the oscillation.
        thresholds: of the chain's moves, from `labelnoise.simulate.chain.thresholds`; (3, 2).
        active: 0 where the chain is paused after a step and `a` keeps its values; (step,).
        words: random words of the chain's moves; (step, neuron) of uint32.
        eta: learning rate η.
        limit: an entry of g beyond this, or not finite, is divergence.

    Returns:
        The number of steps taken.
    """
    dim, lanes = w.shape
    neurons = level.shape[0]
    now = np.zeros(lanes)
    after = np.zeros(lanes)
    change = np.zeros(dim)
    theta = np.empty(dim)
    g = np.empty(dim)
    for i in range(neurons):
        after[i] = delta * level[i]
    _update_and_project(w, change, now, after, theta)  # no change: only Wᵀa of the first step
    for t in range(active.shape[0]):
        if not _gradient(theta, covariance, correlation, limit, g):
            return t
        for k in range(dim):
            change[k] = -eta * g[k]
        now, after = after, now
        if active[t]:
            _move_chain(level, thresholds, words[t])
        for i in range(neurons):
            after[i] = delta * level[i]
        _update_and_project(w, change, now, after, theta)
    return active.shape[0]

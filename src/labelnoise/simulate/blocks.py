"""The compiled steps of SGD and SAM, in blocks of four: Numba, in explicit vectors of 8 float64.

A step's update of W and the next step's Wx each read all of W. In a block W is read and written
once: H = WX is computed for the block's samples at once, and when step u has moved W by m_u x_uᵀ,
the later columns of H are corrected by m_u (x_u·x_v), with the product looked up.

One more thing keeps the core's multiply-add units busy. A block's steps wait for each other (each
residual needs the last one), while the passes over W do not wait for them: so the pass that goes
with block b adds the moves of block b − 1 and computes H for block b + 1, which is corrected by the
moves of block b once they are known. W lags behind by the moves of one block, which are kept beside
it, until `settle` adds them.

The state is stored transposed, one row an input, neurons contiguous and padded with zeros to whole
vectors: a neuron that is zero stays zero. Lanes do not depend on one another, and all sums have a
fixed order: the same bits whatever the vector width. Blocks are counted from the first step of a
call: calls that take whole blocks, one after another, give the same bits as one call.

The kernels call nothing outside of this file: Numba compiles a cached function again when its own
file changes, and not when another does.
"""

import math
from typing import Any

import numpy as np
from jaxtyping import Float64
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

BLOCK = 4
"""Steps of a block."""

LANES = 8
"""Neurons are padded to a multiple of this: a vector, one AVX-512 register or two of AVX2."""

_SCRATCH = 4 * BLOCK  # rows after [W | a]: two blocks' moves and two blocks' hidden layers
_BYTES = 8  # of a float64
_VECTOR_BYTES = _BYTES * LANES
_MOST_SAMPLES = 2000  # whose products are all kept: 32 MB

# ---- vectors, by their addresses: arrays would be counted as references at every turn ----------

# called without the typing context that they are written with: not by the types that mypy sees
_instruction: Any = intrinsic

_IR = ir.VectorType(ir.DoubleType(), LANES)
_INT = ir.IntType(32)


class _Vector(types.Type):
    def __init__(self) -> None:
        super().__init__("float64x8")


class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: Any) -> None:
        super().__init__(manager, fe_type, _IR)


def _registered() -> types.Type:
    register_model(_Vector)(_VectorModel)
    return _Vector()


_vector = _registered()


@_instruction
def _load(typing, address):
    """The vector at an address."""

    def generate(context, builder, signature, arguments):
        vector = builder.load(builder.inttoptr(arguments[0], _IR.as_pointer()))
        vector.align = _BYTES
        return vector

    return _vector(types.intp), generate


@_instruction
def _store(typing, address, vector):
    """Write a vector to an address."""

    def generate(context, builder, signature, arguments):
        pointer = builder.inttoptr(arguments[0], _IR.as_pointer())
        builder.store(arguments[1], pointer).align = _BYTES
        return context.get_dummy_value()

    return types.void(types.intp, _vector), generate


@_instruction
def _number(typing, address):
    """The float64 at an address."""

    def generate(context, builder, signature, arguments):
        return builder.load(builder.inttoptr(arguments[0], ir.DoubleType().as_pointer()))

    return types.float64(types.intp), generate


@_instruction
def _all(typing, number):
    """The vector of a number in every lane."""

    def generate(context, builder, signature, arguments):
        empty = ir.Constant(_IR, ir.Undefined)
        one = builder.insert_element(empty, arguments[0], _INT(0))
        lanes = ir.Constant(ir.VectorType(_INT, LANES), [0] * LANES)
        return builder.shuffle_vector(one, empty, lanes)

    return _vector(types.float64), generate


@_instruction
def _fma(typing, x, y, z):
    """The vector xy + z, rounded once where the machine can."""

    def generate(context, builder, signature, arguments):
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_IR, [_IR] * 3), f"llvm.fmuladd.v{LANES}f64"
        )
        return builder.call(function, arguments)

    return _vector(_vector, _vector, _vector), generate


@_instruction
def _product(typing, x, y):
    """The vector xy."""

    def generate(context, builder, signature, arguments):
        return builder.fmul(*arguments)

    return _vector(_vector, _vector), generate


@_instruction
def _sum(typing, vector):
    """The sum over the lanes, upper half to lower half."""

    def generate(context, builder, signature, arguments):
        (vector,), lanes = arguments, LANES
        while lanes > 1:
            lanes //= 2
            halves = [
                builder.shuffle_vector(
                    vector,
                    vector,
                    ir.Constant(ir.VectorType(_INT, lanes), list(range(first, first + lanes))),
                )
                for first in (0, lanes)
            ]
            vector = builder.fadd(*halves)
        return builder.extract_element(vector, _INT(0))

    return types.float64(_vector), generate


@_instruction
def _wide(typing):
    """Whether the machine compiled for has 32 registers of a whole vector (AVX-512)."""

    def generate(context, builder, signature, arguments):
        return ir.IntType(1)("+avx512f" in context.codegen().magic_tuple()[2].split(","))

    return types.boolean(), generate


_OPTIONS: dict[str, Any] = {"nogil": True, "cache": True, "fastmath": {"contract"}}

# ---- state -------------------------------------------------------------------------------------


def pack(core: Float64[np.ndarray, "neuron inputplus1"]) -> Float64[np.ndarray, "row lane"]:
    """The state that the kernels work on: W and a, transposed and padded, and their scratch."""
    neurons, columns = core.shape
    state = _aligned(columns + _SCRATCH, -(-neurons // LANES) * LANES)
    state[:columns, :neurons] = core.T
    return state


def _aligned(rows: int, lanes: int) -> Float64[np.ndarray, "row lane"]:
    """Zeros, from the start of a cache line on: NumPy aligns to 16 bytes, at the cost of time."""
    buffer = np.zeros(rows * lanes + LANES)
    offset = -(buffer.ctypes.data // _BYTES) % LANES
    return buffer[offset : offset + rows * lanes].reshape(rows, lanes)


def copy(state: Float64[np.ndarray, "row lane"]) -> Float64[np.ndarray, "row lane"]:
    """A copy of a state, aligned as it is."""
    twin = _aligned(*state.shape)
    twin[:] = state
    return twin


@njit(**_OPTIONS)
def _dot(u, v, dim):
    """u·v, the same bits in either order."""
    s0 = s1 = 0.0
    for k in range(0, dim - 1, 2):
        s0 += _number(u + k * _BYTES) * _number(v + k * _BYTES)
        s1 += _number(u + (k + 1) * _BYTES) * _number(v + (k + 1) * _BYTES)
    if dim % 2:
        s0 += _number(u + (dim - 1) * _BYTES) * _number(v + (dim - 1) * _BYTES)
    return s0 + s1


@njit(**_OPTIONS)
def _products(x, size):
    gram = np.empty((size, size))
    row = x.shape[1] * _BYTES
    for i in range(size):
        for j in range(i + 1):
            both = _dot(x.ctypes.data + i * row, x.ctypes.data + j * row, x.shape[1])
            gram[i, j] = gram[j, i] = both
    return gram


def products(x: Float64[np.ndarray, "sample input"]) -> Float64[np.ndarray, "entry entry"]:
    """The products x_i·x_j of all inputs; none where they are so many that steps find their own."""
    return np.asarray(_products(np.ascontiguousarray(x), len(x) if len(x) <= _MOST_SAMPLES else 0))


# ---- passes over W -----------------------------------------------------------------------------


@njit(**_OPTIONS, forceinline=True)
def _tile(w, row, dim, moves, l0, l1, l2, l3, hidden, n0, n1, n2, n3):
    """One vector of neurons: add a block's moves to rows of W, and these rows to a block's Wx."""
    m0 = _load(moves)
    m1 = _load(moves + row)
    m2 = _load(moves + 2 * row)
    m3 = _load(moves + 3 * row)
    h0 = _all(0.0)
    h1 = _all(0.0)
    h2 = _all(0.0)
    h3 = _all(0.0)
    for k in range(dim):
        at, column = w + k * row, k * _BYTES
        weight = _load(at)
        weight = _fma(m0, _all(_number(l0 + column)), weight)
        weight = _fma(m1, _all(_number(l1 + column)), weight)
        weight = _fma(m2, _all(_number(l2 + column)), weight)
        weight = _fma(m3, _all(_number(l3 + column)), weight)
        _store(at, weight)
        h0 = _fma(weight, _all(_number(n0 + column)), h0)
        h1 = _fma(weight, _all(_number(n1 + column)), h1)
        h2 = _fma(weight, _all(_number(n2 + column)), h2)
        h3 = _fma(weight, _all(_number(n3 + column)), h3)
    _store(hidden, h0)
    _store(hidden + row, h1)
    _store(hidden + 2 * row, h2)
    _store(hidden + 3 * row, h3)


@njit(**_OPTIONS, forceinline=True)
def _wide_tile(w, row, dim, moves, l0, l1, l2, l3, hidden, n0, n1, n2, n3):
    """As `_tile`, three vectors of neurons side by side: an input is fetched once for them."""
    m0a = _load(moves)
    m0b = _load(moves + _VECTOR_BYTES)
    m0c = _load(moves + 2 * _VECTOR_BYTES)
    m1a = _load(moves + row)
    m1b = _load(moves + row + _VECTOR_BYTES)
    m1c = _load(moves + row + 2 * _VECTOR_BYTES)
    m2a = _load(moves + 2 * row)
    m2b = _load(moves + 2 * row + _VECTOR_BYTES)
    m2c = _load(moves + 2 * row + 2 * _VECTOR_BYTES)
    m3a = _load(moves + 3 * row)
    m3b = _load(moves + 3 * row + _VECTOR_BYTES)
    m3c = _load(moves + 3 * row + 2 * _VECTOR_BYTES)
    h0a = h0b = h0c = _all(0.0)
    h1a = h1b = h1c = _all(0.0)
    h2a = h2b = h2c = _all(0.0)
    h3a = h3b = h3c = _all(0.0)
    for k in range(dim):
        at, column = w + k * row, k * _BYTES
        wa = _load(at)
        wb = _load(at + _VECTOR_BYTES)
        wc = _load(at + 2 * _VECTOR_BYTES)
        x = _all(_number(l0 + column))
        wa = _fma(m0a, x, wa)
        wb = _fma(m0b, x, wb)
        wc = _fma(m0c, x, wc)
        x = _all(_number(l1 + column))
        wa = _fma(m1a, x, wa)
        wb = _fma(m1b, x, wb)
        wc = _fma(m1c, x, wc)
        x = _all(_number(l2 + column))
        wa = _fma(m2a, x, wa)
        wb = _fma(m2b, x, wb)
        wc = _fma(m2c, x, wc)
        x = _all(_number(l3 + column))
        wa = _fma(m3a, x, wa)
        wb = _fma(m3b, x, wb)
        wc = _fma(m3c, x, wc)
        _store(at, wa)
        _store(at + _VECTOR_BYTES, wb)
        _store(at + 2 * _VECTOR_BYTES, wc)
        x = _all(_number(n0 + column))
        h0a = _fma(wa, x, h0a)
        h0b = _fma(wb, x, h0b)
        h0c = _fma(wc, x, h0c)
        x = _all(_number(n1 + column))
        h1a = _fma(wa, x, h1a)
        h1b = _fma(wb, x, h1b)
        h1c = _fma(wc, x, h1c)
        x = _all(_number(n2 + column))
        h2a = _fma(wa, x, h2a)
        h2b = _fma(wb, x, h2b)
        h2c = _fma(wc, x, h2c)
        x = _all(_number(n3 + column))
        h3a = _fma(wa, x, h3a)
        h3b = _fma(wb, x, h3b)
        h3c = _fma(wc, x, h3c)
    _store(hidden, h0a)
    _store(hidden + _VECTOR_BYTES, h0b)
    _store(hidden + 2 * _VECTOR_BYTES, h0c)
    _store(hidden + row, h1a)
    _store(hidden + row + _VECTOR_BYTES, h1b)
    _store(hidden + row + 2 * _VECTOR_BYTES, h1c)
    _store(hidden + 2 * row, h2a)
    _store(hidden + 2 * row + _VECTOR_BYTES, h2b)
    _store(hidden + 2 * row + 2 * _VECTOR_BYTES, h2c)
    _store(hidden + 3 * row, h3a)
    _store(hidden + 3 * row + _VECTOR_BYTES, h3b)
    _store(hidden + 3 * row + 2 * _VECTOR_BYTES, h3c)


@njit(**_OPTIONS, forceinline=True)
def _pass(part, w, row, dim, moves, l0, l1, l2, l3, hidden, n0, n1, n2, n3):
    """A part, of four, of a pass over W: W ← W + Σ m_u x_uᵀ and H = W [x_v …]."""
    vectors = row // _VECTOR_BYTES
    start, end = (part * vectors + 3) // 4, ((part + 1) * vectors + 3) // 4
    if _wide():
        # three vectors at a time; a core at d = 20 has just three, so that there is one part
        start, end = (0, vectors) if part == 0 else (0, 0)
        while start + 3 <= end:
            at = start * _VECTOR_BYTES
            _wide_tile(w + at, row, dim, moves + at, l0, l1, l2, l3, hidden + at, n0, n1, n2, n3)
            start += 3
    while start < end:
        at = start * _VECTOR_BYTES
        _tile(w + at, row, dim, moves + at, l0, l1, l2, l3, hidden + at, n0, n1, n2, n3)
        start += 1


@njit(**_OPTIONS, forceinline=True)
def _inputs(x, dim, gram, size, i, j):
    """x_i·x_j, looked up in `size` products of each sample if there are any."""
    if size > 0:
        return _number(gram + (i * size + j) * _BYTES)
    return _dot(x + i * dim * _BYTES, x + j * dim * _BYTES, dim)


@njit(**_OPTIONS, forceinline=True)
def _correct(x, dim, gram, size, row, moves, i0, i1, i2, i3, hidden, v):
    """Correct Wx_v by the moves of the block before, Σ m_u (x_u·x_v)."""
    g0 = _all(_inputs(x, dim, gram, size, i0, v))
    g1 = _all(_inputs(x, dim, gram, size, i1, v))
    g2 = _all(_inputs(x, dim, gram, size, i2, v))
    g3 = _all(_inputs(x, dim, gram, size, i3, v))
    for start in range(0, row, _VECTOR_BYTES):
        h = _load(hidden + start)
        h = _fma(_load(moves + start), g0, h)
        h = _fma(_load(moves + row + start), g1, h)
        h = _fma(_load(moves + 2 * row + start), g2, h)
        h = _fma(_load(moves + 3 * row + start), g3, h)
        _store(hidden + start, h)


# ---- steps -------------------------------------------------------------------------------------


@njit(**_OPTIONS, forceinline=True)
def _look(row, a, hidden, perturbed):
    """⟨a, h⟩ and, for SAM, ⟨a, a⟩ and ⟨h, h⟩, each lane's share of them."""
    ah = aa = hh = _all(0.0)
    for start in range(0, row, _VECTOR_BYTES):
        second, h = _load(a + start), _load(hidden + start)
        ah = _fma(second, h, ah)
        if perturbed:
            aa = _fma(second, second, aa)
            hh = _fma(h, h, hh)
    return ah, aa, hh


@njit(**_OPTIONS, forceinline=True)
def _move(s, row, a, hidden, moves, step, c, cx, g1, g2, g3, perturbed):
    """Step s of a block, but for W; and `_look` at the next step's, in the same pass.

    The move of W is m = step (a + c h), that of a is step (h + cx a), with c = cx = 0 for SGD.
    """
    ah = aa = hh = _all(0.0)
    step, c, cx, g1, g2, g3 = _all(step), _all(c), _all(cx), _all(g1), _all(g2), _all(g3)
    now = hidden + s * row
    for start in range(0, row, _VECTOR_BYTES):
        second, h = _load(a + start), _load(now + start)
        there, at = second, h
        if perturbed:
            there, at = _fma(c, h, second), _fma(cx, second, h)
        move, second = _product(step, there), _fma(step, at, second)
        _store(moves + s * row + start, move)
        _store(a + start, second)
        if s < 3:
            h = _fma(g1, move, _load(now + row + start))
            _store(now + row + start, h)
            ah = _fma(second, h, ah)
            if perturbed:
                aa = _fma(second, second, aa)
                hh = _fma(h, h, hh)
        if s < 2:
            _store(now + 2 * row + start, _fma(g2, move, _load(now + 2 * row + start)))
        if s < 1:
            _store(now + 3 * row + start, _fma(g3, move, _load(now + 3 * row + start)))
    return ah, aa, hh


@njit(**_OPTIONS, forceinline=True)
def _step(
    s, going, looked, row, a, hidden, moves, target, eta, rho, limit, squared, g1, g2, g3, perturbed
):
    """Step s of a block if the run is still going; whether it is, and what the next step needs."""
    if going:
        output = _sum(looked[0])
        residual = output - target
        if abs(residual) <= limit:
            c = cx = 0.0
            slope = residual
            if perturbed:
                # all that the perturbed point is needed for follows from three products
                squared_norm = _sum(looked[1]) * squared + _sum(looked[2])
                if residual != 0.0 and squared_norm > 0.0:
                    c = math.copysign(rho / math.sqrt(squared_norm), residual)
                cx = c * squared
                slope = residual + c * (squared_norm + cx * output)
            looked = _move(s, row, a, hidden, moves, -eta * slope, c, cx, g1, g2, g3, perturbed)
        else:
            going = False
    if not going:
        for start in range(0, row, _VECTOR_BYTES):
            _store(moves + s * row + start, _all(0.0))
    return going, looked


@njit(**_OPTIONS, forceinline=True)
def _run(state, late_samples, x, y, gram, order, noise, eta, rho, limit, perturbed):
    dim, steps, size = x.shape[1], order.shape[0], gram.shape[0]
    if steps == 0:
        return 0
    row = state.shape[1] * _BYTES
    w = state.ctypes.data
    a = w + dim * row
    late, moves, hidden, following = a + row, a + 5 * row, a + 9 * row, a + 13 * row
    xs, products_, width = x.ctypes.data, gram.ctypes.data, dim * _BYTES
    last = steps - 1
    l0, l1, l2, l3 = late_samples[0], late_samples[1], late_samples[2], late_samples[3]
    i0, i1 = np.intp(order[0]), np.intp(order[min(1, last)])
    i2, i3 = np.intp(order[min(2, last)]), np.intp(order[min(3, last)])
    for start in range(0, 4 * row, _VECTOR_BYTES):
        _store(moves + start, _all(0.0))
    for part in range(4):  # moves W by nothing
        _pass(
            part,
            w,
            row,
            dim,
            moves,
            xs,
            xs,
            xs,
            xs,
            hidden,
            xs + i0 * width,
            xs + i1 * width,
            xs + i2 * width,
            xs + i3 * width,
        )
    _correct(xs, dim, products_, size, row, late, l0, l1, l2, l3, hidden, i0)
    _correct(xs, dim, products_, size, row, late, l0, l1, l2, l3, hidden + row, i1)
    _correct(xs, dim, products_, size, row, late, l0, l1, l2, l3, hidden + 2 * row, i2)
    _correct(xs, dim, products_, size, row, late, l0, l1, l2, l3, hidden + 3 * row, i3)
    looked = _look(row, a, hidden, perturbed)
    going = True
    taken = 0
    for t in range(0, steps, 4):
        n0, n1 = np.intp(order[min(t + 4, last)]), np.intp(order[min(t + 5, last)])
        n2, n3 = np.intp(order[min(t + 6, last)]), np.intp(order[min(t + 7, last)])
        going, looked = _step(
            0,
            going,
            looked,
            row,
            a,
            hidden,
            moves,
            y[i0] + noise[min(t + 0, last)],
            eta,
            rho,
            limit,
            _inputs(xs, dim, products_, size, i0, i0) if perturbed else 0.0,
            _inputs(xs, dim, products_, size, i0, i1),
            _inputs(xs, dim, products_, size, i0, i2),
            _inputs(xs, dim, products_, size, i0, i3),
            perturbed,
        )
        taken += going
        _pass(
            0,
            w,
            row,
            dim,
            late,
            xs + l0 * width,
            xs + l1 * width,
            xs + l2 * width,
            xs + l3 * width,
            following,
            xs + n0 * width,
            xs + n1 * width,
            xs + n2 * width,
            xs + n3 * width,
        )
        going, looked = _step(
            1,
            going and t + 1 < steps,
            looked,
            row,
            a,
            hidden,
            moves,
            y[i1] + noise[min(t + 1, last)],
            eta,
            rho,
            limit,
            _inputs(xs, dim, products_, size, i1, i1) if perturbed else 0.0,
            _inputs(xs, dim, products_, size, i1, i2),
            _inputs(xs, dim, products_, size, i1, i3),
            0.0,
            perturbed,
        )
        taken += going
        _pass(
            1,
            w,
            row,
            dim,
            late,
            xs + l0 * width,
            xs + l1 * width,
            xs + l2 * width,
            xs + l3 * width,
            following,
            xs + n0 * width,
            xs + n1 * width,
            xs + n2 * width,
            xs + n3 * width,
        )
        going, looked = _step(
            2,
            going and t + 2 < steps,
            looked,
            row,
            a,
            hidden,
            moves,
            y[i2] + noise[min(t + 2, last)],
            eta,
            rho,
            limit,
            _inputs(xs, dim, products_, size, i2, i2) if perturbed else 0.0,
            _inputs(xs, dim, products_, size, i2, i3),
            0.0,
            0.0,
            perturbed,
        )
        taken += going
        _pass(
            2,
            w,
            row,
            dim,
            late,
            xs + l0 * width,
            xs + l1 * width,
            xs + l2 * width,
            xs + l3 * width,
            following,
            xs + n0 * width,
            xs + n1 * width,
            xs + n2 * width,
            xs + n3 * width,
        )
        going, looked = _step(
            3,
            going and t + 3 < steps,
            looked,
            row,
            a,
            hidden,
            moves,
            y[i3] + noise[min(t + 3, last)],
            eta,
            rho,
            limit,
            _inputs(xs, dim, products_, size, i3, i3) if perturbed else 0.0,
            0.0,
            0.0,
            0.0,
            perturbed,
        )
        taken += going
        _pass(
            3,
            w,
            row,
            dim,
            late,
            xs + l0 * width,
            xs + l1 * width,
            xs + l2 * width,
            xs + l3 * width,
            following,
            xs + n0 * width,
            xs + n1 * width,
            xs + n2 * width,
            xs + n3 * width,
        )
        l0, l1, l2, l3, i0, i1, i2, i3 = i0, i1, i2, i3, n0, n1, n2, n3
        late, moves, hidden, following = moves, late, following, hidden
        if not going:
            break
        _correct(xs, dim, products_, size, row, late, l0, l1, l2, l3, hidden, i0)
        _correct(xs, dim, products_, size, row, late, l0, l1, l2, l3, hidden + row, i1)
        _correct(xs, dim, products_, size, row, late, l0, l1, l2, l3, hidden + 2 * row, i2)
        _correct(xs, dim, products_, size, row, late, l0, l1, l2, l3, hidden + 3 * row, i3)
        looked = _look(row, a, hidden, perturbed)
    for start in range(0, 4 * row, _VECTOR_BYTES):
        _store(a + row + start, _load(late + start))
    late_samples[0], late_samples[1], late_samples[2], late_samples[3] = l0, l1, l2, l3
    return taken


@njit(**_OPTIONS)
def sgd(state, late, x, y, gram, order, noise, eta, limit):
    """Run label-noise SGD (paper eq. 3–4) in place, one step for each entry of `order`.

    W is left one block behind: `settle` brings it up to date.

    Args:
        state: from `pack`, changed in place; (row, lane).
        late: sample indices of the moves that W lags behind by, changed in place, 0 at the start;
            (BLOCK,) of int64.
        x: inputs, contiguous; (sample, input).
        y: clean labels; (sample,).
        gram: from `products`.
        order: sample index of each step; (step,).
        noise: label noise ε of each step; (step,).
        eta: learning rate η.
        limit: a residual beyond this, or not finite, is divergence.

    Returns:
        The number of steps taken: fewer than asked for if and only if the run diverged. A call may
        follow only one that took a multiple of `BLOCK` steps.
    """
    return _run(state, late, x, y, gram, order, noise, eta, 0.0, limit, False)


@njit(**_OPTIONS)
def sam(state, late, x, y, gram, order, noise, eta, rho, limit):
    """Run SAM (paper §5, `rules.sam_step`) in place: as `sgd`, with the radius ρ = `rho`."""
    return _run(state, late, x, y, gram, order, noise, eta, rho, limit, True)


@njit(**_OPTIONS)
def settle(state, late, x):
    """Add to W the moves that it lags behind by: the state is then [W | a]."""
    dim = x.shape[1]
    row = state.shape[1] * _BYTES
    w = state.ctypes.data
    moves = w + (dim + 1) * row
    xs, width = x.ctypes.data, dim * _BYTES
    i0, i1, i2, i3 = late[0], late[1], late[2], late[3]
    for part in range(4):
        _pass(
            part,
            w,
            row,
            dim,
            moves,
            xs + i0 * width,
            xs + i1 * width,
            xs + i2 * width,
            xs + i3 * width,
            moves + 4 * row,
            xs,
            xs,
            xs,
            xs,
        )
    for start in range(0, 4 * row, _VECTOR_BYTES):
        _store(moves + start, _all(0.0))

"""Counter-based random numbers: Philox 4×32-10, keyed by (seed, stream), indexed by position.

Number `i` of a stream is a pure function of (seed, stream, part, i). Nothing is advanced and no
state is carried, so the sample order and the label noise of any run can be rebuilt from any step
on, on any machine and in any batch.

Layout: the key is (seed, stream), the counter is (block mod 2³², block div 2³², part, 0); block
`b` holds the four 32-bit words 4b … 4b+3 of its stream. `part` separates the arrays that share a
stream (for instance the training inputs and the test inputs).

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from enum import IntEnum

import numpy as np
from jaxtyping import Float64, Int32, UInt32
from numba import njit
from scipy.special import ndtri


class Stream(IntEnum):
    """The independent sources of randomness of a run (second word of the Philox key)."""

    DATA = 0
    INITIALISATION = 1
    SAMPLE_ORDER = 2
    LABEL_NOISE = 3
    CHAIN = 4


_MASK = np.uint64(0xFFFFFFFF)
_M0 = np.uint64(0xD2511F53)
_M1 = np.uint64(0xCD9E8D57)
_W0 = np.uint64(0x9E3779B9)
_W1 = np.uint64(0xBB67AE85)
_HALF_WORD = np.uint64(32)


@njit(cache=True, inline="always")
def _philox_block(c0, c1, c2, c3, k0, k1):  # type: ignore[no-untyped-def]
    for _ in range(10):
        p0 = _M0 * c0
        p1 = _M1 * c2
        c0 = (p1 >> _HALF_WORD) ^ c1 ^ k0
        c1 = p1 & _MASK
        c2 = (p0 >> _HALF_WORD) ^ c3 ^ k1
        c3 = p0 & _MASK
        k0 = (k0 + _W0) & _MASK
        k1 = (k1 + _W1) & _MASK
    return c0, c1, c2, c3


@njit(nogil=True, cache=True)
def _fill(out, seed, stream, part, start):  # type: ignore[no-untyped-def]
    first = start // 4
    last = (start + out.size + 3) // 4
    for block in range(first, last):
        b = np.uint64(block)
        words = _philox_block(
            b & _MASK, b >> _HALF_WORD, np.uint64(part), np.uint64(0), seed, stream
        )
        for lane in range(4):
            position = 4 * block + lane - start
            if 0 <= position < out.size:
                out[position] = np.uint32(words[lane])


def words(
    seed: int, stream: Stream, start: int, count: int, *, part: int = 0
) -> UInt32[np.ndarray, "count"]:
    """Words `start … start+count−1` of a stream: uniform 32-bit integers.

    Raises:
        ValueError: `seed` is not in 0 … 2³²−1, or `start` or `count` is negative.
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must be in 0 … 2**32 - 1, got {seed}")
    if start < 0 or count < 0:
        raise ValueError(f"start and count must not be negative, got {start} and {count}")
    out = np.empty(count, dtype=np.uint32)
    _fill(out, np.uint64(seed), np.uint64(stream), part, start)
    return out


def uniforms(
    seed: int, stream: Stream, start: int, count: int, *, part: int = 0
) -> Float64[np.ndarray, "count"]:
    """Uniform numbers in (0, 1): (word + ½)/2³², exact in float64."""
    return (words(seed, stream, start, count, part=part) + 0.5) * 2.0**-32


def normals(
    seed: int, stream: Stream, start: int, count: int, *, part: int = 0
) -> Float64[np.ndarray, "count"]:
    """Standard normal numbers: the normal quantile of `uniforms`, one word a number."""
    return np.asarray(ndtri(uniforms(seed, stream, start, count, part=part)))


def integers(
    seed: int, stream: Stream, start: int, count: int, *, below: int, part: int = 0
) -> Int32[np.ndarray, "count"]:
    """Integers in 0 … below−1: ⌊word·below/2³²⌋ (bias at most below/2³²)."""
    scaled = words(seed, stream, start, count, part=part).astype(np.uint64) * np.uint64(below)
    return (scaled >> _HALF_WORD).astype(np.int32)


def signs(
    seed: int, stream: Stream, start: int, count: int, *, part: int = 0
) -> Float64[np.ndarray, "count"]:
    """−1 or +1 with probability ½ each: the sign of `normals` at the same positions."""
    return np.where(words(seed, stream, start, count, part=part) >> 31, 1.0, -1.0)

"""The random numbers: published Philox vectors, the documented layout, the distributions."""

from statistics import NormalDist

import numpy as np
import pytest
from scipy import stats

from labelnoise import rng
from labelnoise.rng import Stream
from labelnoise.simulate.problem import label_noise, sample_order

LEVEL = 1e-3
"""Level of the statistical tests; the seed is fixed, so that they pass always or never."""

ONES = 0xFFFFFFFF
KNOWN_ANSWERS = [  # Random123, kat_vectors: counter, key, result of philox4x32 with 10 rounds
    ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([ONES] * 4, [ONES] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


def plain_philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox 4×32-10 in Python's own integers, from the paper's definition."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * c0, 2**32)
        high1, low1 = divmod(0xCD9E8D57 * c2, 2**32)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return [c0, c1, c2, c3]


def plain_word(seed: int, stream: int, part: int, position: int) -> int:
    """A word of a stream by the layout that the docstring of `rng` documents."""
    block, lane = divmod(position, 4)
    return plain_philox([block % 2**32, block // 2**32, part, 0], [seed, stream])[lane]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_philox_gives_the_published_vectors(counter, key, expected):
    found = rng._philox_block(*map(np.uint64, [*counter, *key]))
    assert list(map(int, found)) == expected == plain_philox(counter, key)


@pytest.mark.parametrize("start", [0, 1, 2, 3, 4, 7, 2**34 - 5, 2**34 + 3, 2**40 + 1])
def test_words_follow_the_documented_layout(start):
    found = rng.words(2**32 - 1, Stream.CHAIN, start, 13, part=2)
    expected = [plain_word(2**32 - 1, 4, 2, start + i) for i in range(13)]
    assert found.tolist() == expected


@pytest.mark.parametrize("base", [0, 2**34 - 50])
def test_a_draw_does_not_depend_on_where_it_starts(base):
    whole = rng.words(5, Stream.DATA, base, 105)
    for start in (0, 1, 3, 17, 49, 99, 100):
        for count in (0, 1, 2, 5, 100 - start):
            part = rng.words(5, Stream.DATA, base + start, count)
            np.testing.assert_array_equal(part, whole[start : start + count])


def test_seeds_streams_and_parts_share_no_words():
    draws = [
        rng.words(seed, stream, 0, 64, part=part).tolist()
        for seed in (0, 1, 2**31)
        for stream in Stream
        for part in (0, 1, 2)
    ]
    everything = [word for draw in draws for word in draw]
    # 2880 words of 2**32: a chance repeat would be a one in a thousand event
    assert len(set(everything)) == len(everything)


@pytest.mark.parametrize("start", [0, 5, 65_537])
def test_a_run_can_be_rebuilt_from_the_documented_layout(start):
    seed, samples, count = 11, 200, 40
    positions = range(start, start + count)
    order = [plain_word(seed, 2, 0, p) * samples >> 32 for p in positions]
    noise = [plain_word(seed, 3, 0, p) for p in positions]
    assert sample_order(seed, samples, start, count).tolist() == order
    signs = [1.0 if word >= 2**31 else -1.0 for word in noise]
    assert label_noise(seed, "sign", start, count).tolist() == signs
    normal = [NormalDist().inv_cdf((word + 0.5) / 2**32) for word in noise]
    np.testing.assert_allclose(label_noise(seed, "gaussian", start, count), normal, rtol=1e-12)


def test_signs_are_the_signs_of_the_normals():
    normals = rng.normals(3, Stream.LABEL_NOISE, 1, 10_000)
    np.testing.assert_array_equal(
        rng.signs(3, Stream.LABEL_NOISE, 1, 10_000), np.where(normals > 0, 1.0, -1.0)
    )


def test_uniforms_are_uniform_inside_the_open_interval():
    draw = rng.uniforms(1, Stream.DATA, 0, 100_000)
    assert 0 < draw.min() < draw.max() < 1
    assert stats.kstest(draw, "uniform").pvalue > LEVEL


def test_normals_are_normal():
    draw = rng.normals(1, Stream.INITIALISATION, 0, 100_000)
    assert stats.kstest(draw, "norm").pvalue > LEVEL
    # Kolmogorov-Smirnov is blind to the tails: the sum of squares is chi-square
    tail = stats.chi2(len(draw)).cdf((draw**2).sum())
    assert LEVEL / 2 < tail < 1 - LEVEL / 2


@pytest.mark.parametrize("below", [1, 3, 200, 1009])
def test_integers_are_uniform(below):
    draw = rng.integers(1, Stream.SAMPLE_ORDER, 0, 200_000, below=below)
    counts = np.bincount(draw, minlength=below)
    assert len(counts) == below
    if below > 1:
        assert stats.chisquare(counts).pvalue > LEVEL


def test_consecutive_and_parallel_draws_are_independent():
    draws = [rng.signs(seed, stream, 0, 40_000) for seed in (0, 1) for stream in Stream]
    lagged = [np.mean(draw[lag:] * draw[:-lag]) for draw in draws for lag in (1, 2, 3, 4)]
    across = np.corrcoef(draws)[np.triu_indices(len(draws), 1)]
    correlations = np.concatenate([lagged, across])
    # Bonferroni: the largest of all is under the level
    bound = stats.norm.isf(LEVEL / 2 / len(correlations)) / np.sqrt(40_000)
    assert np.abs(correlations).max() < bound


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(ValueError, match=rf"seed must be in .* got {seed}"):
        rng.words(seed, Stream.DATA, 0, 1)


@pytest.mark.parametrize(("start", "count"), [(-1, 1), (0, -1)])
def test_a_negative_position_is_refused(start, count):
    with pytest.raises(ValueError, match=f"got {start} and {count}"):
        rng.words(0, Stream.DATA, start, count)

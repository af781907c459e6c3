"""The oscillating second layer: its chain, and the first layer trained under it (Lemma 4.4)."""

import inspect

import jaxtyping
import numpy as np
import pytest
import torch
from scipy import stats

from labelnoise import rng
from labelnoise.rng import Stream
from labelnoise.simulate import chain
from labelnoise.simulate.chain import chain_levels, moves, stationary_law, thresholds
from labelnoise.simulate.compiled import oscillate, pack
from labelnoise.simulate.problem import draw_problem
from labelnoise.simulate.rules import oscillation_step
from labelnoise.simulate.settings import Settings

PAPER = np.array([[0.0, 1.0, 0.0], [0.5, 0.0, 0.5], [0.0, 1.0, 0.0]])
MIXED = np.array([[0.1, 0.6, 0.3], [0.25, 0.5, 0.25], [0.7, 0.2, 0.1]])
LEVEL = 1e-3
"""Level of the statistical tests; the seed is fixed, so that they pass always or never."""
STEPS, LIMIT = 600, 1e10


def make(width=30, dim=5, seed=0):
    """W, Σ̂ and ĉ of a problem."""
    settings = Settings(width=width, dim=dim, samples=20, trace_neurons=1, test_samples=1)
    problem = draw_problem(settings, seed)
    return problem.w, problem.x.T @ problem.x / 20, problem.x.T @ problem.y / 20


def train(active, *, chunks=1, transition=PAPER, delta=0.3, eta=0.02, width=30, seed=0):
    """W, the levels and the number of steps taken after a compiled run in so many calls."""
    w, covariance, correlation = make(width)
    state, level = pack(w), chain_levels(seed, transition, width, 0, 1)[0]
    bounds, taken = thresholds(transition), 0
    for part in np.array_split(active.astype(np.uint8), chunks):
        words = moves(seed, width, taken, len(part))
        rest = (delta, bounds, part, words, eta, LIMIT)
        taken += oscillate(state, level, covariance, correlation, *rest)
    assert (state[:, width:] == 0).all()  # the padding
    return state[:, :width].T, level, taken


def plain_levels(seed, transition, neurons, steps):
    """The chain by its documented words, one neuron and one step at a time."""

    def draw(word, law):
        return -1 + sum(word / 2**32 >= total for total in np.cumsum(law)[:2])

    law = np.linalg.matrix_power((transition + np.eye(3)) / 2, 200)[0]  # aperiodic, same law
    words = rng.words(seed, Stream.CHAIN, 0, neurons, part=1)
    levels = [[draw(word, law) for word in words]]
    for step in range(steps - 1):
        words = rng.words(seed, Stream.CHAIN, step * neurons, neurons, part=0)
        levels.append(
            [draw(word, transition[i + 1]) for word, i in zip(words, levels[-1], strict=True)]
        )
    return np.array(levels)


@pytest.mark.parametrize(
    ("transition", "expected"),
    [
        (PAPER, [0.25, 0.5, 0.25]),
        (np.full((3, 3), 1 / 3), [1 / 3, 1 / 3, 1 / 3]),
        (np.eye(3)[[1, 2, 0]], [1 / 3, 1 / 3, 1 / 3]),  # period 3
        (np.array([[0.0, 1, 0], [0, 1, 0], [0, 1, 0]]), [0, 1, 0]),  # two states are left for good
        (np.array([[0.9, 0.1, 0], [0.3, 0.7, 0], [0, 0.5, 0.5]]), [0.75, 0.25, 0]),
    ],
)
def test_the_stationary_law_of_known_chains(transition, expected):
    np.testing.assert_allclose(stationary_law(transition), expected, rtol=0, atol=1e-15)


def test_the_stationary_law_is_the_left_eigenvector():
    law = stationary_law(MIXED)
    np.testing.assert_allclose(law @ MIXED, law, rtol=0, atol=1e-15)
    assert law.sum() == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0.5, 0.4, 0], [0, 1, 0], [0, 1, 0]], r"probabilities.* got \[\[0.5, 0.4"),
        ([[1.5, -0.5, 0], [0, 1, 0], [0, 1, 0]], r"probabilities.* got \[\[1.5"),
        ([[np.nan, 1, 0], [0, 1, 0], [0, 1, 0]], r"probabilities.* got \[\[nan"),
        (np.eye(3).tolist(), r"unique.* got \[\[1.0"),
        ([[1, 0, 0], [0.5, 0, 0.5], [0, 0, 1]], r"unique.* got \[\[1.0, 0.0, 0.0\], \[0.5"),
    ],
)
def test_a_matrix_that_is_no_transition_is_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        stationary_law(np.array(rows, float))


def test_a_matrix_of_another_shape_is_refused(monkeypatch):
    """By what the annotations say; and by a message where they are not checked."""
    given = np.full((2, 2), 0.5)
    with pytest.raises(jaxtyping.TypeCheckError):
        stationary_law(given)
    monkeypatch.setattr(chain, "_check", inspect.unwrap(chain._check))
    with pytest.raises(ValueError, match=r"three rows.* got \[\[0.5"):
        inspect.unwrap(stationary_law)(given)


def test_thresholds_are_exact():
    expected = [[0, 2**32], [2**31, 2**31], [0, 2**32]]
    assert thresholds(PAPER).tolist() == expected
    assert thresholds(np.full((3, 3), [0.25, 0.5, 0.25])).tolist() == [[2**30, 3 * 2**30]] * 3


@pytest.mark.parametrize("transition", [PAPER, MIXED])
def test_the_chain_is_the_documented_one(transition):
    expected = plain_levels(7, transition, 13, 40)
    np.testing.assert_array_equal(chain_levels(7, transition, 13, 0, 40), expected)
    np.testing.assert_array_equal(chain_levels(7, transition, 13, 11, 5), expected[11:16])


@pytest.mark.parametrize("transition", [PAPER, MIXED])
def test_frequencies_are_the_laws(transition):
    levels = chain_levels(1, transition, 4000, 0, 101)
    for step in (0, 1, 100):  # neurons are independent, steps are not
        counts = np.bincount(levels[step] + 1, minlength=3)
        assert stats.chisquare(counts, 4000 * stationary_law(transition)).pvalue > LEVEL
    for row in range(3):
        moves = levels[1:][levels[:-1] == row - 1]
        counts = np.bincount(moves + 1, minlength=3)
        possible = transition[row] > 0
        assert counts[~possible].sum() == 0
        expected = len(moves) * transition[row][possible]
        assert possible.sum() == 1 or stats.chisquare(counts[possible], expected).pvalue > LEVEL


@pytest.mark.parametrize("transition", [PAPER, MIXED])
@pytest.mark.parametrize(("width", "chunks"), [(30, 1), (7, 5), (1, 600), (64, 3)])
def test_the_kernel_moves_the_chain(transition, width, chunks):
    for seed in (0, 2**32 - 1):
        given = {"transition": transition, "width": width, "seed": seed, "eta": 1e-3}
        _, level, taken = train(np.ones(STEPS), chunks=chunks, **given)
        assert taken == STEPS
        expected = chain_levels(seed, transition, width, STEPS, 1)[0]
        np.testing.assert_array_equal(level, expected)


@pytest.mark.parametrize("transition", [PAPER, MIXED])
@pytest.mark.parametrize("paused", [False, True])
def test_the_kernel_trains_as_torch_and_as_a_naive_loop(transition, paused):
    active = (np.arange(STEPS) // 50 % 2 == 0) | (not paused)
    found, _, _ = train(active, transition=transition)
    seconds = 0.3 * chain_levels(0, transition, 30, 0, STEPS, active=active.astype(np.uint8))
    assert (seconds[51:100] == seconds[50]).all() == paused
    w, covariance, correlation = make()
    batch = [torch.as_tensor(array)[None] for array in (w, covariance, correlation)]
    eta = torch.tensor([0.02], dtype=torch.float64)
    start = w.copy()
    for a in seconds:
        g = covariance @ (w.T @ a) - correlation
        batch[0], torch_g = oscillation_step(batch[0], torch.tensor(a)[None], *batch[1:], eta)
        np.testing.assert_allclose(torch_g[0], g, rtol=0, atol=1e-12)
        w = w - 0.02 * np.outer(a, g)
    assert np.linalg.norm(w - start) > 0.1 * np.linalg.norm(start)
    np.testing.assert_allclose(batch[0][0], w, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found, w, rtol=0, atol=1e-12)


def test_the_split_into_calls_changes_no_bit():
    active = np.arange(STEPS) % 100 < 60
    whole = train(active)
    for chunks in (2, 7, STEPS):
        for found, expected in zip(train(active, chunks=chunks), whole, strict=True):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("seed", range(4))
def test_the_oscillation_alone_shrinks_the_mean_norm(seed):
    """The mean of what a step takes off W, η aaᵀWΣ̂, is ½ηδ² WΣ̂."""
    norms = [
        np.linalg.norm(train(np.ones(steps), seed=seed)[0], axis=1).mean()
        for steps in (0, 500, 1000, 2000)
    ]
    assert (np.diff(norms) < 0).all()
    assert norms[-1] < 0.6 * norms[0]
    still, _, _ = train(np.ones(2000), seed=seed, delta=0.0)
    np.testing.assert_array_equal(still, make()[0])


def test_a_run_that_diverges_stops_before_the_step_that_it_does_not_take():
    w, level, taken = train(np.ones(STEPS), eta=5.0)
    assert 0 < taken < STEPS
    again, again_level, _ = train(np.ones(taken), eta=5.0)
    np.testing.assert_array_equal(w, again)
    np.testing.assert_array_equal(level, again_level)
    _, covariance, correlation = make()
    assert not (abs(covariance @ (w.T @ (0.3 * level)) - correlation) <= LIMIT).all()

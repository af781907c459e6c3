"""The three-state chain that the oscillating second layer follows (paper §4.3, Lemma 4.4).

Each a_i is δ times a level in {−1, 0, +1}, a Markov chain independent of the others. The levels
are a pure function of the seed: neuron i's move in step t reads word t·m + i of part `MOVES` of
the stream CHAIN, and its level at step 0 word i of part `INITIAL`. The kernel
`labelnoise.simulate.compiled.oscillate` is given the same words.
"""

import numpy as np
from jaxtyping import Float64, Int8, UInt8, UInt32, UInt64

from labelnoise import rng
from labelnoise.rng import Stream

from .settings import tree_weights

# parts of a stream
MOVES, INITIAL = 0, 1

_TOLERANCE = 1e-12

Levels = Int8[np.ndarray, "neuron"]


def _check(transition: Float64[np.ndarray, "3 3"]) -> None:
    sums = transition.sum(-1)
    if transition.shape != (3, 3) or not (
        (transition >= 0).all() and (abs(sums - 1) <= _TOLERANCE).all()
    ):
        raise ValueError(
            "each of the three rows of the transition matrix (from −δ, 0, +δ) must be "
            f"probabilities that sum to 1, got {transition.tolist()}"
        )


def stationary_law(transition: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, "3"]:
    """The law π = πP over (−δ, 0, +δ); a periodic chain has one too.

    Raises:
        ValueError: the rows are not probabilities, or more than one law is stationary.
    """
    _check(transition)
    weights = np.array(tree_weights(transition.tolist()))
    if not weights.any():
        raise ValueError(
            "the stationary law of the transition matrix must be unique (one class of states "
            f"that the chain cannot leave), got {transition.tolist()}"
        )
    return np.asarray(weights / weights.sum())


def _cumulative(probabilities: Float64[np.ndarray, "*row 3"]) -> UInt64[np.ndarray, "*row 2"]:
    """P(−δ) and P(−δ or 0) times 2³², exact for ½, ¼ and 1."""
    return np.rint(np.cumsum(probabilities, -1)[..., :2] * 2.0**32).astype(np.uint64)


def _draw(words: UInt32[np.ndarray, "neuron"], bounds: UInt64[np.ndarray, "*neuron 2"]) -> Levels:
    """−1, plus 1 for each of its two bounds that a word is not below."""
    return np.asarray((words[:, None] >= bounds).sum(-1) - 1, np.int8)


def thresholds(transition: Float64[np.ndarray, "3 3"]) -> UInt64[np.ndarray, "3 2"]:
    """What a move compares its random word with: from each level, P(−δ) and P(−δ or 0) times 2³².

    The next level is −1, plus 1 for each of its level's two thresholds that the word is not below.

    Raises:
        ValueError: the rows are not probabilities.
    """
    _check(transition)
    return _cumulative(transition)


def moves(seed: int, neurons: int, start: int, count: int) -> UInt32[np.ndarray, "count neuron"]:
    """Random words of the moves of the steps `start … start+count−1`."""
    drawn = rng.words(seed, Stream.CHAIN, start * neurons, count * neurons, part=MOVES)
    return drawn.reshape(count, neurons)


def chain_levels(
    seed: int,
    transition: Float64[np.ndarray, "3 3"],
    neurons: int,
    start: int,
    count: int,
    *,
    active: UInt8[np.ndarray, "step"] | None = None,
) -> Int8[np.ndarray, "count neuron"]:
    """Levels a_i/δ in the steps `start … start+count−1`, before the move of each step.

    The chain is walked from step 0 on: the time is proportional to `start + count`.

    Args:
        seed: seed of the run.
        transition: probabilities of a move, rows from and columns to (−δ, 0, +δ).
        neurons: number m of independent chains.
        start: first step.
        count: number of steps.
        active: for each step from 0 on, 0 where the chain is paused; moves always by default.

    Raises:
        ValueError: the rows are not probabilities, or more than one law is stationary.
    """
    bounds, law = thresholds(transition), _cumulative(stationary_law(transition))
    level = _draw(rng.words(seed, Stream.CHAIN, 0, neurons, part=INITIAL), law)
    levels = np.empty((count, neurons), np.int8)
    for step in range(start + count):
        if step >= start:
            levels[step - start] = level
        if active is None or active[step]:
            words = rng.words(seed, Stream.CHAIN, step * neurons, neurons, part=MOVES)
            level = _draw(words, bounds[level + 1])
    return levels

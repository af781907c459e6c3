"""The times of the phases on curves whose crossings are known."""

import numpy as np
import pytest
import xarray as xr

from labelnoise.analyze.phases import (
    alignment_step,
    escape_step,
    first_crossing,
    small_weights_step,
)

NAN = float("nan")
STEPS = [0, 100, 200, 400]


def over_steps(values, steps=STEPS, dtype="f8"):
    dims = {1: ("step",), 2: ("step", "neuron"), 3: ("seed", "step", "neuron")}[np.ndim(values)]
    return xr.DataArray(np.array(values, dtype), dims=dims, coords={"step": steps})


@pytest.mark.parametrize(
    ("curve", "level", "expected"),
    [
        ([0, 1, 2, 3], 0.5, 50),  # between snapshots, by the line
        ([0, 1, 2, 3], 2.5, 300),  # ... of uneven length
        ([0, 1, 2, 3], 1, 100),  # exceeding starts where the level is met
        ([0, 2, 0, 3], 1, 50),  # the first of several
        ([5, 1, 2, 3], 4, 0),  # starts above
        ([0, 1, 2, 3], 3, NAN),  # meets and never exceeds
        ([0, 1, 2, 3], 10, NAN),
        ([0, 1, NAN, NAN], 0.5, 50),  # diverged after
        ([0, 1, NAN, NAN], 2, NAN),  # diverged before
        ([NAN] * 4, 0, NAN),
        ([-3, -2, -1, 0], -1.5, 150),
    ],
)
def test_first_crossing(curve, level, expected):
    found = first_crossing(over_steps(curve), float(level))
    np.testing.assert_allclose(float(found), expected)
    assert found.attrs["units"] == "step"


def test_first_crossing_of_many_curves_with_a_level_each():
    curves = xr.DataArray(
        [[0, 1, 2, 3], [0, 10, 20, 30]], dims=("seed", "step"), coords={"step": STEPS}
    )
    found = first_crossing(curves, xr.DataArray([0.5, 5.0], dims="seed"))
    assert found.dims == ("seed",)
    np.testing.assert_allclose(found, [50, 50])


def test_first_crossing_is_exact_on_a_line_however_it_is_sampled():
    """A straight line through 0 crosses level L at L/slope, whatever the snapshots."""
    generator = np.random.default_rng(0)
    for _ in range(20):
        steps = np.unique(np.r_[0, generator.integers(1, 10_000, 10), 10_000])
        slope, level = generator.uniform(0.1, 2), generator.uniform(10, 900)
        curve = over_steps(slope * steps, steps)
        assert float(first_crossing(curve, level)) == pytest.approx(level / slope)


def test_escape_is_when_the_laziest_neuron_has_left():
    displacement = over_steps([[0, 0], [0.4, 0.05], [0.8, 0.15], [1.6, 0.2]], dtype="f4")
    assert float(escape_step(displacement, 0.1)) == pytest.approx(150, rel=1e-5)


def test_escape_never_comes_while_one_neuron_stays():
    displacement = over_steps([[0, 0], [0.4, 0.05], [0.8, 0.05], [1.6, 0.05]])
    assert np.isnan(escape_step(displacement, 0.1))


def test_escape_is_found_for_each_seed():
    one, gone = [[0, 0], [1, 2], [1, 2], [1, 2]], [[0, 0], [0.1, 0.1], [NAN] * 2, [NAN] * 2]
    found = escape_step(over_steps([one, gone]), 0.5)
    assert found.dims == ("seed",)
    np.testing.assert_allclose(found, [50, NAN])


def test_alignment_starts_a_share_of_its_way_from_where_it_began():
    # mean 0.2 → 0.4 → 0.6 → 1; a quarter of the way from 0.2 to 1 is 0.4, half is 0.6
    alignment = over_steps([[0.1, 0.3], [0.3, 0.5], [0.5, 0.7], [1, 1]])
    assert float(alignment_step(alignment, 0.125)) == pytest.approx(50)
    assert float(alignment_step(alignment, 0.25)) == pytest.approx(100)
    assert float(alignment_step(alignment, 0.75)) == pytest.approx(300)


def test_alignment_that_goes_down_never_starts():
    assert np.isnan(alignment_step(over_steps([[0.4], [0.3], [0.2], [0.1]]), 0.25))


def test_small_weights_wait_for_the_largest_of_both_layers():
    # √η = 0.1; the norms pass it at once, |a| half-way between 200 and 400
    w_norm = over_steps([[1, 1], [0.05, 0.05], [0.05, 0.05], [0.05, 0.05]])
    a = over_steps([[0.5, -0.5], [0, -0.4], [0, -0.15], [0, -0.05]])
    assert float(small_weights_step(w_norm, a, 0.01)) == pytest.approx(300)
    # and the other way round
    assert float(small_weights_step(abs(a), w_norm, 0.01)) == pytest.approx(300)


def test_small_weights_never_come_while_one_is_large_or_has_diverged():
    small, large = [[0.01, 0.01]] * 4, [[0.01, 0.9]] * 4
    assert np.isnan(small_weights_step(over_steps(small), over_steps(large), 0.01))
    assert float(small_weights_step(over_steps(small), over_steps(small), 0.01)) == 0
    gone = over_steps([[1, 1], [1, 1], [0.01, NAN], [0.01, NAN]])
    assert np.isnan(small_weights_step(gone, gone, 0.01))

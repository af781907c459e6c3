"""The times of the phases on curves whose crossings are known."""

import numpy as np
import pytest
import xarray as xr

from labelnoise.analyze.phases import (
    escape_step,
    first_crossing,
    onset_step,
    small_weights_step,
)
from labelnoise.simulate.run import simulate
from labelnoise.simulate.settings import Settings

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
        ([0, 1, 2, 3], 1, 100),  # met at a snapshot
        ([0, 2, 0, 3], 1, 50),  # the first of several
        ([5, 1, 2, 3], 4, 0),  # starts above
        ([0, 1, 2, 3], 3, 400),  # met at the last one and never exceeded
        ([3, 3, 3, 3], 3, 0),  # met all along
        ([0, 1, 1, 0], 1, 100),  # met and left again
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


@pytest.mark.parametrize(
    ("curve", "level", "expected"),
    [
        ([3, 2, 1, 0], 2.5, 50),
        ([3, 2, 1, 0], 0.5, 300),
        ([3, 2, 1, 0], 2, 100),
        ([3, 2, 1, 0], 0, 400),
        ([3, 1, 3, 0], 2, 50),  # the first of several
        ([1, 5, 6, 7], 2, 0),  # starts below
        ([3, 4, 5, 6], 2, NAN),
        ([3, 2, NAN, NAN], 2.5, 50),  # diverged after
        ([3, 2, NAN, NAN], 1, NAN),  # diverged before
        ([NAN] * 4, 9, NAN),
        ([0, -1, -2, -3], -1.5, 150),
    ],
)
def test_first_crossing_from_above(curve, level, expected):
    found = first_crossing(over_steps(curve), float(level), below=True)
    np.testing.assert_allclose(float(found), expected)
    mirrored = first_crossing(-over_steps(curve), -float(level))
    np.testing.assert_array_equal(found, mirrored)


def test_a_level_and_a_curve_over_more_dimensions():
    curves = xr.DataArray(
        np.array([[[0, 1, 2, 3], [0, 2, 4, 6]], [[3, 2, 1, 0], [4, 4, 4, 4]]], float),
        dims=("eta", "seed", "step"),
        coords={"eta": [0.1, 0.2], "step": STEPS},
    )
    level = xr.DataArray([1.0, 4.0], dims="eta", coords={"eta": [0.1, 0.2]})
    found = first_crossing(curves, level)
    assert found.dims == ("eta", "seed")
    np.testing.assert_allclose(found, [[100, 50], [NAN, 0]])


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


def laziest(displacement):
    return displacement.min("neuron")


def test_escape_is_when_the_laziest_neuron_has_left():
    displacement = over_steps([[0, 0], [0.4, 0.05], [0.8, 0.15], [1.6, 0.2]], dtype="f4")
    assert float(escape_step(laziest(displacement), 0.1)) == pytest.approx(150, rel=1e-5)


def test_escape_never_comes_while_one_neuron_stays():
    displacement = over_steps([[0, 0], [0.4, 0.05], [0.8, 0.05], [1.6, 0.05]])
    assert np.isnan(escape_step(laziest(displacement), 0.1))


def test_escape_is_found_for_each_seed():
    one, gone = [[0, 0], [1, 2], [1, 2], [1, 2]], [[0, 0], [0.1, 0.1], [NAN] * 2, [NAN] * 2]
    found = escape_step(laziest(over_steps([one, gone])), 0.5)
    assert found.dims == ("seed",)
    np.testing.assert_allclose(found, [50, NAN])


def test_alignment_starts_a_share_of_its_way_from_where_it_began():
    # mean 0.2 → 0.4 → 0.6 → 1; a quarter of the way from 0.2 to 1 is 0.4, half is 0.6
    alignment = over_steps([[0.1, 0.3], [0.3, 0.5], [0.5, 0.7], [1, 1]]).mean("neuron")
    assert float(onset_step(alignment, 0.125)) == pytest.approx(50)
    assert float(onset_step(alignment, 0.25)) == pytest.approx(100)
    assert float(onset_step(alignment, 0.75)) == pytest.approx(300)


def test_alignment_that_goes_down_never_starts():
    assert np.isnan(onset_step(over_steps([0.4, 0.3, 0.2, 0.1]), 0.25))


def largest_of(w_norm, a):
    return w_norm.max("neuron"), abs(a).max("neuron")


def test_small_weights_wait_for_the_largest_of_both_layers():
    # √η = 0.1; the norms pass it at once, |a| half-way between 200 and 400
    w_norm = over_steps([[1, 1], [0.05, 0.05], [0.05, 0.05], [0.05, 0.05]])
    a = over_steps([[0.5, -0.5], [0, -0.4], [0, -0.15], [0, -0.05]])
    assert float(small_weights_step(*largest_of(w_norm, a), 0.01)) == pytest.approx(300)
    # and the other way round
    assert float(small_weights_step(*largest_of(abs(a), w_norm), 0.01)) == pytest.approx(300)


def test_small_weights_never_come_while_one_is_large_or_has_diverged():
    small, large = over_steps([[0.01, 0.01]] * 4), over_steps([[0.01, 0.9]] * 4)
    assert np.isnan(small_weights_step(*largest_of(small, large), 0.01))
    assert float(small_weights_step(*largest_of(small, small), 0.01)) == 0
    gone = over_steps([1, 1, NAN, NAN])
    assert np.isnan(small_weights_step(gone, gone, 0.01))
    one = over_steps([1, 1, 0.01, 0.01])
    for pair in ((one, gone), (gone, one)):
        assert np.isnan(small_weights_step(*pair, 0.01))


def test_weights_of_exactly_the_root_are_small():
    """Where Phase II is made to start, the largest weight is √η."""
    for eta in (0.01, 1e-3, 3e-4):
        start = over_steps([np.sqrt(eta), 1, 1, 1])
        assert float(small_weights_step(start, 0 * start, eta)) == 0
        given = {"algorithm": "gd", "sigma": 0.0, "initialisation": "small", "eta": eta}
        for reduce in (True, False):
            settings = Settings(**given, width=30, dim=5, steps=5, snapshots=2, reduce=reduce)
            runs = simulate(settings, range(8))
            found = small_weights_step(runs["w_norm_max"], runs["a_max"], eta)
            np.testing.assert_array_equal(found, 0)


def test_small_weights_for_each_of_several_learning_rates():
    curve = over_steps([1.0, 0.5, 0.1, 0.0]).expand_dims(eta=[0.25, 1.0, 1e-4])
    found = small_weights_step(curve, 0 * curve, curve["eta"])
    np.testing.assert_allclose(found, [100, 0, 380])

"""When the noise is on: against the definition step by step, and what it does to the noise."""

from fractions import Fraction

import numpy as np
import pytest
from pydantic import ValidationError

from labelnoise.simulate.problem import label_noise
from labelnoise.simulate.run import prepare
from labelnoise.simulate.settings import Schedule, Settings

PERIODIC = [  # period, duty (as written), start; period · duty is a whole number
    (10, "0.5", 0),
    (10, "0.3", 7),
    (1, "1", 0),
    (1, "0", 3),
    (4, "0.25", 1000),
    (100, "0.07", 0),  # 0.07 · 100 > 7 in floating point
    (1000, "0.29", 5),  # 0.29 · 1000 < 290
    (7, "1", 2),
]
INTERVALS = [[], [[0, 5]], [[3, 4], [10, 20]], [[10, 20], [0, 3], [15, 30]]]


@pytest.mark.parametrize(("period", "duty", "start"), PERIODIC)
def test_a_periodic_schedule_is_the_definition(period, duty, start):
    schedule = Schedule(period=period, duty=float(duty), start=start)
    share = Fraction(duty)
    expected = [
        step >= start and Fraction((step - start) % period, period) < share for step in range(2100)
    ]
    assert schedule.is_on(0, 2100).tolist() == expected


@pytest.mark.parametrize(("period", "duty"), [(10, 0.25), (7, 0.5), (3, 0.9), (1, 0.4)])
def test_a_duty_that_is_no_whole_number_of_steps_is_off_by_less_than_one(period, duty):
    schedule = Schedule(period=period, duty=duty)
    on = schedule.is_on(0, 20 * period).reshape(20, period)
    assert (on == on[0]).all()
    assert (np.diff(on[0].astype(int)) <= 0).all()  # on first, then off
    assert abs(on[0].sum() - duty * period) < 1


@pytest.mark.parametrize("intervals", INTERVALS)
def test_intervals_are_the_definition(intervals):
    schedule = Schedule(intervals=intervals)
    expected = [any(first <= step < end for first, end in intervals) for step in range(40)]
    assert schedule.is_on(0, 40).tolist() == expected


@pytest.mark.parametrize(
    "schedule",
    [
        Schedule(period=10, duty=0.3, start=7),
        Schedule(period=3),
        Schedule(intervals=[(2, 9), (40, 41)]),
    ],
)
def test_it_does_not_depend_on_how_the_steps_are_chunked(schedule):
    whole = schedule.is_on(0, 60)
    assert whole.dtype == bool
    for size in (1, 7, 13):
        parts = [schedule.is_on(first, min(size, 60 - first)) for first in range(0, 60, size)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert schedule.is_on(5, 0).shape == (0,)


def test_half_of_the_period_is_the_default():
    np.testing.assert_array_equal(
        Schedule(period=6).is_on(0, 12), np.tile([True] * 3 + [False] * 3, 2)
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "either period or intervals"),
        ({"period": 5, "intervals": [[0, 1]]}, "not both"),
        ({"duty": 0.5}, "either period or intervals"),
        ({"intervals": [[3, 3]]}, r"\[3, 3\] is empty; give first < end"),
        ({"intervals": [[0, 2], [5, 4]]}, r"\[5, 4\] is empty; give first < end"),
        ({"intervals": [[-1, 3]]}, "greater than or equal to 0"),
        ({"intervals": [[1, 2, 3]]}, "intervals"),
        ({"intervals": [[0.5, 3]]}, "integer"),
        ({"period": 0}, "greater than or equal to 1"),
        ({"period": 2.5}, "integer"),
        ({"period": 5, "duty": 1.1}, "less than or equal to 1"),
        ({"period": 5, "duty": -0.1}, "greater than or equal to 0"),
        ({"period": 5, "start": -1}, "greater than or equal to 0"),
        ({"period": 5, "phase": 1}, "phase"),
    ],
)
def test_mistakes_are_refused(given, message):
    with pytest.raises(ValidationError, match=message):
        Schedule(**given)


@pytest.mark.parametrize("noise", ["sign", "gaussian"])
@pytest.mark.parametrize("schedule", [{"period": 50, "duty": 0.3}, {"intervals": [[10, 90]]}])
def test_the_noise_is_zero_while_off_and_as_without_a_schedule_while_on(noise, schedule):
    given = {"width": 10, "dim": 3, "samples": 5, "sigma": 1.7, "noise": noise}
    steady = prepare(Settings(**given), 4).noise(0, 500)
    switched = prepare(Settings(**given, schedule=schedule), 4)
    on = Schedule(**schedule).is_on(0, 500)
    assert 0 < on.sum() < 500
    found = switched.noise(0, 500)
    assert (found[~on] == 0).all()
    np.testing.assert_array_equal(found[on], steady[on])
    np.testing.assert_array_equal(steady, 1.7 * label_noise(4, noise, 0, 500))
    parts = [switched.noise(first, 100) for first in range(0, 500, 100)]
    np.testing.assert_array_equal(np.concatenate(parts), found)
    np.testing.assert_array_equal(switched.active(0, 500), on)


def test_duty_and_start_have_no_place_beside_intervals():
    for extra in ({"duty": 0.2}, {"start": 3}):
        with pytest.raises(ValueError, match="duty and start belong to period"):
            Schedule(intervals=[(0, 5)], **extra)


@pytest.mark.parametrize("given", [{"period": 10, "duty": 0.2}, {"intervals": [(0, 5), (7, 9)]}])
def test_a_schedule_comes_back_from_its_dump(given):
    schedule = Schedule(**given)
    assert Schedule(**schedule.model_dump(mode="json")) == schedule

"""Figure 6 shows what alternating noise did, and its text the falls of each stretch."""

import numpy as np
import pytest

from labelnoise.plot.figures.figure6 import Options, draw
from labelnoise.plot.parts.schedules import Stretch, falls, stretches

from .cells import (
    alive,
    assert_renders,
    assert_same_bytes,
    assert_simulated,
    assert_tells_of_divergence,
    assert_traced,
    diverged,
    make_cell,
)

ALTERNATING = {"period": 500, "duty": 0.5}


def cell(seeds, grid=(), **more):
    settings = {"schedule": ALTERNATING, "trace_steps": 600, "trace_neurons": 2} | more
    return make_cell(seeds, grid=grid, experiment="alternating", **settings)


CASES = {
    "one": lambda: [cell([0, 1, 2])],
    "over_sigma": lambda: [cell([0, 1], ["sigma"], sigma=s) for s in (0.0, 4.0, 2.0)],
    "starting_off": lambda: [cell([0], schedule={"intervals": [[300, 700], [900, 1000]]})],
    "never_off": lambda: [cell([0, 1], schedule=None)],
    "never_on": lambda: [cell([0], schedule={"period": 100, "duty": 0.0})],
    "some_diverged": lambda: [cell(range(8), eta=0.05)],
    "all_diverged": lambda: [cell([0, 1], eta=0.5)],
    "barely_recorded": lambda: [cell([0], snapshots=2, trace_steps=0)],
}


def label(data) -> str:
    return f"σ = {data.grid['sigma']:g}" if data.grid else "alternating"


@pytest.fixture(scope="module", params=CASES)
def drawn(request):
    import matplotlib.pyplot as plt

    cells = CASES[request.param]()
    yield cells, draw(cells, Options())
    plt.close("all")


def test_the_table_holds_what_was_simulated(drawn):
    cells, drawing = drawn
    for data in cells:
        for name in ("w_norm_mean", "train_loss"):
            assert_simulated(drawing.numbers, label(data), name, alive(data)[name])
    main = max(cells, key=lambda data: data.settings["sigma"])
    if not diverged(main).all():
        assert_traced(drawing.numbers, main, neurons=3, steps=12_000)


def test_diverged_runs_are_told_of_and_left_out(drawn):
    cells, drawing = drawn
    assert_tells_of_divergence(drawing, cells, map(label, cells))


def test_the_falls_on_and_off_add_up_to_the_whole_fall(drawn):
    cells, drawing = drawn
    main = max(cells, key=lambda data: data.settings["sigma"])
    if diverged(main).all():
        assert not drawing.metrics
        return
    curve = alive(main)["w_norm_mean"].mean("seed")
    if main.settings["snapshots"] == 2:
        assert "snapshots 2,000 steps apart" in drawing.text
        assert "fall_on" not in drawing.metrics
        return
    parts = [value for name, value in drawing.metrics.items() if name.startswith("fall_")]
    assert sum(parts) == pytest.approx(float(curve[0] - curve[-1]), rel=1e-9)


def test_norms_fall_while_the_noise_is_on_and_stop_while_it_is_off():
    """On a network wide enough to be lazy without noise."""
    settings = {"width": 200, "eta": 0.002, "steps": 8000, "snapshots": 81}
    drawing = draw([cell([0, 1], schedule={"period": 4000}, **settings)], Options())
    assert drawing.metrics["fall_on"] > 20 * abs(drawing.metrics["fall_off"])


def test_stretches_are_the_steps_at_which_the_schedule_is_on():
    settings = cell([0]).settings
    wanted = [Stretch(250 * i, 250 * (i + 1), i % 2 == 0) for i in range(8)]
    assert stretches(settings) == wanted
    intervals = settings | {"schedule": {"intervals": [[300, 700], [600, 800]]}}
    assert stretches(intervals) == [
        Stretch(0, 300, False),
        Stretch(300, 800, True),
        Stretch(800, 2000, False),
    ]
    assert stretches(settings | {"schedule": None}) == [Stretch(0, 2000, True)]


def test_falls_are_differences_between_a_stretchs_edges():
    data = cell([3, 4])
    found = falls(data.analysis["w_norm_mean"], [Stretch(0, 100, True), Stretch(100, 400, False)])
    norm = data.analysis["w_norm_mean"].sel(step=[0, 100, 400])
    np.testing.assert_allclose(found, -norm.diff("step"), rtol=1e-12)


def test_it_can_be_rendered_without_a_warning(drawn):
    assert_renders(drawn[1])


@pytest.mark.parametrize("case", ["some_diverged", "all_diverged"])
def test_the_same_cells_give_the_same_bytes(case, tmp_path):
    assert_same_bytes(lambda: draw(CASES[case](), Options()), tmp_path)

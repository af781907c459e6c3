"""Figure 4 shows what SAM's runs did, beside SGD's, and one neuron's way among them."""

import numpy as np
import pytest

from labelnoise.plot.figures.figure4 import Options, draw
from labelnoise.plot.parts.style import NO_NOISE, looks

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


def cell(rho, seeds, **more):
    settings = {"algorithm": "sam", "sigma": 0.0, "rho": rho, "trace_steps": 50} | more
    return make_cell(seeds, grid=["rho"], **settings)


CASES = {
    "two": lambda: [cell(0.0, [0, 1, 2]), cell(0.1, [0, 1, 2])],
    "one": lambda: [cell(0.1, [0, 1])],
    "one_without_noise": lambda: [cell(0.0, [0])],
    "out_of_order": lambda: [cell(0.2, [0, 1]), cell(0.0, [0, 1]), cell(0.1, [0, 1])],
    "one_cell_diverged": lambda: [cell(0.0, [0, 1]), cell(0.1, [0, 1], eta=0.5)],
    "all_diverged": lambda: [cell(0.0, [0, 1], eta=0.5), cell(0.1, [0, 1], eta=0.5)],
    "barely_recorded": lambda: [cell(0.1, [0], snapshots=2, trace_steps=0, neurons=1)],
}


def label(data) -> str:
    return f"ρ = {data.grid['rho']:g}"


@pytest.fixture(scope="module", params=CASES)
def drawn(request):
    import matplotlib.pyplot as plt

    cells = CASES[request.param]()
    yield cells, draw(cells, Options())
    plt.close("all")


def main(cells):
    living = [data for data in cells if not diverged(data).all()]
    return max(living, key=lambda data: data.settings["rho"]) if living else None


def test_the_table_holds_what_was_simulated(drawn):
    cells, drawing = drawn
    for data in cells:
        for name in ("train_loss", "test_loss", "w_norm_mean", "alignment_mean"):
            assert_simulated(drawing.numbers, label(data), name, alive(data)[name])
    if main(cells):
        mine = drawing.numbers[drawing.numbers["cell"] == label(main(cells))]
        assert_traced(mine, main(cells), neurons=1, steps=2000)


def test_the_path_is_one_neurons_over_the_whole_run(drawn):
    cells, drawing = drawn
    data = main(cells)
    if data is None:
        assert drawing.numbers.empty
        return
    seed = int(alive(data)["seed"][0])
    rows = drawing.numbers[drawing.numbers["panel"] == "path"]
    rows = rows[rows["cell"] == label(data)]
    assert set(rows["neuron"]) == {0}
    assert set(rows["seed"]) == {seed}
    for name in ("w_norm", "alignment"):
        one = rows[rows["quantity"] == name].sort_values("step")
        wanted = data.runs(seed)[name].sel(neuron=0)
        np.testing.assert_array_equal(one["step"], wanted["step"])
        np.testing.assert_allclose(one["value"].astype(float), wanted, rtol=1e-6)


def test_diverged_runs_are_told_of_and_left_out(drawn):
    cells, drawing = drawn
    assert_tells_of_divergence(drawing, cells, map(label, cells))


def test_it_can_be_rendered_without_a_warning(drawn):
    assert_renders(drawn[1])


def test_sgd_is_grey_and_sam_is_not():
    sgd, sam = looks(CASES["two"]())
    noisy = make_cell([0], grid=["sigma"], sigma=4.0)
    assert sgd.color == NO_NOISE
    assert len({NO_NOISE, sam.color, looks([noisy])[0].color}) == 3


def test_a_neuron_that_was_not_recorded_is_named():
    with pytest.raises(ValueError, match=r"options\.neuron: 30 was not recorded.*0 … 29"):
        draw([cell(0.1, [0])], Options(neuron=30))


@pytest.mark.parametrize("case", ["one_cell_diverged", "all_diverged"])
def test_the_same_cells_give_the_same_bytes(case, tmp_path):
    assert_same_bytes(lambda: draw(CASES[case](), Options()), tmp_path)

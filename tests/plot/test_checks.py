"""What a figure cannot draw is refused with the configuration, in one clear line."""

import copy
import dataclasses
import functools
import importlib
import itertools
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import yaml

from labelnoise.config.load import ConfigError, load, plot_modules
from labelnoise.linearize.two_layer import linearize
from labelnoise.plot.figures import figure2, figure4, figure6, lazy, oscillation, width
from labelnoise.plot.figures.figure1 import _method
from labelnoise.plot.parts.few_images import colors_of
from labelnoise.plot.parts.style import (
    NOISE,
    UNDISTURBED,
    CellData,
    looks,
    names,
    parameter,
    typeset,
)
from labelnoise.simulate.settings import Settings
from labelnoise.train.settings import TrainSettings

from .cells import alive, assert_renders, assert_simulated, make_cell

CONFIG = Path(__file__).parents[2] / "config" / "config.yaml"
DEFAULT = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))


def put(**experiments):
    """The default configuration, keys of its experiments replaced; None leaves a key out."""
    raw = copy.deepcopy(DEFAULT)
    for name, keys in experiments.items():
        raw["experiments"][name] |= keys
        for key in [key for key, value in keys.items() if value is None]:
            del raw["experiments"][name][key]
    return raw


def figure(drawn_by, *experiments, options=None, grid=None, **settings):
    """One figure of these experiments of the default configuration, more settings on top."""
    raw = copy.deepcopy(DEFAULT)
    chosen = {name: raw["experiments"][name] for name in experiments}
    for one in chosen.values():
        one["settings"] = one.get("settings", {}) | settings
        one["grid"] = grid or one.get("grid", {})
    entry = {"drawn_by": drawn_by, "experiments": list(experiments), "options": options or {}}
    return {"experiments": chosen, "figures": {"mine": entry}}


def mistakes(raw):
    with pytest.raises(ConfigError) as error:
        load(raw)
    return str(error.value).splitlines()


MANY = {"sigma": [0.0, 1, 2, 3, 4, 5, 6, 7]}

REFUSED = [
    # the reproduced cases
    (
        put(scaling_sigma={"grid": {"sigma": [0.0, 4.0]}}),
        "scaling",
        ["scaling_sigma", "sigma of 0"],
    ),
    (
        put(scaling_sigma={"grid": {"sigma": [2.0, 4.0], "eta": [1e-4, 1e-3]}}),
        "scaling",
        ["vary one setting", "scaling_sigma varies eta, sigma"],
    ),
    (put(few_images_mlp={"grid": {"tau": [0.5]}}), "figure3", ["few_images_mlp", "tau: [0.5]"]),
    (put(few_images_mlp_sam={"grid": {}}), "figure5", ["few_images_mlp_sam", "rho: 0", "[0.05]"]),
    (figure("table1", "two_phases"), "mine", ["table1 needs scaling_sigma, ", "phase_two too"]),
    (
        put(phase_sgd={"grid": {"sigma": [1.0, 2.0]}, "together": None}),
        "phase_diagram",
        ["over eta and sigma", "phase_sgd, of algorithm sgd, varies sigma"],
    ),
    (
        figure("figure4", "sam", options={"neuron": 5}, neurons=3),
        "mine",
        ["options.neuron: 5", "sam", "0 … 2"],
    ),
    # more lines than colours, and points that would be averaged
    *(
        (figure(module, "two_phases", grid=MANY), "mine", ["7 lines cannot be told", "at most 6"])
        for module in ("figure2", "figure4", "figure6", "lazy")
    ),
    (figure("figure2", "phase_two"), "mine", ["5 undisturbed lines", "at most 3"]),
    (figure("figure2", "scaling_sigma"), "mine", ["scaling_sigma has together: sigma"]),
    (figure("lazy", "scaling_eta"), "mine", ["scaling_eta has together: eta"]),
    (figure("figure4", "scaling_eta"), "mine", ["scaling_eta has together: eta"]),
    (figure("figure6", "scaling_eta"), "mine", ["scaling_eta has together: eta"]),
    (figure("width", "scaling_eta"), "mine", ["scaling_eta has together: eta"]),
    (figure("width", "width", "scaling_width"), "mine", ["one experiment, got width, scaling"]),
    (figure("width", "two_phases"), "mine", ["two_phases varies sigma too"]),
    (figure("width", "width", reduce=False), "mine", ["width has reduce: False", "needs True"]),
    (figure("width", "phase_two"), "mine", ["phase_two has algorithm: gd", "needs sgd"]),
    (figure("figure6", "sam"), "mine", ["figure6", "sigma: 0"]),
    (figure("figure6", "oscillation"), "mine", ["figure6", "sigma: 0"]),
    (figure("oscillation", "two_phases"), "mine", ["two_phases has algorithm: sgd", "oscillation"]),
    (
        figure("oscillation", "oscillation", "oscillation_periodic", schedule={"period": 10}),
        "mine",
        ["one cell with a schedule, got 2 (oscillation, oscillation_periodic)"],
    ),
    (figure("scaling", "oscillation"), "mine", ["oscillation varies none"]),
    (figure("scaling", "phase_sgd"), "mine", ["phase_sgd varies sigma, eta"]),
    (figure("scaling", "width"), "mine", ["width has eta_unit: 1/m", "needs 1,"]),
    (figure("phase_diagram", "two_phases"), "mine", ["two_phases", "varies sigma"]),
    (figure("phase_diagram", "scaling_width"), "mine", ["scaling_width", "varies width"]),
    (figure("figure1", "generalisation", grid={"tau": [0.1]}), "mine", ["tau: 0", "[0.1]"]),
    (
        figure("figure1", "generalisation", grid={"tau": [0, 0.1], "momentum": [0, 0.5]}),
        "mine",
        ["generalisation varies momentum too"],
    ),
    (
        figure("figure1", "generalisation", grid={"tau": [0, 0.1, 0.2, 0.3, 0.4, 0.5]}),
        "mine",
        ["6 values of tau", "at most 5"],
    ),
    (figure("figure3", "few_images_mlp_sam"), "mine", ["tau: 0", "tau: [0.0, 0.0]"]),
    (figure("figure5", "few_images_mlp"), "mine", ["rho: 0", "rho: [0.0, 0.0]"]),
    (figure("figure5", "few_images_mlp_sam", tau=0.5), "mine", ["tau: 0.5", "needs 0.0"]),
    (figure("spectrum", "generalisation"), "mine", ["generalisation has a linearised run"]),
    (figure("spectrum", "few_images_mlp", loss="cross_entropy"), "mine", ["few_images_mlp"]),
    (put(two_phases={"grid": {"sigma": [1.0, 4.0]}}), "table1", ["two_phases over sigma, 0 and"]),
    (
        put(oscillation_norms={"grid": {"dim": [10, 20]}}),
        "table1",
        ["oscillation_norms over theta_star_norm and nothing else"],
    ),
    (
        put(oscillation_aperiodic={"grid": {"dim": [10, 20]}}),
        "table1",
        ["oscillation_aperiodic without a grid"],
    ),
    (
        put(scaling_sigma={"grid": {"sigma": [2.0, 4.0]}}),
        "table1",
        ["scaling_sigma over three or more values of sigma"],
    ),
    (
        put(phase_two_aligned={"settings": {"initialisation": "small"}}),
        "table1",
        ["phase_two_aligned has initialisation: small", "Lemma 4.6"],
    ),
    (
        put(generalisation={"grid": {"tau": [0.1, 0.2]}}),
        "table1",
        ["generalisation over tau or rho, 0 and at least one more"],
    ),
]


@pytest.mark.parametrize(("raw", "name", "words"), REFUSED)
def test_it_is_refused_before_any_job_starts(raw, name, words):
    lines = mistakes(raw)
    assert all(line.startswith("figures.") for line in lines)
    mine = [line for line in lines if line.startswith(f"figures.{name}.")]
    assert any(all(word in line for word in words) for line in mine), lines


def test_a_mistake_in_an_experiment_is_not_said_of_its_figure_too():
    lines = mistakes(put(few_images_mlp={"grid": {"tau": [-1, 0.5]}}))
    assert lines == [line for line in lines if line.startswith("experiments.few_images_mlp.")]


@pytest.mark.parametrize("module", plot_modules())
def test_every_module_checks_any_cells_of_its_verb_without_an_error(module):
    drawn_by = importlib.import_module(f"labelnoise.plot.figures.{module}")
    config = load(DEFAULT)
    for cells in config.cells.values():
        if cells[0].verb in ([drawn_by.VERB] if isinstance(drawn_by.VERB, str) else drawn_by.VERB):
            for line in drawn_by.check(cells, drawn_by.Options()):
                key, _, said = line.partition(": ")
                assert key in ("experiments", "options.neuron") and said


def grids(count, experiments=("one", "other"), **settings):
    return [
        make_cell([0], grid=["sigma"], experiment=name, sigma=float(sigma), **settings)
        for name in experiments
        for sigma in range(count)
    ]


QUICK = {"steps": 40, "snapshots": 3, "trace_steps": 20}


@pytest.mark.parametrize("module", [figure2, figure4, figure6, lazy])
def test_experiments_with_equal_grids_are_told_apart(module):
    cells = grids(2, linearised=True, **QUICK)
    # that the two differ at all
    for name in ("train_loss", "test_loss"):
        cells[3].analysis[name][:] *= 2
    drawing = module.draw(cells, module.Options())
    labels = ["one: σ = 0", "one: σ = 1", "other: σ = 0", "other: σ = 1"]
    panel = "network" if module is lazy else "curves"
    for cell, label in zip(cells, labels, strict=True):
        loss = "test_loss" if module is lazy else "train_loss"
        assert_simulated(drawing.numbers, label, loss, alive(cell)[loss], panel)
    shown = {text.get_text() for text in drawing.figure.legends[0].get_texts()}
    assert shown >= set(map(typeset, labels))
    if module is lazy:
        assert {name for name in drawing.metrics if name.startswith("largest")} == {
            f"largest_difference {name} sigma:{sigma}"
            for name in ("one", "other")
            for sigma in (0.0, 1.0)
        }


def test_no_two_cells_look_the_same():
    found = looks(grids(3, **QUICK))
    assert len({look.label for look in found}) == len({look.tag for look in found}) == 6
    assert len({look.color for look in found}) == 6
    assert {look.color for look in found} & set(UNDISTURBED) == set(UNDISTURBED[:2])
    mixed = [CellData("x", {"i": i}, {}, {"algorithm": "sam", "rho": 1.0}) for i in range(3)]
    mixed += [
        CellData("x", {"i": i}, {}, {"algorithm": "sgd", "sigma": 1.0, "rho": 0}) for i in (3, 4, 5)
    ]
    assert {look.color for look in looks(mixed)} == set(NOISE)
    with pytest.raises(ValueError, match="no more than 6 such lines"):
        looks([*mixed, CellData("x", {"i": 7}, {}, {"algorithm": "sam", "rho": 1.0})])


def test_values_that_few_digits_make_equal_have_names_of_their_own():
    values = (1.0, 1.0000001, 1.0000002)
    assert len({parameter("sigma", value) for value in values}) == 3
    assert parameter("sigma", 4.0) == "σ = 4"


def test_a_part_of_a_figures_cells_has_the_names_it_has_in_the_whole():
    cells = grids(2, **QUICK)
    assert names(cells[:2], cells) == names(cells)[:2]
    assert names(cells[:2])[1] == ("σ = 1", "sigma:1.0")


def test_a_strength_has_one_colour_in_every_row():
    few, many = colors_of([0.0, 0.5], "tau"), colors_of([0.0, 0.2, 0.5, 0.5], "tau")
    assert few[0.0] == many[0.0] == UNDISTURBED[0]
    assert len(set(many.values())) == 3
    assert few[0.5] == NOISE[0]


def test_the_width_figure_names_the_learning_rate_and_the_noise_that_were_run():
    for unit, sigma, rate in (
        ("1", 4.0, "label-noise SGD at a learning rate of 0.01 "),
        ("1/m", 0.0, " SGD at a learning rate of 0.01/m "),
    ):
        settings = {"eta": 0.01, "eta_unit": unit, "sigma": sigma, **QUICK}
        cells = [make_cell([0], grid=["width"], width=m, **settings) for m in (10, 30)]
        text = width.draw(cells, width.Options()).text
        assert rate in text
        assert ("label-noise" in text) == (sigma > 0)
        assert "three" not in text


def test_the_algorithm_of_figure_1_is_the_one_that_was_run():
    for settings, said in (
        ({}, "plain SGD"),
        ({"momentum": 0.9}, "SGD (with momentum 0.9)"),
        (
            {"algorithm": "sam", "rho": 0.1, "weight_decay": 1e-4},
            "SAM (ρ = 0.1, weight decay 0.0001)",
        ),
    ):
        assert _method(TrainSettings(**settings).model_dump(mode="json")) == said


def test_the_shade_of_figure_6_names_the_cell_whose_schedule_it_is():
    schedule = {"period": 10}
    cells = [
        make_cell([0], grid=["sigma", "eta"], sigma=sigma, eta=0.005, schedule=schedule, **QUICK)
        for sigma in (1.0, 4.0)
    ]
    for given, said in ((cells, "σ = 4"), (cells[1:], "σ = 4")):
        drawing = figure6.draw(given, figure6.Options())
        texts = [text.get_text() for text in drawing.figure.legends[0].get_texts()]
        assert texts[0] == typeset(f"label noise on ({said})")


def test_chains_are_told_apart_in_words():
    cells = [
        make_cell([0], grid=["delta"], delta=delta, algorithm="oscillation", sigma=0.0, **QUICK)
        for delta in (0.1, 0.2)
    ]
    drawing = oscillation.draw(cells, oscillation.Options())
    assert "δ = 0.1: The second layer" in drawing.text
    assert np.isfinite(list(drawing.metrics.values())).all()
    assert_renders(drawing)


PERIODIC = {"schedule": {"period": 20}}
CHAIN = {"algorithm": "oscillation", "sigma": 0.0}
KINDS = {
    "plain": ({}, {}),
    "noise": ({}, {"sigma": [0.0, 4.0]}),
    "untraced": ({"trace_steps": 0, "snapshots": 2}, {"sigma": [1.0]}),
    "law": ({}, {"noise": ["sign", "gaussian"]}),
    "switched": (PERIODIC, {"sigma": [4.0]}),
    "rate": ({}, {"eta": [1e-4, 1e-3]}),
    "width": ({"eta_unit": "1/m", "eta": 0.1}, {"width": [8, 30]}),
    "map": ({}, {"sigma": [1.0, 2.0], "eta": [1e-4, 1e-3]}),
    "sam": ({"algorithm": "sam", "sigma": 0.0}, {"rho": [0.0, 0.1]}),
    "sam_map": ({"algorithm": "sam", "sigma": 0.0}, {"rho": [0.1, 0.2], "eta": [1e-4, 1e-3]}),
    "descent": ({"algorithm": "gd", "sigma": 0.0}, {"eta": [1e-4, 1e-3]}),
    "chain": (CHAIN, {}),
    "chains": (CHAIN, {"delta": [0.1, 0.2]}),
    "switched_chain": (CHAIN | PERIODIC, {}),
}
"""Experiments, tiny: their settings and their grid."""


@functools.cache
def tiny(name):
    """The cells of one of `KINDS`: what a check sees of them, and what `draw` is given."""
    settings, grid = KINDS[name]
    planned, made = [], []
    for values in itertools.product(*grid.values()):
        chosen = QUICK | settings | dict(zip(grid, values, strict=True))
        cell = make_cell([0, 1], grid=list(grid), experiment=name, **chosen)
        kept = Settings(**cell.settings)
        if kept.algorithm in ("sgd", "gd"):
            cell = dataclasses.replace(cell, linearize=[linearize(kept, [0, 1])])
        made.append(cell)
        planned.append(
            SimpleNamespace(
                **{"experiment": name, "grid": cell.grid, "settings": kept, "together": {}},
                is_linearized=bool(cell.linearize),
            )
        )
    return planned, made


@pytest.mark.parametrize("module", ["figure2", "figure4", "figure6", "lazy", "oscillation"])
@pytest.mark.parametrize("name", KINDS)
def test_what_passes_the_check_can_be_drawn(module, name):
    drawn_by = importlib.import_module(f"labelnoise.plot.figures.{module}")
    planned, made = tiny(name)
    if module == "lazy" and not all(cell.is_linearized for cell in planned):
        return  # refused with the configuration already, for every figure of linearised runs
    if not drawn_by.check(planned, drawn_by.Options()):
        drawing = drawn_by.draw(made, drawn_by.Options())
        assert set(drawing.numbers["cell"]) <= {label for label, _ in names(made)}
        assert all(np.isfinite(value) for value in drawing.metrics.values())
        assert "nan" not in drawing.text
        plt.close(drawing.figure)


@pytest.mark.parametrize("module", ["scaling", "phase_diagram", "width"])
@pytest.mark.parametrize("name", KINDS)
def test_what_passes_the_check_of_a_map_can_be_drawn(module, name):
    drawn_by = importlib.import_module(f"labelnoise.plot.figures.{module}")
    planned, made = tiny(name)
    if not drawn_by.check(planned, drawn_by.Options()):
        drawing = drawn_by.draw(made, drawn_by.Options())
        assert all(np.isfinite(value) for value in drawing.metrics.values())
        assert "nan" not in drawing.text
        plt.close(drawing.figure)

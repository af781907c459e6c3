"""The configuration: the shipped files load, and every mistake is one clear line."""

import copy
import importlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from labelnoise.config.commandline import typed
from labelnoise.config.load import Config, ConfigError, load, plot_modules
from labelnoise.config.models import RULES
from labelnoise.plot.figures import figure2
from labelnoise.simulate.chain import stationary_law
from labelnoise.simulate.settings import Settings

FOLDER = Path(__file__).parents[2] / "config"
TWO = ("experiments", "two_phases")
WHERE = "experiments.two_phases"


def merged(base, overlay):
    """Snakemake's merge of --configfile: nested mappings are merged, all else replaced."""
    if not isinstance(base, dict) or not isinstance(overlay, dict):
        return overlay
    return base | {k: merged(base[k], v) if k in base else v for k, v in overlay.items()}


def default():
    return yaml.safe_load((FOLDER / "config.yaml").read_text(encoding="utf-8"))


def smoke():
    return merged(default(), yaml.safe_load((FOLDER / "smoke.yaml").read_text(encoding="utf-8")))


def put(*path_and_value):
    """The default configuration with one value replaced or added."""
    *path, key, value = path_and_value
    raw = node = default()
    for part in path:
        node = node.setdefault(part, {})
    node[key] = copy.deepcopy(value)
    return raw


def mistakes(raw) -> list[str]:
    with pytest.raises(ConfigError) as error:
        load(raw)
    return str(error.value).splitlines()


def test_the_default_is_the_papers_setting():
    config = load(default())
    cells = config.cells["two_phases"]
    assert [cell.settings.sigma for cell in cells] == [0.0, 4.0]
    for cell in cells:
        found = cell.settings
        assert (found.samples, found.width, found.dim, found.eta) == (200, 1000, 20, 1e-3)
        assert sorted(seed for block in cell.blocks for seed in block) == list(range(8))
        assert config.job("two_phases", cell.path, None) == (cell, None)
    assert set(config.figures) >= {"figure2"}
    assert config.figures["figure2"].drawn_by in plot_modules()


def test_the_smoke_overlay_loads_and_is_small():
    config = load(smoke())
    for cells in config.cells.values():
        for cell in cells:
            assert cell.settings.steps <= 50_000
    assert load(default()).cells.keys() <= config.cells.keys()


def test_what_is_left_out_has_the_settings_default():
    for cell in load(only(grid={"sigma": [0.0, 4.0]})).cells["x"]:
        assert cell.settings == Settings(sigma=cell.settings.sigma)


def test_a_grid_is_every_combination_and_each_cell_has_its_own_path():
    cells = load(only(grid={"sigma": [0, 1, 4], "noise": ["sign", "gaussian"]})).cells["x"]
    assert len({cell.path for cell in cells}) == len(cells) == 6
    assert {(cell.settings.sigma, cell.settings.noise) for cell in cells} == {
        (sigma, noise) for sigma in (0.0, 1.0, 4.0) for noise in ("sign", "gaussian")
    }


@pytest.mark.parametrize(
    ("seeds", "per_job", "blocks"),
    [
        (5, 2, ((0, 1), (2, 3), (4,))),
        ([7, 3], 4, ((7, 3),)),
        (1, 1, ((0,),)),
        ([0, 2**32 - 1], 1, ((0,), (2**32 - 1,))),
    ],
)
def test_seeds_are_grouped_in_blocks(seeds, per_job, blocks):
    raw = put(*TWO, "seeds", seeds)
    raw["experiments"]["two_phases"]["seeds_per_job"] = per_job
    assert load(raw).cells["two_phases"][0].blocks == blocks


@pytest.mark.parametrize(("written", "meant"), [("1e-3", 1e-3), ("5E-4", 5e-4), (1, 1.0)])
def test_a_number_that_yaml_reads_as_text_is_that_number(written, meant):
    cells = load(put(*TWO, "settings", "eta", written)).cells["two_phases"]
    assert {cell.settings.eta for cell in cells} == {meant}
    as_grid = put(*TWO, "grid", "theta_star_norm", [written])
    assert f"theta_star_norm={meant}" in load(as_grid).cells["two_phases"][0].path


@pytest.mark.parametrize("written", ["1e6", "1.0e+6", 1e6, 1000000])
def test_a_whole_number_may_have_an_exponent(written):
    for cell in load(put(*TWO, "settings", "steps", written)).cells["two_phases"]:
        assert (cell.settings.steps, type(cell.settings.steps)) == (1_000_000, int)


def test_an_overlay_takes_out_what_is_null():
    raw = default()
    grid = {"grid": {"sigma": None, "eta": [0.001]}, "settings": {"sigma": 4.0}}
    overlay = {"experiments": {"phase_sgd": None, "two_phases": grid}, "figures": {}}
    for name, figure in raw["figures"].items():
        # without σ there is no σ = 0 for Table 1
        if "phase_sgd" in figure["experiments"] or name == "table1":
            overlay["figures"][name] = None
    config = load(merged(raw, overlay))
    assert config.cells.keys() == raw["experiments"].keys() - {"phase_sgd"}
    assert config.figures.keys() == raw["figures"].keys() - overlay["figures"].keys()
    assert [cell.path for cell in config.cells["two_phases"]] == ["eta=0.001"]
    for line in mistakes(merged(raw, {"experiments": {"phase_sgd": None}})):
        assert line.startswith("figures.") and "experiments.phase_sgd is null" in line


def test_a_default_has_room_in_what_is_given():
    (cell,) = load(only(settings={"width": 1, "steps": 10})).cells["x"]
    assert (cell.settings.trace_neurons, cell.settings.snapshots) == (1, 11)
    (line,) = mistakes(only(settings={"width": 1, "trace_neurons": 4}))
    assert "trace_neurons = 4" in line and "at most width = 1" in line
    (line,) = mistakes(only(settings={"steps": 10, "snapshots": 12}))
    assert "snapshots = 12" in line


def test_no_name_of_a_rule_is_free():
    """Rules are added in the workflow's files; the names are told to people from the models."""
    root = FOLDER.parent
    files = [root / "Snakefile", *(root / "workflow" / "rules").glob("*.smk")]
    found = re.findall(
        r"^(?:rule|checkpoint) (\w+):", "\n".join(f.read_text("utf-8") for f in files), re.M
    )
    assert set(found) == RULES


@pytest.mark.parametrize(
    ("argument", "meant"),
    [
        (
            "experiments={x: {seeds: 3, settings: {eta: 1e-3, reduce: false}, grid: null}}",
            {
                "experiments": {
                    "x": {"seeds": 3, "settings": {"eta": 1e-3, "reduce": False}, "grid": None}
                }
            },
        ),
        ("tracking={uri: null, enabled: false}", {"tracking": {"uri": None, "enabled": False}}),
        ("x={a: ['3', 3, 1e6, -.5E1], yes: no}", {"x": {"a": ["3", 3, 1e6, -5.0], "yes": False}}),
        ("x={'a': None, 'b': True, 'c': 1e-05}", {"x": {"a": None, "b": True, "c": 1e-5}}),
        ("device=cpu", {"device": "cpu"}),
        ("device=", {"device": None}),
        ("x={a", {"x": "{a"}),
    ],
)
def test_the_command_line_has_yamls_types(argument, meant):
    # repr: 1 is True, and 1000000 is 1e6
    assert repr(typed(argument)) == repr(meant)


MISTAKES = [  # where, what, and what the one line must hold
    (("experimnts",), {}, ["experimnts: ", "did you mean experiments?"]),
    ((*TWO, "gird"), {}, [f"{WHERE}.gird: ", "did you mean grid?"]),
    ((*TWO, "settings", "sampels"), 3, [f"{WHERE}.settings.sampels: ", "did you mean samples?"]),
    ((*TWO, "grid", "sigm"), [1], [f"{WHERE}.grid.sigm: ", "did you mean sigma?"]),
    (("analysis", "lazy_treshold"), 1, ["analysis.lazy_treshold: ", "mean lazy_threshold?"]),
    (("tracking", "urii"), "x", ["tracking.urii: ", "did you mean uri?"]),
    (
        ("figures", "figure2", "options", "tims"),
        [1],
        ["figures.figure2.options.tims: ", "did you mean times?"],
    ),
    ((*TWO, "settings", "eta"), "x", [f"{WHERE}.settings.eta: ", '"x"', "valid number"]),
    ((*TWO, "settings", "eta"), 0, [f"{WHERE}.settings.eta: ", "got 0", "greater than 0"]),
    ((*TWO, "settings", "eta"), -1e-3, [f"{WHERE}.settings.eta: ", "-0.001", "greater than 0"]),
    ((*TWO, "settings", "eta"), True, [f"{WHERE}.settings.eta: ", "number", "true"]),
    ((*TWO, "settings", "eta"), None, [f"{WHERE}.settings.eta: ", "null", "number"]),
    ((*TWO, "settings", "eta"), [1], [f"{WHERE}.settings.eta: ", "[1]", "number"]),
    ((*TWO, "settings", "eta"), float("inf"), [f"{WHERE}.settings.eta: ", "finite"]),
    ((*TWO, "grid", "sigma"), [0, -4], [f"{WHERE}.grid.sigma: ", "-4", "greater than or equal"]),
    ((*TWO, "grid", "sigma"), [True], [f"{WHERE}.grid.sigma: ", "number", "true"]),
    ((*TWO, "grid", "sigma"), [], [f"{WHERE}.grid.sigma: ", "[]", "at least 1"]),
    ((*TWO, "grid", "sigma"), 4, [f"{WHERE}.grid.sigma: ", "got 4", "list"]),
    ((*TWO, "grid", "sigma"), [4, 4.0], [f"{WHERE}.grid", "sigma=4.0", "once"]),
    ((*TWO, "settings", "sigma"), 4, [f"{WHERE}.grid.sigma: ", f"{WHERE}.settings", "one"]),
    ((*TWO, "settings", "width"), True, [f"{WHERE}.settings.width: ", "true", "integer"]),
    ((*TWO, "settings", "width"), 1.5, [f"{WHERE}.settings.width: ", "1.5", "integer"]),
    ((*TWO, "settings", "noise"), "uniform", [f"{WHERE}.settings.noise: ", "uniform", "'sign'"]),
    ((*TWO, "settings", "steps"), 100, [WHERE, "trace_steps = 2000", "at most steps = 100"]),
    ((*TWO, "settings", "eta"), "2.0", [f"{WHERE}.settings.eta: ", '"2.0"', "number"]),
    ((*TWO, "settings", "width"), "20", [f"{WHERE}.settings.width: ", '"20"', "integer"]),
    ((*TWO, "settings", "width"), "5e-1", [f"{WHERE}.settings.width: ", "integer"]),
    (("experiments", "plot"), {"verb": "simulate"}, ["experiments.plot: ", "rule", "rename"]),
    (
        ("figures", "all"),
        {"experiments": ["two_phases"], "drawn_by": "figure2"},
        ["figures.all: ", "rule", "rename"],
    ),
    (("images", "cifar10"), "a{b}.tar.gz", ["images.cifar10: ", "a{b}.tar.gz", "braces"]),
    (("images", "cifar10"), "a" * 20 + ".tar.gz", ["images.cifar10: ", "20 times", "rename"]),
    (
        (*TWO, "settings", "snapshots"),
        10**7,
        [WHERE, "snapshots = 10000000", "at most steps + 1 = 1000001"],
    ),
    ((*TWO, "settings", "trace_steps"), 10**7, [WHERE, "trace_steps = 10000000", "at most"]),
    ((*TWO, "settings", "trace_neurons"), 2000, [WHERE, "trace_neurons = 2000", "width = 1000"]),
    ((*TWO, "seeds"), [1, 1], [f"{WHERE}.seeds: ", "[1, 1]", "once"]),
    ((*TWO, "seeds"), [0, -1], [f"{WHERE}.seeds", "-1", "greater than or equal to 0"]),
    ((*TWO, "seeds"), -1, [f"{WHERE}.seeds: ", "-1"]),
    ((*TWO, "seeds"), 0, [f"{WHERE}.seeds: ", "got 0"]),
    ((*TWO, "seeds"), [], [f"{WHERE}.seeds: ", "[]", "at least 1"]),
    ((*TWO, "seeds"), "x", [f"{WHERE}.seeds: ", '"x"']),
    ((*TWO, "seeds"), True, [f"{WHERE}.seeds: ", "true"]),
    ((*TWO, "seeds"), [2**32], [f"{WHERE}.seeds", str(2**32), "less than"]),
    ((*TWO, "seeds"), 10**30, [f"{WHERE}.seeds: ", str(10**30), "less than"]),
    ((*TWO, "seeds_per_job"), 0, [f"{WHERE}.seeds_per_job: ", "got 0"]),
    ((*TWO, "verb"), "simulat", [f"{WHERE}.verb: ", "simulat", "'simulate'"]),
    (TWO, 3, [f"{WHERE}: ", "3", "mapping"]),
    ((*TWO, "together"), "eta", [f"{WHERE}.together: ", '"eta" is not in the grid', "sigma"]),
    ((*TWO, "together"), "width", [f"{WHERE}.together: ", '"width"', "'sigma'", "'eta'"]),
    ((*TWO, "together"), ["sigma"], [f"{WHERE}.together: ", '["sigma"]']),
    ((*TWO, "together"), 3, [f"{WHERE}.together: ", "got 3"]),
    ((*TWO, "grid", "sigma"), [[4]], [f"{WHERE}.grid.sigma: ", "[4]", "not a single value"]),
    ((*TWO, "grid", "sigma"), [4, None], [f"{WHERE}.grid.sigma: ", "null", "not a single value"]),
    (
        (*TWO, "grid", "schedule"),
        [{"period": 10}],
        [f"{WHERE}.grid.schedule: ", '{"period": 10}', "not a single value"],
    ),
    (
        (*TWO, "settings", "schedule"),
        {"period": 10, "intervals": [[0, 5]]},
        [f"{WHERE}.settings.schedule: ", "period", "intervals", "not both"],
    ),
    ((*TWO, "settings", "schedule"), {}, [f"{WHERE}.settings.schedule: ", "period or intervals"]),
    ((*TWO, "settings", "schedule"), 5, [f"{WHERE}.settings.schedule: ", "got 5"]),
    (
        (*TWO, "settings", "schedule"),
        {"intervals": [[0, 9], [7, 7]]},
        [f"{WHERE}.settings.schedule: ", "[7, 7] is empty", "first < end"],
    ),
    (
        (*TWO, "settings", "schedule"),
        {"intervals": [[0, -9]]},
        [f"{WHERE}.settings.schedule.intervals", "-9", "greater than or equal to 0"],
    ),
    (
        (*TWO, "settings", "schedule"),
        {"period": 10, "duty": 1.5},
        [f"{WHERE}.settings.schedule.duty: ", "1.5", "less than or equal to 1"],
    ),
    (
        (*TWO, "settings", "schedule"),
        {"period": 0},
        [f"{WHERE}.settings.schedule.period: ", "got 0", "greater than or equal to 1"],
    ),
    (
        (*TWO, "settings", "schedule"),
        {"perod": 10, "intervals": [[0, 5]]},
        [f"{WHERE}.settings.schedule.perod: ", "no such key", "did you mean period?"],
    ),
    ((*TWO, "settings", "algorithm"), "adam", [f"{WHERE}.settings.algorithm: ", "adam", "'sam'"]),
    ((*TWO, "settings", "rho"), -1, [f"{WHERE}.settings.rho: ", "got -1", "greater than or equal"]),
    ((*TWO, "settings", "eta_unit"), "m", [f"{WHERE}.settings.eta_unit: ", '"m"', "'1/m'"]),
    ((*TWO, "settings", "spacing"), "lin", [f"{WHERE}.settings.spacing: ", '"lin"', "'linear'"]),
    ((*TWO, "settings", "neurons"), 0, [f"{WHERE}.settings.neurons: ", "got 0"]),
    ((*TWO, "settings", "neurons"), 2000, [WHERE, "neurons = 2000", "at most width = 1000"]),
    (("experiments",), {}, ["experiments: ", "at least one"]),
    (("experiments",), None, ["experiments: ", "at least one"]),
    (("figures",), {}, ["figures: ", "at least one"]),
    (("figures", "figure2", "experiments"), ["two_phase"], ["figures.figure2", "two_phases?"]),
    (("figures", "figure2", "experiments"), [], ["figures.figure2.experiments: ", "at least 1"]),
    (("figures", "figur2"), {"experiments": ["two_phases"]}, ["figures.figur2: ", "figure2?"]),
    (
        ("figures", "other"),
        {"experiments": ["two_phases"], "drawn_by": "figur2"},
        ["figures.other.drawn_by: ", '"figur2"', "did you mean figure2?"],
    ),
    (("figures", 2), {"experiments": ["two_phases"], "drawn_by": "figure2"}, ["figures.2: "]),
    (("analysis", "lazy_threshold"), 0, ["analysis.lazy_threshold: ", "got 0", "greater than 0"]),
    (("analysis", "alignment_onset"), 1, ["analysis.alignment_onset: ", "got 1", "less than 1"]),
    (("tracking", "enabled"), "yes", ["tracking.enabled: ", '"yes"', "true or false"]),
    (("device",), "tpu", ["device: ", '"tpu"', "'cpu'"]),
]


IDS = [f"{'.'.join(map(str, path))}={value}" for path, value, _ in MISTAKES]


@pytest.mark.parametrize(("path", "value", "parts"), MISTAKES, ids=IDS)
def test_a_mistake_is_one_line_with_key_value_and_remedy(path, value, parts):
    lines = mistakes(put(*path, value))
    assert len(lines) == 1, lines
    assert [part for part in parts if part not in lines[0]] == [], lines[0]
    assert "constrained" not in lines[0], "pydantic's inner names are of no use to a reader"


@pytest.mark.parametrize("name", ["a/b", "a.b", "A", "1st", "with space", "", "../up"])
@pytest.mark.parametrize("section", ["experiments", "figures"])
def test_a_name_that_is_no_path_part_is_refused(section, name):
    raw = put(section, name, {"drawn_by": "figure2", "experiments": ["two_phases"]})
    if section == "experiments":
        raw = put(section, name, default()["experiments"]["two_phases"])
    lines = mistakes(raw)
    assert len(lines) == 1, lines
    assert f"{section}.{name}: " in lines[0] or not name


def test_all_mistakes_are_reported_at_once():
    raw = put(*TWO, "settings", "eta", -1)
    raw["figures"]["figure2"]["experiments"] = ["nothing"]
    raw["device"] = "tpu"
    lines = mistakes(raw)
    assert len(lines) == 3
    for key in ("settings.eta", "figures.figure2", "device"):
        assert sum(key in line for line in lines) == 1


def test_loading_changes_nothing_that_it_was_given():
    raw = smoke()
    before = copy.deepcopy(raw)
    assert isinstance(load(raw), Config)
    assert raw == before


def only(**experiment):
    """A configuration of one experiment `x`, drawn by Figure 2."""
    return {
        "experiments": {"x": {"verb": "simulate"} | experiment},
        "figures": {"figure2": {"experiments": ["x"]}},
    }


def undrawn(**experiment):
    """The same with the figure of another experiment, whatever `x` may be."""
    raw = only(**experiment)
    raw["experiments"]["drawn"] = {"verb": "simulate"}
    raw["figures"]["figure2"]["experiments"] = ["drawn"]
    return raw


def test_values_that_are_together_are_a_dimension_of_the_cells_of_the_others():
    grid = {"sigma": [1, 4], "eta": ["1e-3", 0.002, 0.003], "width": [50, 60]}
    cells = load(undrawn(grid=grid, together="eta", seeds=3, seeds_per_job=2)).cells["x"]
    assert [cell.path for cell in cells] == [
        f"sigma={sigma}/width={width}" for sigma in (1.0, 4.0) for width in (50, 60)
    ]
    for cell in cells:
        assert cell.together == {"eta": [1e-3, 0.002, 0.003]}
        assert cell.settings.eta == 1e-3
        assert cell.grid == {"sigma": cell.settings.sigma, "width": cell.settings.width}
        assert cell.blocks == ((0, 1), (2,))


def test_all_of_a_grid_may_be_together():
    (cell,) = load(undrawn(grid={"sigma": [1, 2]}, together="sigma")).cells["x"]
    assert (cell.path, cell.grid, cell.together) == ("single", {}, {"sigma": [1.0, 2.0]})
    (apart,) = load(only()).cells["x"]
    assert (apart.path, apart.together) == ("single", {})


@pytest.mark.parametrize("together", ["sigma", None])
def test_a_value_that_comes_twice_is_refused_together_or_not(together):
    grid = {"width": [50, 60], "sigma": [4, 1, 4.0]}
    lines = mistakes(only(grid=grid, together=together))
    assert lines == [
        f"experiments.x.grid: the cell width={width}/sigma=4.0 comes twice; list each value once"
        for width in (50, 60)
    ]


def test_a_bad_value_of_many_cells_is_one_line():
    grid = {"width": [50, 60, 70], "sigma": [1, -1], "eta": [1e-3, 2e-3]}
    for together in (None, "sigma", "eta"):
        (line,) = mistakes(only(grid=grid, together=together))
        assert line.startswith("experiments.x.grid.sigma: got -1; ")


PAPER = [[0.0, 1.0, 0.0], [0.5, 0.0, 0.5], [0.0, 1.0, 0.0]]
OSCILLATION = {"algorithm": "oscillation", "sigma": 0.0}


@pytest.mark.parametrize("algorithm", ["gd", "oscillation"])
def test_what_has_no_label_noise_need_not_say_so(algorithm):
    (cell,) = load(only(settings={"algorithm": algorithm})).cells["x"]
    assert cell.settings.sigma == 0


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        (
            {"algorithm": "gd", "sigma": 4},
            ["sigma = 4.0 has no place in algorithm gd", "set sigma: 0"],
        ),
        ({"algorithm": "oscillation", "sigma": 2}, ["sigma = 2.0", "oscillation", "set sigma: 0"]),
        (
            {"algorithm": "gd", "sigma": 0, "schedule": {"period": 9}},
            ["schedule", "algorithm gd", "leave it out"],
        ),
        (OSCILLATION | {"initialisation": "small"}, ["initialisation: small", "ntk"]),
        (OSCILLATION | {"delta": 0}, ["settings.delta: got 0", "greater than 0"]),
        (
            OSCILLATION | {"transition": [[0.5, 0.4, 0], *PAPER[1:]]},
            ["transition: row 0 = [0.5, 0.4, 0.0] sums to 0.9", "must sum to 1"],
        ),
        (
            OSCILLATION | {"transition": [*PAPER[:2], [1.5, -0.5, 0]]},
            ["settings.transition.2.0: got 1.5", "less than or equal to 1"],
        ),
        (OSCILLATION | {"transition": PAPER[:2]}, ["settings.transition: ", "at least 3"]),
        (
            OSCILLATION | {"transition": [[0.5, 0.5], *PAPER[1:]]},
            ["settings.transition.0: got [0.5, 0.5]", "at least 3"],
        ),
        (
            OSCILLATION | {"transition": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]},
            ["transition: [[1.0, 0.0, 0.0], [0.0, 1.0", "more than one stationary law"],
        ),
        (
            OSCILLATION | {"transition": [[1, 0, 0], [0.5, 0, 0.5], [0, 0, 1]]},
            ["transition: [[1.0, 0.0, 0.0], [0.5", "more than one stationary law"],
        ),
    ],
)
def test_settings_that_do_not_go_together_are_one_line(settings, parts):
    lines = mistakes(only(settings=settings))
    # a row of two mistakes may be two lines
    lines = [line for line in lines if "-0.5" not in line]
    assert len(lines) == 1, lines
    assert lines[0].startswith("experiments.x")
    assert [part for part in parts if part not in lines[0]] == [], lines[0]


@pytest.mark.parametrize(
    "transition",
    [
        PAPER,
        [[0, 1, 0], [0, 0, 1], [1, 0, 0]],  # periodic
        [[0, 1, 0], [0, 1, 0], [0, 1, 0]],  # ends in 0
        [[0.9, 0.1, 0], [0.3, 0.7, 0], [0, 0.5, 0.5]],  # +δ is left for good
        [[0.1, 0.2, 0.7]] * 3,
    ],
)
def test_a_chain_of_one_stationary_law_loads_and_a_job_can_draw_it(transition):
    (cell,) = load(only(settings=OSCILLATION | {"transition": transition})).cells["x"]
    law = stationary_law(np.array(cell.settings.transition))
    np.testing.assert_allclose(law @ np.array(transition), law, atol=1e-15)


def test_the_settings_are_read_without_numpy():
    """The workflow reads them in every one of its processes."""
    code = (
        "import sys; from labelnoise.simulate.settings import Settings;"
        "Settings(algorithm='oscillation', sigma=0, schedule={'period': 5});"
        "print([name for name in ('numpy', 'scipy', 'numba', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_figure_has_its_cells_its_options_and_what_it_needs():
    raw = only(grid={"sigma": [0, 4]})
    raw["experiments"]["y"] = {"verb": "simulate", "settings": {"width": 50}}
    raw["figures"]["other"] = {"experiments": ["y", "x"], "drawn_by": "figure2"}
    config = load(raw)
    figure = config.figures["other"]
    assert figure.drawn_by == "figure2"
    assert figure.cells == config.cells["y"] + config.cells["x"]
    assert figure.needs == tuple(figure2.NEEDS)
    assert figure.options == figure2.Options().model_dump(mode="json")


def test_every_figure_module_says_which_files_it_needs():
    for name in plot_modules():
        needs = importlib.import_module(f"labelnoise.plot.figures.{name}").NEEDS
        assert set(needs) <= {"analyze", "simulate", "linearize", "prune"}, name


def test_a_figure_of_linearised_runs_is_refused_where_there_are_none(monkeypatch):
    monkeypatch.setattr(figure2, "NEEDS", ("analyze", "linearize"))
    for settings in ({}, {"algorithm": "gd", "sigma": 0}):
        assert load(only(settings=settings)).figures["figure2"].needs == ("analyze", "linearize")
    (line,) = mistakes(only(settings={"sigma": 0.0}, grid={"algorithm": ["sgd", "sam", "gd"]}))
    assert line == ("figures.figure2.experiments: algorithm sam has no linearised run")
    assert len(mistakes(only(settings=OSCILLATION))) == 1


def test_an_experiment_that_is_wrong_is_not_said_to_be_missing():
    raw = only(seeds=0)
    raw["experiments"]["y"] = {"verb": "simulate"}
    (line,) = mistakes(raw)
    assert line.startswith("experiments.x.seeds: got 0")

"""The configuration: the shipped files load, and every mistake is one clear line."""

import copy
from pathlib import Path

import pytest
import yaml

from labelnoise.config import Config, ConfigError, load, plot_modules
from labelnoise.simulate.settings import Settings

FOLDER = Path(__file__).parents[1] / "config"
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
        assert config.cell("two_phases", cell.path) is cell
    assert set(config.figures) >= {"figure2"}
    assert config.figures["figure2"].drawn_by in plot_modules()


def test_the_smoke_overlay_loads_and_is_small():
    config = load(smoke())
    for cells in config.cells.values():
        for cell in cells:
            assert cell.settings.steps <= 50_000
    assert load(default()).cells.keys() <= config.cells.keys()


def test_what_is_left_out_has_the_settings_default():
    raw = put(*TWO, "settings", {})
    for cell in load(raw).cells["two_phases"]:
        assert cell.settings == Settings(sigma=cell.settings.sigma)


def test_a_grid_is_every_combination_and_each_cell_has_its_own_path():
    raw = put(*TWO, "grid", {"sigma": [0, 1, 4], "noise": ["sign", "gaussian"]})
    cells = load(raw).cells["two_phases"]
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
    ((*TWO, "settings", "steps"), 100, [WHERE, "snapshots = 201", "steps = 100", "at most"]),
    ((*TWO, "settings", "snapshots"), 10**7, [WHERE, "snapshots = 10000000", "steps = 1000000"]),
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
    (TWO, None, [f"{WHERE}: ", "null", "mapping"]),
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
    (("tracking", "enabled"), "yes", ["tracking.enabled: ", '"yes"', "boolean"]),
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

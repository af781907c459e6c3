"""Experiments with `verb: train`: their cells, and every mistake one clear line."""

import importlib
import subprocess
import sys

import pytest

from labelnoise.config.load import load, schema
from labelnoise.train.settings import TrainSettings

from .test_load import mistakes

OWN = "mynets.net:Net"


@pytest.fixture(autouse=True)
def _mynets(tmp_path, monkeypatch):
    """A package of the user's on the path, which may be imported; it would fail if it were."""
    (tmp_path / "mynets").mkdir()
    (tmp_path / "mynets" / "__init__.py").write_text("raise AssertionError('imported')\n")
    (tmp_path / "mynets" / "net.py").write_text("raise AssertionError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("LABELNOISE_ALLOW_MODULES", "another,mynets")
    importlib.invalidate_caches()


def only(figure="figure3", verb="train", **experiment):
    """A configuration of one experiment `x`, drawn by one figure."""
    return {
        "experiments": {"x": {"verb": verb} | experiment},
        "figures": {figure: {"experiments": ["x"]}},
    }


def undrawn(**experiment):
    """The same with the figure of another experiment, whatever `x` may be."""
    raw = only(**experiment)
    raw["experiments"]["drawn"] = {"verb": "train", "grid": {"tau": [0, 0.5]}}
    raw["figures"]["figure3"]["experiments"] = ["drawn"]
    return raw


def test_a_training_has_cells_as_any_experiment():
    grid = {"tau": [0, "5e-1"], "network": ["wide_resnet"]}
    raw = only(grid=grid, settings={"eta": "1e-2"}, seeds=3, seeds_per_job=2)
    config = load(raw)
    cells = config.cells["x"]
    assert [cell.path for cell in cells] == [
        "tau=0.0/network=wide_resnet",
        "tau=0.5/network=wide_resnet",
    ]
    for cell in cells:
        assert cell.verb == "train" and cell.blocks == ((0, 1), (2,)) and not cell.together
        assert cell.settings == TrainSettings(eta=0.01, **cell.grid)
        assert cell.is_linearized
    assert config.figures["figure3"].needs == ("analyze", "linearize")
    assert config.figures["figure3"].cells == cells


@pytest.mark.parametrize(
    ("settings", "linearized"),
    [
        ({}, True),
        ({"tau": 0.5}, True),
        ({"algorithm": "sam", "rho": 0}, True),
        ({"algorithm": "sam"}, False),
        ({"batch_size": 8}, False),
        ({"momentum": 0.9}, False),
        ({"weight_decay": 1e-4}, False),
        ({"loss": "cross_entropy"}, False),
    ],
)
def test_full_batch_gradient_descent_on_the_square_loss_has_a_linearised_run(settings, linearized):
    (cell,) = load(undrawn(settings=settings)).cells["x"]
    assert cell.is_linearized == linearized


def test_a_users_network_is_found_and_not_imported():
    options = {"network": OWN, "network_options": {"layers": [3, 4]}}
    (cell,) = load(undrawn(settings=options)).cells["x"]
    assert cell.settings.network == OWN
    assert cell.settings.network_options == {"layers": [3, 4]}
    assert not {"mynets", "mynets.net"} & sys.modules.keys()


WHERE = "experiments.x"
MISTAKES = [
    ({"settings": {"sigma": 4}}, [f"{WHERE}.settings.sigma: ", "no such key"]),
    ({"settings": {"taw": 4}}, [f"{WHERE}.settings.taw: ", "did you mean tau?"]),
    ({"grid": {"theta_star_norm": [1]}}, [f"{WHERE}.grid.theta_star_norm: ", "no such key"]),
    ({"settings": {"tau": 1.5}}, [f"{WHERE}.settings.tau: ", "got 1.5", "less than or equal to 1"]),
    ({"grid": {"tau": [0, -1]}}, [f"{WHERE}.grid.tau: ", "got -1", "greater than or equal to 0"]),
    ({"settings": {"tau": True}}, [f"{WHERE}.settings.tau: ", "true"]),
    ({"settings": {"algorithm": "gd"}}, [f"{WHERE}.settings.algorithm: ", '"gd"', "'sgd'"]),
    ({"settings": {"source": "mnist"}}, [f"{WHERE}.settings.source: ", '"mnist"', "'digits'"]),
    ({"settings": {"loss": "l1"}}, [f"{WHERE}.settings.loss: ", '"l1"', "'mse'"]),
    ({"settings": {"momentum": 1}}, [f"{WHERE}.settings.momentum: ", "got 1", "less than 1"]),
    ({"settings": {"precision": "fp16"}}, [f"{WHERE}.settings.precision: ", '"fp16"', "'bf16'"]),
    ({"settings": {"batch_size": 0}}, [f"{WHERE}.settings.batch_size: ", "got 0"]),
    ({"settings": {"batch_size": 65}}, [WHERE, "batch_size = 65", "at most train_images = 64"]),
    (
        {"settings": {"steps": 100, "snapshots": 201}},
        [WHERE, "snapshots = 201", "at most steps + 1 = 101"],
    ),
    (
        {"settings": {"network": "wide_resnet", "depth": 12}},
        [WHERE, "depth = 12 is none of a wide_resnet", "6·blocks + 4: 10, 16"],
    ),
    (
        {"settings": {"network": "wide_resnet", "depth": 4}},
        [WHERE, "depth = 4 is none of a wide_resnet"],
    ),
    (
        {"settings": {"network": "resnet", "depth": 17}},
        [WHERE, "depth = 17 is none of a resnet", "8·blocks + 2: 10, 18"],
    ),
    ({"settings": {"depth": 10}}, [WHERE, "depth has no place in mlp", "leave it out"]),
    (
        {"settings": {"network": "resnet", "ntk_drift": True}},
        [WHERE, "ntk_drift", "resnet", "take a wide_resnet"],
    ),
    (
        {"settings": {"augmentation": "crop"}},
        [WHERE, "augmentation: crop leaves the span", "rotate: false"],
    ),
    (
        {"settings": {"network_options": {"a": 1}}},
        [WHERE, "network_options has no place in mlp", "leave it out"],
    ),
    (
        {"settings": {"network": "mpl"}},
        [f"{WHERE}.settings.network: ", "'mpl' is no network", "mlp, wide_resnet", "module:Class"],
    ),
    (
        {"grid": {"network": ["mlp", "evil.code:Net"]}},
        [f"{WHERE}.grid.network: ", "evil.code:Net", "LABELNOISE_ALLOW_MODULES=evil"],
    ),
    (
        {"settings": {"network": "mynets.nothing:Net"}},
        [f"{WHERE}.settings.network: ", "mynets.nothing:Net", "no module mynets.nothing on PYTHON"],
    ),
    (
        {"settings": {"network": OWN, "width": 3}},
        [WHERE, "width and parametrization have no place in mynets.net:Net", "network_options"],
    ),
    (
        {"settings": {"network": OWN, "parametrization": "ntk"}},
        [WHERE, "width and parametrization have no place", "network_options"],
    ),
    (
        {"grid": {"network_options": [{"a": 1}]}, "settings": {"network": OWN}},
        [f"{WHERE}.grid.network_options: ", '{"a": 1}', "not a single value"],
    ),
    (
        {"grid": {"eta": [0.1, 0.2]}, "together": "eta"},
        [f"{WHERE}.together: ", "no place beside verb: train"],
    ),
]


@pytest.mark.parametrize(("experiment", "parts"), MISTAKES)
def test_a_mistake_is_one_line_with_key_value_and_remedy(experiment, parts):
    lines = mistakes(only(**experiment))
    assert len(lines) == 1, lines
    assert [part for part in parts if part not in lines[0]] == [], lines[0]


@pytest.mark.parametrize(
    ("experiment", "key"),
    [
        ({"settings": {"tau": 0.5}}, "settings.tau"),
        ({"grid": {"network": ["mlp"]}}, "grid.network"),
    ],
)
def test_a_key_of_a_training_is_none_of_a_simulation(experiment, key):
    (line,) = mistakes(only("figure2", "simulate", **experiment))
    assert line.startswith(f"experiments.x.{key}: ") and "no such key" in line


@pytest.mark.parametrize(
    ("figure", "verb", "its"),
    [
        ("figure3", "simulate", "train"),
        ("figure5", "simulate", "train"),
        ("lazy", "train", "simulate"),
    ],
)
def test_a_figure_of_another_verb_is_refused(figure, verb, its):
    (line,) = mistakes(only(figure, verb))
    assert line == (
        f"figures.{figure}.experiments: {figure} draws experiments with verb: {its}; x has another"
    )


def test_sam_has_its_figure_without_a_linearised_run():
    raw = only("figure5", grid={"rho": [0, 0.1]}, settings={"algorithm": "sam"})
    assert [cell.is_linearized for cell in load(raw).cells["x"]] == [True, False]


def test_the_schema_knows_the_keys_of_both_verbs():
    experiment = schema()["$defs"]["Experiment"]["properties"]
    for name in ("settings", "grid"):
        keys = experiment[name]["properties"]
        assert {"tau", "network", "sigma", "theta_star_norm", "eta"} <= keys.keys()
    algorithm = str(experiment["settings"]["properties"]["algorithm"])
    assert "'sgd', 'sam'" in algorithm and "'gd'" in algorithm


def test_the_settings_are_read_without_torch():
    """The workflow reads them in every one of its processes."""
    code = (
        "import sys; from labelnoise.train.settings import TrainSettings;"
        f"TrainSettings(network='{OWN}');"
        "print([name for name in ('numpy', 'torch', 'xarray', 'mynets') if name in sys.modules])"
    )
    path = {"PYTHONPATH": ":".join(sys.path), "LABELNOISE_ALLOW_MODULES": "mynets"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=path
    )
    assert done.stdout.strip() == "[]"

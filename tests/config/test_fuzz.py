"""No configuration that YAML can hold does anything but load or raise `ConfigError`."""

import copy
import datetime
import random
from pathlib import Path

import pytest
import yaml

from labelnoise.config.load import ConfigError, load

FILE = Path(__file__).parents[2] / "config" / "config.yaml"
EXPLICIT = {
    "analysis": {"lazy_threshold": 0.1, "alignment_onset": 0.25},
    "tracking": {"enabled": True, "uri": "sqlite:///x.db"},
    "device": "auto",
}
DATE = datetime.date(2026, 1, 1)
ODD_VALUES = [
    *(None, "", [], {}, -1, 0, 1.5, float("nan"), float("inf"), "x", True, False, "1e-3", DATE),
    *([None], [[1]], [{}], [1, 1], [True], ["a", 2], {"x": [None]}, {1: 2}, {None: {}}, {DATE: 1}),
    *({"period": 5}, {"intervals": [[3, 1]]}, [[1, 0, 0]] * 3, {"period": 5, "x": 1}, ["sigma"]),
    *({"sigma": [1]}, {"x": {"y": {"z": []}}}, "a/b", "x" * 500, "[key]", 10**30),
]
ODD_KEYS = ["", "x", "a/b", "a.b", "a:b", "[key]", 1, 1.5, None, True, DATE]


def brief():
    """The shipped configuration, its longest grids shortened: they take the time."""
    raw = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    for experiment in raw["experiments"].values():
        for key, values in experiment.get("grid", {}).items():
            experiment["grid"][key] = values[:2]
    return raw | copy.deepcopy(EXPLICIT)


def paths(node, prefix=()):
    """Every place of a nested configuration, leaves and branches."""
    if prefix:
        yield prefix
    if isinstance(node, dict | list):
        for key, child in node.items() if isinstance(node, dict) else enumerate(node):
            yield from paths(child, (*prefix, key))


def spoil(raw, chance):
    """Replace a random place by an odd value, or add or rename a key oddly."""
    *path, key = chance.choice(list(paths(raw)))
    node = raw
    for part in path:
        node = node[part]
    kind = chance.randrange(4) if isinstance(node, dict) else 0
    if kind == 3:
        node[chance.choice(ODD_KEYS)] = node.pop(key)
    elif kind == 2:
        node[chance.choice(ODD_KEYS)] = copy.deepcopy(chance.choice(ODD_VALUES))
    else:
        node[key] = copy.deepcopy(chance.choice(ODD_VALUES))


@pytest.mark.parametrize("mistakes", [1, 3])
def test_odd_values_anywhere_load_or_are_refused(mistakes):
    chance, base = random.Random(mistakes), brief()
    crashes, outcomes = set(), {"loaded": 0, "refused": 0}
    for _ in range(600):
        raw = copy.deepcopy(base)
        for _ in range(mistakes):
            spoil(raw, chance)
        try:
            load(raw)
            outcomes["loaded"] += 1
        except ConfigError as error:
            assert str(error).strip()
            outcomes["refused"] += 1
        except Exception as error:
            crashes.add(f"{type(error).__name__}: {error}")
    assert not crashes
    assert outcomes["refused"] > 100  # the odd values are odd

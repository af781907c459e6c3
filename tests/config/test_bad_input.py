"""Wrong configurations, generated from the models: each is refused in words that help.

A random valid configuration gets one mistake. Whether a value is wrong says the JSON schema of its
field, by the package jsonschema: not the code that is tested.
"""

import copy
import functools
import math
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn
from jsonschema import Draft202012Validator

from labelnoise.config.load import SETTINGS, ConfigError, load
from labelnoise.config.models import Analysis, Experiment, FigureEntry, File, Images, Tracking
from labelnoise.config.validation import show
from labelnoise.plot.figures import figure2
from labelnoise.simulate.settings import Schedule

Where = tuple[str, ...]

BASE: dict[str, Any] = {
    "experiments": {
        "lines": {
            "verb": "simulate",
            "settings": {"steps": 50, "snapshots": 5, "width": 9, "schedule": {"period": 8}},
            "grid": {"sigma": [0.0, 4.0]},
            "seeds": [2, 3],
        },
        "mlps": {
            "verb": "train",
            "settings": {"steps": 50, "snapshots": 5, "network": "mlp", "eta": 0.1},
            "grid": {"tau": [0.0, 0.5]},
            "seeds": 3,
        },
    },
    "figures": {
        "figure2": {"experiments": ["lines"], "options": {}},
        "mine": {"drawn_by": "figure3", "experiments": ["mlps"]},
    },
    "analysis": {"lazy_threshold": 0.1, "alignment_onset": 0.25},
    "images": {"cifar10": "archive.tar.gz"},
    "tracking": {"enabled": True, "uri": "sqlite:///x.db"},
    "device": "auto",
}

PLACES: dict[Where, Any] = {
    (): File,
    ("analysis",): Analysis,
    ("images",): Images,
    ("tracking",): Tracking,
    ("experiments", "lines"): Experiment,
    ("experiments", "mlps"): Experiment,
    ("experiments", "lines", "settings"): SETTINGS["simulate"],
    ("experiments", "mlps", "settings"): SETTINGS["train"],
    ("experiments", "lines", "settings", "schedule"): Schedule,
    ("figures", "figure2"): FigureEntry,
    ("figures", "mine"): FigureEntry,
    ("figures", "figure2", "options"): figure2.Options,
}
"""Where a model's keys are in the configuration above."""

ODD: list[Any] = [
    *(None, "", "x", "yes", "1/2", -1, 0, 1.5, -0.5, 2, True, False, math.nan, math.inf, 10**30),
    *([], [None], ["x"], [[1]], [-1], [1.5], {}, {"x": 1}, {"x": {"y": None}}, "x" * 200, "ü/../é"),
    *([[1, 0, 0]] * 2, "simulat", "Auto", "../x", "/etc/passwd", ["A B"], -(10**9), 1e300),
]


@functools.cache
def fields(model: Any) -> dict[str, dict[str, Any]]:
    """The JSON schema of each key of a model, able to stand alone."""
    document = model.model_json_schema()
    shared = {"$defs": document.get("$defs", {})}
    return {key: field | shared for key, field in document["properties"].items()}


def numeric(schema: dict[str, Any]) -> bool:
    return any(one.get("type") == "number" for one in branches(schema))


def branches(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The forms that a value may have."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return branches(schema["$defs"][name] | {"$defs": schema["$defs"]})
    forms = schema.get("anyOf") or schema.get("oneOf")
    if forms:
        return [b for form in forms for b in branches(form | {"$defs": schema["$defs"]})]
    return [schema]


def is_wrong(value: Any, schema: dict[str, Any]) -> bool:
    """Whether the schema refuses a value; YAML's nan and inf, which JSON has not, are wrong."""
    if isinstance(value, float) and not math.isfinite(value):
        return True
    return not Draft202012Validator(schema).is_valid(value)


def remedies(schema: dict[str, Any]) -> list[str]:
    """Words of which one at least says what would be right."""
    words: list[str] = []
    for form in branches(schema):
        kind = form.get("type", "")
        words += {"integer": ["integer", "whole"], "boolean": ["true or false"]}.get(kind, [])
        words += {"number": ["number"], "string": ["string", "text"]}.get(kind, [])
        words += {"array": ["list"], "object": ["mapping", "no such key", "missing"]}.get(kind, [])
        items = form.get("items")
        words += remedies(items | {"$defs": form.get("$defs", {})}) if items else []
        words += [f"'{choice.lower()}'" for choice in form.get("enum", [])]
        words += [f"'{form['const'].lower()}'"] if "const" in form else []
        bounds = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
        words += [f"{form[name]:g}" for name in bounds if name in form]
        words += ["at least"] if "minItems" in form or "minLength" in form else []
        words += [form["pattern"]] if "pattern" in form else []
        more = form.get("additionalProperties")
        words += remedies(more | {"$defs": form.get("$defs", {})}) if isinstance(more, dict) else []
        own = str({name: part for name, part in form.items() if name != "$defs"})
        words += ["items"] if "maxItems" in own else []
        words += ["is missing from"] if "prefixItems" in own else []
    return words


def parts(value: Any) -> list[str]:
    """How a value, or any part of it, is shown; keys as they are in a key's full name."""
    inner = value if isinstance(value, list) else ()
    if isinstance(value, dict):
        inner = [*value, *value.values()]
    return [show(value).strip('"'), *(text for part in inner for text in parts(part))]


def put(raw: dict[str, Any], where: Where, value: Any) -> None:
    node = raw
    for key in where[:-1]:
        node = node[key]
    node[where[-1]] = value


@st.composite
def valid(draw: DrawFn) -> dict[str, Any]:
    """A random configuration without a mistake."""
    raw = copy.deepcopy(BASE)
    raw["device"] = draw(st.sampled_from(["auto", "cpu", "cuda"]))
    raw["analysis"]["lazy_threshold"] = draw(st.floats(1e-6, 1e6))
    for name, key, most in (("lines", "sigma", 1e6), ("mlps", "tau", 1.0)):
        experiment = raw["experiments"][name]
        values = st.lists(st.floats(0, most), min_size=1, max_size=3, unique_by=abs)
        drawn = draw(values)
        # what Figure 3 compares with
        experiment["grid"][key] = drawn if name == "lines" else [0.0, *(v or most for v in drawn)]
        experiment["settings"]["eta"] = draw(st.floats(1e-9, 1e3))
        experiment["settings"]["steps"] = draw(st.integers(10, 10**9))
        experiment["seeds"] = draw(
            st.integers(1, 9) | st.lists(st.integers(0, 99), min_size=1, unique=True)
        )
    return raw


@st.composite
def wrong_value(draw: DrawFn) -> tuple[dict[str, Any], Where, Any, list[str]]:
    """A configuration with a wrong value: where, which, and words that would say what is right."""
    raw = draw(valid())
    place = draw(st.sampled_from(list(PLACES)))
    known = fields(PLACES[place])
    key = draw(st.sampled_from(sorted(known)))
    schema = known[key]
    found = [*ODD, *edges(schema)]
    value = copy.deepcopy(draw(st.sampled_from([v for v in found if is_wrong(v, schema)])))
    where = (*place, key)
    if place[-1:] == ("settings",):
        experiment = raw["experiments"][place[1]]
        experiment["grid"].pop(key, None)
        if isinstance(value, str | int | float) and draw(st.booleans()):
            experiment["settings"].pop(key, None)
            where = (*place[:-1], "grid", key)
            put(raw, where, [value])
            return raw, where, value, remedies(schema)
    put(raw, where, value)
    return raw, where, value, remedies(schema)


def edges(schema: dict[str, Any]) -> list[Any]:
    """The first values out of each range."""
    found: list[Any] = []
    for form in branches(schema):
        for name, step in (("minimum", -1), ("maximum", 1)):
            found += [form[name] + step] if name in form else []
        found += [form[name] for name in ("exclusiveMinimum", "exclusiveMaximum") if name in form]
        found += [f"{choice}s" for choice in form.get("enum", [])]
    return found


def refusal(raw: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(raw)
    lines = str(caught.value).splitlines()
    for line in lines:
        for jargon in ("dict[", "NoneType", "pydantic", "instance of", "Value error", "validator"):
            assert jargon not in line, line
    return lines


sometimes = settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
often = settings(sometimes, max_examples=250)


@sometimes
@given(valid())
def test_what_the_mistakes_are_made_in_is_valid(raw: dict[str, Any]) -> None:
    load(raw)


@often
@given(wrong_value())
def test_a_wrong_value_is_named_with_its_key_and_what_is_right(
    case: tuple[dict[str, Any], Where, Any, list[str]],
) -> None:
    raw, where, value, right = case
    key = ".".join(where)
    lines = refusal(raw)
    mine = [line for line in lines if line.startswith((f"{key}:", f"{key}."))]
    assert mine, (key, lines)
    assert any(text in line for line in mine for text in parts(value)), (value, mine)
    assert any(word in line.lower() for line in mine for word in right), (right, mine)


@st.composite
def wrong_key(draw: DrawFn) -> tuple[dict[str, Any], Where, str, str]:
    """A configuration with a key that is none: where, which, and the one that was meant, or ""."""
    raw = draw(valid())
    place = draw(st.sampled_from(list(PLACES)))
    known = sorted(PLACES[place].model_fields)
    owner = raw
    for key in place:
        owner = owner[key]
    if draw(st.booleans()):
        word = draw(st.text("qxzwk", min_size=9, max_size=12))
        owner[word] = draw(st.sampled_from(ODD))
        return raw, place, word, ""
    meant = draw(st.sampled_from([key for key in known if len(key) > 4]))
    # two letters the wrong way round, one twice or one missing
    at = draw(st.integers(1, len(meant) - 2))
    slip = draw(
        st.sampled_from([meant[at + 1] + meant[at], meant[at] * 2 + meant[at + 1], meant[at]])
    )
    word = meant[:at] + slip + meant[at + 2 :]
    owner[word] = owner.pop(meant, 1)
    return raw, place, word, "" if word in known else meant


@often
@given(wrong_key())
def test_an_unknown_key_is_named_with_the_one_that_was_meant(
    case: tuple[dict[str, Any], Where, str, str],
) -> None:
    raw, place, word, meant = case
    if word in PLACES[place].model_fields:
        return  # a slip that changed nothing
    lines = refusal(raw)
    key = ".".join((*place, word))
    (mine,) = [line for line in lines if line.startswith(f"{key}: no such key;")]
    if meant:
        assert mine.endswith(f"; did you mean {meant}?")
    else:
        assert "known: " in mine or "did you mean" in mine


@sometimes
@given(valid(), st.data())
def test_a_grid_with_an_unknown_or_double_key_is_refused(
    raw: dict[str, Any], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(["lines", "mlps"]))
    experiment = raw["experiments"][name]
    model = SETTINGS[experiment["verb"]]
    key = data.draw(st.sampled_from([*experiment["settings"], "sgima", "qqqqqq", ""]))
    value = data.draw(st.sampled_from([v for v in ODD if not isinstance(v, list)]))
    experiment["grid"][key] = [value]
    spelled = key or '""'
    where = f"experiments.{name}.grid.{spelled}:"
    (mine, *_) = [line for line in refusal(raw) if line.startswith(where)]
    if key not in model.model_fields and isinstance(value, str | int | float):
        assert "no such key" in mine
    if key in experiment["settings"]:
        assert f"also fixed in experiments.{name}.settings; keep one of the two" in mine


NAMES = st.one_of(
    st.sampled_from(
        [
            *("..", ".", "", "/", "../x", "a/../../x", "/etc/passwd", "a/b", "a\\b", "~", "~root"),
            *("a\n", "a\0b", "a b", "A", "1a", "-rf", "--config", "{a}", "{wildcards.cell}", "a*"),
            *(
                "..\u2215x",
                "\uff0e\uff0e",
                "\u2024\u2024/",
                "ａ",
                "é",
                "e\u0301",
                "a\u202e",
                "$HOME",
            ),
            *(
                "results",
                "a" * 61,
                "a.b",
                "a:b",
                "COM1",
                "con.",
                "`id`",
                "$(id)",
                "a;id",
                "file:///x",
            ),
        ]
    ).filter(lambda name: name != "results"),
    st.text(max_size=5).map(lambda text: f"a/{text}"),
    st.text(max_size=5).map(lambda text: f"{text}/.."),
)


@sometimes
@given(valid(), NAMES, st.sampled_from(["experiments", "figures", "drawn_by", "draws"]))
def test_a_name_that_could_lead_elsewhere_is_refused(
    raw: dict[str, Any], name: str, place: str
) -> None:
    figures = raw["figures"]
    if place == "experiments":
        raw["experiments"][name] = raw["experiments"]["lines"]
        key = f"experiments.{name}"
    elif place == "figures":
        figures[name] = {"drawn_by": "figure2", "experiments": ["lines"]}
        key = f"figures.{name}"
    elif place == "drawn_by":
        figures["figure2"]["drawn_by"] = name
        key = "figures.figure2.drawn_by"
    else:
        figures["figure2"]["experiments"] = [name]
        key = "figures.figure2.experiments"
    with pytest.raises(ConfigError) as caught:
        load(raw)
    assert key.rstrip(".") in str(caught.value)
    assert "should match" in str(caught.value) or "at most 60" in str(caught.value)


@sometimes
@given(valid(), st.data())
def test_no_path_of_a_cell_leads_out_of_results(raw: dict[str, Any], data: st.DataObject) -> None:
    """Whatever text stands in a grid: it is refused, or spelled as plain folders."""
    name = data.draw(st.sampled_from(["lines", "mlps"]))
    experiment = raw["experiments"][name]
    keys = [k for k in SETTINGS[experiment["verb"]].model_fields if k not in experiment["settings"]]
    texts = NAMES | st.sampled_from(["1/m", "torch", "resnet", "digits", "os:../x", "a.b:C/../x"])
    experiment["grid"] = {data.draw(st.sampled_from(keys)): [data.draw(texts)]}
    try:
        cells = load(raw).cells[name]
    except ConfigError as error:
        assert f"experiments.{name}." in str(error)
        return
    for cell in cells:
        assert re.fullmatch(r"[a-z_]+=[A-Za-z0-9_.]+(/m)?", cell.path)
        assert ".." not in cell.path


SECRET = "h0rse:b@ttery/st?ple"


@pytest.mark.parametrize(
    "tracking",
    [
        f"postgresql://me:{SECRET}@host/db",
        {"uri": [f"postgresql://me:{SECRET}@host/db"]},
        {"uri": {"x": f"https://me:{SECRET}@host"}},
        {"url": f"postgresql://me:{SECRET}@host/db"},
        {"enabled": f"postgresql://host/db?user=me&password={SECRET}"},
    ],
)
def test_a_password_in_the_wrong_place_is_not_repeated(tracking: Any) -> None:
    (line,) = refusal(BASE | {"tracking": tracking})
    assert line.startswith("tracking")
    assert "h0rse" not in line and "ttery" not in line and "st?ple" not in line

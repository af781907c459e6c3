"""What changes a code digest and what does not, on a package made for it."""

import hashlib
import importlib
import json
import sys
from importlib.machinery import EXTENSION_SUFFIXES

import pytest

from labelnoise.workflow import digests

SCRIPT = "from toy.entry import run\nrun()\n"
FILES = {
    "__init__.py": '"""A toy."""\n',
    "entry.py": (
        '"""Entry."""\nimport os\nimport toy.absolute\nfrom .relative import f\n\n\n'
        'def run():\n    """Run."""\n    from toy.sub.inner import g\n\n    return f() + g()\n'
    ),
    "absolute.py": "A = 1\n",
    "relative.py": "from . import base\n\n\ndef f():\n    return base.B\n",
    "base.py": "B = 2\n",
    "sub/__init__.py": "",
    "sub/inner.py": "from ..deep import D\n\n\ndef g():\n    return D\n",
    "deep.py": "D = 4\n",
    "unrelated.py": "U = 0\n",
}
REACHED = sorted(FILES.keys() - {"unrelated.py"})


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A package `toy` in place of `labelnoise`, and a function that digests it anew."""
    package = tmp_path / "toy"
    for name, text in FILES.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text, encoding="utf-8")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    monkeypatch.setattr(digests, "PACKAGE", package)

    def digest(modules=("toy.entry",)):
        digests._digest_and_imports.cache_clear()
        return digests.code_digest(script, modules)

    yield package, digest
    digests._digest_and_imports.cache_clear()


def append(path, text):
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


@pytest.mark.parametrize("name", REACHED)
def test_code_that_is_imported_at_any_depth_counts(toy, name):
    package, digest = toy
    before = digest()
    append(package / name, "\nNEW = 1\n")
    assert digest() != before


def test_the_script_counts(toy):
    package, digest = toy
    before = digest()
    append(package.parent / "script.py", "\nrun()\n")
    assert digest() != before


def test_modules_that_are_not_imported_do_not_count(toy):
    package, digest = toy
    before = digest()
    append(package / "unrelated.py", "\nNEW = 1\n")
    (package / "another.py").write_text("X = 1\n", encoding="utf-8")
    assert digest() == before


def test_comments_docstrings_and_layout_do_not_count(toy):
    package, digest = toy
    before = digest()
    for name in FILES:
        path = package / name
        text = path.read_text(encoding="utf-8")
        text = text.replace('"""Entry."""', '"""Another docstring,\n\nof three lines.\n"""')
        text = text.replace('"""Run."""', '"""Run it."""\n    # and why')
        text = text.replace("A = 1", "\n\nA   =   (1)  # one")
        path.write_text(f"# a comment\n\n{text}\n\n# the end\n", encoding="utf-8")
    assert digest() == before


def test_a_docstring_taken_away_does_not_count(toy):
    package, digest = toy
    before = digest()
    text = FILES["entry.py"].replace('"""Entry."""\n', "").replace('    """Run."""\n', "")
    (package / "entry.py").write_text(text, encoding="utf-8")
    assert digest() == before


@pytest.mark.parametrize(
    ("old", "new"), [("A = 1", "A = 2"), ("A = 1", "A = 1.0"), ("A = 1", "A = '1'")]
)
def test_a_changed_value_counts(toy, old, new):
    package, digest = toy
    before = digest()
    path = package / "absolute.py"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    assert digest() != before


def test_a_circle_of_imports_ends(toy):
    package, digest = toy
    before = digest()
    append(package / "base.py", "\nimport toy.entry\n")
    assert digest() != before


def test_the_order_of_the_modules_does_not_count(toy):
    _, digest = toy
    assert digest(("toy.entry", "toy.unrelated")) == digest(("toy.unrelated", "toy.entry"))


def test_a_module_that_does_not_exist_is_named(toy):
    _, digest = toy
    with pytest.raises(ModuleNotFoundError, match=r"toy\.nothing is not a module of toy"):
        digest(("toy.nothing",))


def test_the_simulator_is_followed_to_its_rules_and_numbers():
    """On the real package: the modules that decide a run's numbers are reached, others not."""

    def follow(first):
        reached, waiting = set(), [first]
        while waiting:
            module = waiting.pop()
            if module not in reached:
                reached.add(module)
                waiting.extend(digests._digest_and_imports(module)[1])
        return reached

    reached = follow("labelnoise.simulate.run")
    names = ("chain", "compiled", "compiled_engine", "engines", "observe", "problem")
    names += ("reduction", "rules", "settings", "torch_engine")
    assert {f"labelnoise.simulate.{name}" for name in names} <= reached
    assert "labelnoise.rng" in reached
    assert not any(".plot" in module or ".analyze" in module for module in reached)
    assert not any(".linearize" in module for module in reached)
    linearised = follow("labelnoise.linearize.two_layer")
    assert {"labelnoise.simulate.compiled", "labelnoise.simulate.run"} <= linearised
    assert not any(".plot" in module or ".analyze" in module for module in linearised)


def test_a_recipe_is_canonical_json(toy):
    package, _ = toy
    script = package.parent / "script.py"

    def recipe(modules=("toy.entry",), **content):
        return digests.recipe(script, modules, ["numpy"], **content)

    one = recipe(sigma=4.0, settings={"b": 1, "a": "η"})
    other = recipe(settings={"a": "η", "b": 1}, sigma=4.0)
    assert one == other
    content = json.loads(one)
    assert one == json.dumps(content, sort_keys=True, ensure_ascii=False)
    assert content["settings"] == {"a": "η", "b": 1}
    assert content["code"] == digests.code_digest(script, ["toy.entry"])
    assert set(content["libraries"]) == {"numpy"}
    assert recipe(sigma=4.5, settings={"b": 1, "a": "η"}) != one


def test_a_file_digest_is_that_of_its_bytes(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc" * 100_000)
    assert digests.file_digest(path) == hashlib.sha256(b"abc" * 100_000).hexdigest()


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """A user's package and module on the path; to import them is an error."""
    files = {
        "theirs/__init__.py": "raise AssertionError('imported')\n",
        "theirs/deep/__init__.py": "",
        "theirs/deep/net.py": "WIDTH = 3\n",
        "spread/part.py": "A = 1\n",  # no __init__.py: a namespace
        "single.py": "S = 1\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    return tmp_path


@pytest.mark.parametrize(
    ("module", "file"),
    [
        ("single", "single.py"),
        ("theirs", "theirs/__init__.py"),
        ("theirs.deep", "theirs/deep/__init__.py"),
        ("theirs.deep.net", "theirs/deep/net.py"),
        ("spread.part", "spread/part.py"),
        ("spread", None),
        ("theirs.nothing", None),
        ("single.nothing", None),
        ("nothing.at.all", None),
        ("sys", None),
    ],
)
def test_the_file_of_a_module_is_found_and_not_imported(foreign, module, file):
    assert digests.module_file(module) == (foreign / file if file else None)
    assert not {"theirs", "single", "spread"} & sys.modules.keys()


def test_a_users_code_counts_and_its_comments_do_not(foreign):
    path = foreign / "theirs" / "deep" / "net.py"
    before = digests.foreign_digest("theirs.deep.net:Net")
    assert before == digests.foreign_digest("theirs.deep.net:Other")
    path.write_text('"""A net."""\n\nWIDTH = 3  # neurons\n', encoding="utf-8")
    assert digests.foreign_digest("theirs.deep.net:Net") == before
    path.write_text("WIDTH = 4\n", encoding="utf-8")
    assert digests.foreign_digest("theirs.deep.net:Net") != before
    assert not {"theirs", "single", "spread"} & sys.modules.keys()


def test_a_compiled_module_counts_as_its_file(foreign):
    path = foreign / f"compiled{EXTENSION_SUFFIXES[0]}"
    path.write_bytes(b"\x7fELF\xff")
    before = digests.foreign_digest("compiled:Net")
    path.write_bytes(b"\x7fELF\xfe")
    assert digests.foreign_digest("compiled:Net") != before


@pytest.mark.parametrize("module", ["nothing", "theirs.nothing", "spread"])
def test_users_code_that_does_not_exist_is_named(foreign, module):
    with pytest.raises(ModuleNotFoundError, match=rf"{module}: no Python file of that name"):
        digests.foreign_digest(f"{module}:Net")

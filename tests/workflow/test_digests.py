"""What changes a code digest and what does not, on a package made for it."""

import hashlib
import importlib
import sys
from importlib.machinery import EXTENSION_SUFFIXES

import pytest

from labelnoise.artifacts import provenance
from labelnoise.config import modules
from labelnoise.workflow import digests

SCRIPT = "from toy.entry import run\nrun()\n"
FILES = {
    "__init__.py": '"""A toy."""\n',
    "entry.py": (
        '"""Entry."""\nimport os\nimport toy.absolute\nfrom .relative import f\n'
        "from . import aliased as a, several\nfrom .passing import h\n\n\n"
        'def run():\n    """Run."""\n    from toy.sub.inner import g\n\n'
        "    return f() + g() + a.used + toy.absolute.A + h() + several.x\n\n\n"
        "def beside():\n    return os\n"
    ),
    "absolute.py": "A = 1\n",
    "relative.py": "from . import base\n\nC = 5\n\n\ndef f():\n    return base.B + C\n",
    "base.py": "B = 2\nUNUSED = 3\n",
    "sub/__init__.py": "",
    "sub/inner.py": "from ..deep import D\n\n\ndef g():\n    return D\n",
    "deep.py": "D = 4\n",
    "aliased.py": "used = 6\nunused = 7\n",
    "several.py": "x, y = 1, 2\n",
    "passing.py": "from .end import h\n",
    "end.py": "def h():\n    return 8\n",
    "unrelated.py": "U = 0\n",
    "model.py": (
        "from pydantic import BaseModel, Field, field_validator\n\n\n"
        "class Model(BaseModel):\n    size: int = Field(default=1, description='of it')\n\n"
        "    @field_validator('size')\n    def _check(cls, value):\n        return value\n\n"
        "    @property\n    def double(self):\n        return 2 * self.size\n"
    ),
}
COUNT = {
    "entry.py": "return f() + g()",
    "absolute.py": "A = 1",
    "relative.py": "return base.B",
    "base.py": "B = 2",
    "sub/inner.py": "return D",
    "deep.py": "D = 4",
    "aliased.py": "= 6",
    "several.py": "= 1, 2",
    "end.py": "return 8",
}
"""A text in each file that the entry point reaches."""


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

    def digest(entries=("toy.entry:run",), chosen=()):
        digests._read.cache_clear()
        return digests.code_digest(script, entries, chosen)

    yield package, digest
    digests._read.cache_clear()


def append(path, text):
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


def change(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize("name", COUNT)
def test_code_that_is_mentioned_at_any_depth_counts(toy, name):
    package, digest = toy
    before = digest()
    change(package / name, COUNT[name], f"{COUNT[name]} + 0" if name != "several.py" else "= 3, 2")
    assert digest() != before


def test_the_closure_is_what_is_mentioned(toy):
    assert {m: set(names) for m, names in digests.closure(["toy.entry:run"]).items()} == {
        "toy.absolute": {"A"},
        "toy.aliased": {"used"},
        "toy.base": {"B"},
        "toy.deep": {"D"},
        "toy.end": {"h"},
        "toy.entry": {"run"},
        "toy.relative": {"C", "f"},
        "toy.several": {"x"},
        "toy.sub.inner": {"g"},
    }


@pytest.mark.parametrize(
    ("name", "old"),
    [("entry.py", "return os"), ("base.py", "UNUSED = 3"), ("aliased.py", "unused = 7")],
)
def test_definitions_that_are_not_mentioned_do_not_count(toy, name, old):
    package, digest = toy
    before, whole = digest(), digest(["toy.entry", "toy.base", "toy.aliased"])
    change(package / name, old, f"{old} + 0")
    assert digest() == before
    assert digest(["toy.entry", "toy.base", "toy.aliased"]) != whole


def test_what_a_module_does_when_it_is_imported_counts_with_what_it_mentions(toy):
    package, digest = toy
    before = digest()
    append(package / "base.py", "\nfrom . import unrelated\nprint(unrelated.U)\n")
    after = digest()
    assert after != before
    change(package / "unrelated.py", "U = 0", "U = 1")
    assert digest() != after


def test_a_module_that_is_used_as_a_value_counts_whole(toy):
    package, digest = toy
    append(package / "base.py", "\nfrom . import unrelated\nB = getattr(unrelated, 'U')\n")
    before = digest()
    append(package / "unrelated.py", "\nV = 1\n")
    assert digest() != before


def test_a_table_of_which_a_row_is_taken_is_not_followed(toy):
    package, digest = toy
    entries, chosen = ["toy.entry:run"], ["toy.base:B"]
    before = digest(entries, chosen)
    change(package / "base.py", "B = 2", "B = 3")
    assert digest(entries, chosen) == before
    asked = digest([*entries, "toy.base:B"], chosen)  # the row itself
    change(package / "base.py", "B = 3", "B = 4")
    assert digest([*entries, "toy.base:B"], chosen) != asked


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


def test_comments_docstrings_bare_strings_and_layout_do_not_count(toy):
    package, digest = toy
    before = digest()
    for name in FILES:
        path = package / name
        text = path.read_text(encoding="utf-8")
        text = text.replace('"""Entry."""', '"""Another docstring,\n\nof three lines.\n"""')
        text = text.replace('"""Run."""', '"""Run it."""\n    # and why')
        text = text.replace("A = 1", "\n\nA   =   (1)  # one\n'what it is'")
        path.write_text(f"# a comment\n\n{text}\n\n# the end\n", encoding="utf-8")
    assert digest() == before


def test_a_docstring_taken_away_does_not_count(toy):
    package, digest = toy
    before = digest()
    text = FILES["entry.py"].replace('"""Entry."""\n', "").replace('    """Run."""\n', "")
    (package / "entry.py").write_text(text, encoding="utf-8")
    assert digest() == before


def test_the_text_of_an_error_does_not_count_and_its_condition_does(toy):
    package, digest = toy
    append(package / "deep.py", "\n\ndef D():\n    if 1 > 2:\n        raise ValueError('no')\n")
    before = digest()
    change(package / "deep.py", "'no'", "f'never, got {1}'")
    assert digest() == before
    change(package / "deep.py", "1 > 2", "1 > 3")
    assert digest() != before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("default=1", "default=2"),
        ("description='of it'", "gt=0"),
        ("    size: int", "    more: int = Field(default=0)\n    size: int"),
        ("return value", "return abs(value)"),
    ],
)
def test_the_fields_and_validators_of_settings_do_not_count(toy, old, new):
    package, digest = toy
    before = digest(["toy.model:Model"])
    change(package / "model.py", old, new)
    assert digest(["toy.model:Model"]) == before
    change(package / "model.py", "2 * self", "3 * self")
    assert digest(["toy.model:Model"]) != before


@pytest.mark.parametrize(
    ("old", "new"), [("A = 1", "A = 2"), ("A = 1", "A = 1.0"), ("A = 1", "A = '1'")]
)
def test_a_changed_value_counts(toy, old, new):
    package, digest = toy
    before = digest()
    change(package / "absolute.py", old, new)
    assert digest() != before


def test_a_circle_of_imports_ends(toy):
    package, digest = toy
    before = digest()
    append(package / "base.py", "\nfrom .entry import run\nB = run\n")
    assert digest() != before


def test_the_order_of_the_entries_does_not_count(toy):
    _, digest = toy
    assert digest(("toy.entry", "toy.unrelated")) == digest(("toy.unrelated", "toy.entry"))


def test_what_does_not_exist_is_named(toy):
    package, digest = toy
    with pytest.raises(ModuleNotFoundError, match=r"toy\.nothing is not a module of toy"):
        digest(("toy.nothing",))
    with pytest.raises(LookupError, match=r"toy\.base defines no missing"):
        digest(("toy.base:missing",))
    append(package / "base.py", "\nfrom .deep import *\n")
    with pytest.raises(ValueError, match=r"base\.py: import \*; name what is needed"):
        digest()


def test_a_file_digest_is_that_of_its_bytes(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc" * 100_000)
    assert provenance.file_digest(path) == hashlib.sha256(b"abc" * 100_000).hexdigest()


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
    assert modules.module_file(module) == (foreign / file if file else None)
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

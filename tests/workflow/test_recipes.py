"""What reruns after an edit, by the recipes of a copy of the package: what depends on it alone."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# every job of the configuration, and its recipe
LIST = """
import json, sys
from pathlib import Path
import yaml
from labelnoise.config.load import load
from labelnoise.workflow.recipes import Recipes
from labelnoise.workflow.verbs import VERBS

config = load(yaml.safe_load(Path("config.yaml").read_text()))
recipes = Recipes(config, Path("scripts"))
jobs = {"images digits": recipes.images("digits")}
for cells in config.cells.values():
    for cell in cells:
        for verb in VERBS:
            if verb.of != cell.verb or (verb.name == "linearize" and not cell.is_linearized):
                continue
            blocks = range(len(cell.blocks)) if verb.per == "block" else [None]
            for block in blocks:
                jobs[f"{verb.name} {cell.experiment}"] = recipes.job(verb.name, cell, block)
jobs |= {f"plot {name}": recipes.figure(name) for name in config.figures}
print(json.dumps(jobs))
"""

CONFIG = {
    "experiments": {
        name: {"verb": "simulate", "settings": {"algorithm": name, "sigma": 0.0}, "seeds": 1}
        for name in ("sgd", "sam", "gd", "oscillation")
    }
    | {
        "noisy": {"verb": "simulate", "settings": {"backend": "torch"}, "seeds": 1},
        "mlp": {"verb": "train", "grid": {"tau": [0.0, 0.5]}, "seeds": 1},
        "resnet": {"verb": "train", "settings": {"network": "resnet"}, "seeds": 1},
    },
    "figures": {
        "figure2": {"experiments": ["sgd", "noisy"]},
        "figure4": {"experiments": ["sam"]},
        "figure3": {"experiments": ["mlp"]},
    },
}

SIMULATED = {"sgd", "sam", "gd", "oscillation", "noisy"}
TRAINED = {"mlp", "resnet"}


def all_of(verb: str, names: set[str]) -> set[str]:
    return {f"{verb} {name}" for name in names}


class Copy:
    """A copy of the package, its scripts and a configuration, that a test may edit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "src/labelnoise", folder / "labelnoise", ignore=ignore)
        shutil.copytree(ROOT / "workflow/scripts", folder / "scripts", ignore=ignore)
        (folder / "config.yaml").write_text(json.dumps(CONFIG), encoding="utf-8")
        self.before = self.recipes()

    def recipes(self) -> dict[str, str]:
        done = subprocess.run(
            [sys.executable, "-B", "-c", LIST],
            cwd=self.folder,
            env={"PYTHONPATH": str(self.folder), "PATH": ""},
            capture_output=True,
            text=True,
        )
        assert not done.returncode, done.stderr
        return dict(json.loads(done.stdout))

    def rerun(self, *edits: tuple[str, str, str]) -> set[str]:
        """The jobs whose recipe is another one after these edits, which are then taken back."""
        old = {}
        for path, find, replace in edits:
            file = self.folder / path
            old.setdefault(file, file.read_text(encoding="utf-8"))
            text = file.read_text(encoding="utf-8")
            assert find in text, f"{find!r} is not in {path}"
            file.write_text(text.replace(find, replace, 1), encoding="utf-8")
        try:
            after = self.recipes()
        finally:
            for file, text in old.items():
                file.write_text(text, encoding="utf-8")
        assert after.keys() == self.before.keys()
        return {job for job, recipe in after.items() if recipe != self.before[job]}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    copy = Copy(tmp_path_factory.mktemp("recipes") / "copy")
    assert len(copy.before) == 24
    yield copy
    assert copy.recipes() == copy.before  # nothing of a test stays


PROSE = [
    ("labelnoise/simulate/settings.py", "training samples n", "how many training samples"),
    ("labelnoise/train/settings.py", "heavy-ball momentum", "momentum of the heavy ball"),
    ("labelnoise/config/fields.py", "recorded states, first", "states that are kept, first"),
    ("labelnoise/train/settings.py", "default=1024, desc", "default=2048, desc"),
    ("labelnoise/simulate/run.py", '"""Draw a run\'s problem', '"""Draw the problem of a run'),
    ("labelnoise/simulate/compiled.py", "# NumPy aligns", "# Numpy aligns"),
    ("labelnoise/simulate/observe.py", '"""Of the recorded neurons."""', '"""Of some neurons."""'),
    ("labelnoise/plot/parts/style.py", '"""Width of a two-column figure', '"""Width of a figure'),
    ("labelnoise/plot/parts/two_phases.py", 'description="', 'description="So: '),
    ("labelnoise/ntk/kernel.py", "bytes is too little", "bytes are too few"),  # an error's text
    ("labelnoise/analyze/phases.py", "    Interpolated linearly", "    It is interpolated"),
    ("labelnoise/train/steps.py", '    """', '    """In short: '),
    ("scripts/simulate.py", '"""Simulate one', '"""Simulate a'),
    ("scripts/train.py", '"""Train one', '"""Train a'),
    ("labelnoise/__init__.py", '__version__ = "', '__version__ = "1'),
    ("labelnoise/tracking/curves.py", "POINTS = 51", "POINTS = 101"),
    ("labelnoise/workflow/job.py", "PACE = 5.0", "PACE = 7.0"),
    # what the configuration does not use
    ("labelnoise/simulate/triton_engine.py", "weights // 512", "weights // 256"),
]


def test_what_decides_nothing_reruns_nothing(copy: Copy) -> None:
    changed = copy.rerun(*PROSE)
    assert changed == set(), [edit for edit in PROSE if copy.rerun(edit)]


DECIDING = [
    (
        ("labelnoise/simulate/compiled.py", "change = -eta * g[k]", "change = -1 * eta * g[k]"),
        {"simulate gd"},
    ),
    (  # one piece of code takes the blocks of both
        ("labelnoise/simulate/blocks.py", "math.copysign(rho", "1 * math.copysign(rho"),
        {"simulate sgd", "simulate sam"},
    ),
    (
        ("labelnoise/simulate/rules.py", "step = -eta * r\n", "step = -1 * eta * r\n"),
        {"simulate noisy"},  # the torch backend
    ),
    (
        ("labelnoise/simulate/engines.py", "x.T @ x / len(x)", "x.T @ x / x.shape[0]"),
        all_of("simulate", SIMULATED) | all_of("linearize", {"sgd", "gd", "noisy"}),
    ),
    (
        ("labelnoise/simulate/compiled.py", "theta[k] += step", "theta[k] += 1 * step"),
        all_of("linearize", {"sgd", "noisy"}),
    ),
    (
        ("labelnoise/analyze/regimes.py", "TAIL =", "TAIL = 1 *"),
        all_of("analyze", SIMULATED),
    ),
    (
        ("labelnoise/ntk/function_space.py", "2 * len(self", "2.0 * len(self"),
        {"linearize mlp"},
    ),
    (
        ("labelnoise/ntk/kernel.py", "blocks, done = None, 0", "blocks, done = None, 0 * 1"),
        {"linearize mlp"},
    ),
    (
        ("labelnoise/analyze/merging.py", "import numpy as np", "import numpy as np\nONE = 1"),
        set(),  # defined and used by nothing
    ),
    (
        ("labelnoise/train/noise.py", "if tau == 0:", "if tau <= 0:"),
        all_of("train", TRAINED),
    ),
    (("labelnoise/train/images.py", "DIGITS_TEST = 500", "DIGITS_TEST = 501"), {"images digits"}),
    (
        ("labelnoise/plot/parts/style.py", '"axes.labelsize": 8', '"axes.labelsize": 9'),
        {"plot figure2", "plot figure3", "plot figure4"},
    ),
    (
        ("labelnoise/plot/figures/figure3.py", "VERB =", "ONE = 1\nVERB ="),
        set(),
    ),
    (
        ("labelnoise/plot/parts/few_images.py", "alpha=0.18", "alpha=0.19"),
        {"plot figure3"},
    ),
    (("scripts/analyze.py", "Curves and", "Phases and"), all_of("analyze", SIMULATED | TRAINED)),
    (("scripts/prune.py", "Pruned", "Cut"), all_of("prune", TRAINED)),
]


@pytest.mark.parametrize(("edit", "jobs"), DECIDING, ids=[f"{e[0]}: {e[1]}" for e, _ in DECIDING])
def test_an_edit_reruns_what_depends_on_it(
    copy: Copy, edit: tuple[str, str, str], jobs: set[str]
) -> None:
    assert copy.rerun(edit) == jobs


def test_a_new_setting_of_sam_alone_reruns_sam(copy: Copy) -> None:
    changed = copy.rerun(
        (
            "labelnoise/simulate/settings.py",
            "    delta: Real = Field(",
            "    decay: Real = Field(default=1.0, gt=0, description='of ρ')\n"
            "    delta: Real = Field(",
        ),
        (
            "labelnoise/simulate/algorithms.py",
            '(*LABEL_NOISE, "rho"),',
            '(*LABEL_NOISE, "rho", "decay"),',
        ),
    )
    assert changed == {"simulate sam", "analyze sam", "plot figure4"}


def test_a_default_counts_where_it_is_read(copy: Copy) -> None:
    edit = ("labelnoise/simulate/settings.py", "default=0.1, ge=0", "default=0.2, ge=0")
    assert copy.rerun(edit) == {"simulate sam", "analyze sam", "plot figure4"}


def test_how_a_network_is_linearised_reruns_no_training(copy: Copy) -> None:
    edit = ("labelnoise/train/settings.py", 'default="discrete"', 'default="continuous"')
    assert copy.rerun(edit) == {"linearize mlp", "plot figure3"}


def test_a_threshold_reruns_the_analyses_that_take_it(copy: Copy) -> None:
    assert copy.rerun(
        ("config.yaml", '"figures"', '"analysis": {"lazy_threshold": 0.2}, "figures"')
    ) == all_of("analyze", SIMULATED)
    shares = '"analysis": {"weights_kept": [1.0, 0.5]}, "figures"'
    assert copy.rerun(("config.yaml", '"figures"', shares)) == all_of("prune", TRAINED)

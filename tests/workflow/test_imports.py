"""A job imports what it needs and no more: starting up is most of what a small job costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from labelnoise.artifacts.store import write_dataset
from labelnoise.simulate.run import simulate_cell
from labelnoise.simulate.settings import Settings

SCRIPTS = Path(__file__).parents[2] / "workflow/scripts"

SMALL = "Settings(width=20, dim=4, samples=10, steps=50, snapshots=3, eta=0.01)"

# what a script does, on something small, after its own imports
JOBS = {
    "simulate": f"simulate_cell({SMALL}, {{}}, [0])",
    "linearize": f"from labelnoise.linearize import two_layer\ntwo_layer.linearize({SMALL}, [0])",
    "analyze": f"""
with open_dataset("runs.nc") as runs:
    summary.analyze({SMALL}, [runs], lazy_threshold=0.1, alignment_onset=0.25)
""",
    "plot": """
import pandas as pd
from labelnoise.config.load import plot_modules
from labelnoise.plot.parts.style import Drawing, apply_style
for name in plot_modules():
    importlib.import_module(f"labelnoise.plot.figures.{name}")
apply_style()
import matplotlib.pyplot as plt
import seaborn as sns
figure, axes = plt.subplots()
numbers = pd.DataFrame({"x": [0, 1], "y": [0, 1]})
sns.lineplot(numbers, x="x", y="y", ax=axes)
drawing = Drawing(figure, numbers, "a line")
save(drawing, *(Path(f"a.{kind}") for kind in ("pdf", "png", "csv", "md")))
""",
}

PLOTTING = {"matplotlib", "seaborn"}
TORCH = {"torch", "safetensors"}
NEVER = {"mlflow", "sklearn", "snakemake", "dask"}
UNNEEDED = {
    "simulate": TORCH | PLOTTING,
    "linearize": TORCH | PLOTTING,
    "analyze": TORCH | PLOTTING | {"numba", "scipy"},
    "plot": TORCH | {"numba"},
}


@pytest.mark.parametrize("verb", JOBS)
def test_a_job_imports_what_it_needs(verb: str, tmp_path: Path) -> None:
    settings = Settings(width=20, dim=4, samples=10, steps=50, snapshots=3, eta=0.01)
    if verb == "analyze":
        runs = simulate_cell(settings, {}, [0])
        write_dataset(
            runs,
            tmp_path / "runs.nc",
            title="runs",
            recipe={"code": "", "libraries": {}},
            inputs={},
        )
    tree = ast.parse((SCRIPTS / f"{verb}.py").read_text(encoding="utf-8"))
    imports = [
        ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    program = "\n".join([*imports, JOBS[verb], "import sys", "print(*sys.modules)"])
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "numpy" in loaded
    assert not loaded & (UNNEEDED[verb] | NEVER)

# The configuration, its grids and the recipes of jobs: what the other rule files use.

import os
import re
import subprocess
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

# the code beside this Snakefile is the code that runs, here and in the jobs
SOURCE = str(Path(workflow.basedir, "src"))
sys.path.insert(0, SOURCE)
os.environ.update(
    PYTHONPATH=os.pathsep.join(filter(None, [SOURCE, os.environ.get("PYTHONPATH")]))
)

from labelnoise.config import ConfigError, load
from labelnoise.provenance import recipe

# nothing of what runs here reports home
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

try:
    CONFIG = load(config)
except ConfigError as error:
    raise WorkflowError(f"the configuration is wrong:\n{error}") from None


# what every workflow ends with; also the target `track`
TRACK = [sys.executable, "-m", "labelnoise", "track"]
if CONFIG.tracking.uri:
    TRACK += ["--uri", CONFIG.tracking.uri]

SCRIPTS = Path(workflow.basedir, "workflow", "scripts")


def log_to_mlflow():
    """Log what the workflow made; a tracking store that is away fails nothing."""
    subprocess.run(TRACK, check=False)


def one_of(names):
    """A regular expression for one of these names."""
    return "|".join(sorted(map(re.escape, names)))


wildcard_constraints:
    experiment=one_of(CONFIG.cells),
    cell=one_of({cell.path for cells in CONFIG.cells.values() for cell in cells}),
    figure=one_of(CONFIG.figures),
    block=r"\d+",


def cell_of(wildcards):
    return CONFIG.cell(wildcards.experiment, wildcards.cell)


def block_files(cell):
    """The trajectory files of a cell, one a block of seeds."""
    return [
        f"results/simulate/{cell.experiment}/{cell.path}/block={block}.nc"
        for block in range(len(cell.blocks))
    ]


def analysis_file(cell):
    return f"results/analyze/{cell.experiment}/{cell.path}.nc"


def simulate_recipe(wildcards):
    cell = cell_of(wildcards)
    return recipe(
        SCRIPTS / "simulate.py",
        ["labelnoise.simulate.run", "labelnoise.store"],
        ["numba", "numpy", "scipy", "xarray", "netCDF4"]
        + ["torch"] * (cell.settings.backend == "torch"),
        experiment=cell.experiment,
        grid=dict(cell.grid),
        settings=cell.settings.model_dump(mode="json"),
        seeds=cell.blocks[int(wildcards.block)],
    )


def analyze_recipe(wildcards):
    cell = cell_of(wildcards)
    return recipe(
        SCRIPTS / "analyze.py",
        ["labelnoise.analyze.summary", "labelnoise.store"],
        ["numpy", "xarray", "netCDF4"],
        experiment=cell.experiment,
        grid=dict(cell.grid),
        settings=cell.settings.model_dump(mode="json"),
        analysis=CONFIG.analysis.model_dump(mode="json"),
    )


def analyze_input(wildcards):
    return block_files(cell_of(wildcards))


def figure_cells(figure):
    return [
        cell
        for name in CONFIG.figures[figure].experiments
        for cell in CONFIG.cells[name]
    ]


def plot_recipe(wildcards):
    entry = CONFIG.figures[wildcards.figure]
    cells = figure_cells(wildcards.figure)
    return recipe(
        SCRIPTS / "plot.py",
        [f"labelnoise.plot.{entry.drawn_by}"],
        ["matplotlib", "seaborn", "numpy", "pandas", "xarray"],
        drawn_by=entry.drawn_by,
        options=entry.options,
        cells=[
            {
                "experiment": cell.experiment,
                "grid": dict(cell.grid),
                "settings": cell.settings.model_dump(mode="json"),
                "analysis": analysis_file(cell),
                "blocks": block_files(cell),
            }
            for cell in cells
        ],
    )


def plot_input(wildcards):
    cells = figure_cells(wildcards.figure)
    return [
        path for cell in cells for path in (analysis_file(cell), *block_files(cell))
    ]

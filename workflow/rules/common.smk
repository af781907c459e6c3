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
from labelnoise.tracking.records import all_logged
from labelnoise.tracking.stores import store_uri

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
    results = Path("results")
    asked = any(job.rule.name == "track" for job in workflow.dag.needrun_jobs())
    if not asked and not all_logged(results, store_uri(results, CONFIG.tracking.uri)):
        subprocess.run(TRACK, check=False)


def log_what_is_left():
    """Log what an earlier, killed call made, where this one had nothing to do.

    Only a call that got to the point of running jobs: not a dry run, --lint, --unlock, a report.
    """
    idle = workflow.scheduler is not None and len(workflow.dag) == 0
    hooks = idle and not workflow.execution_settings.no_hooks
    if hooks and not workflow.dryrun and not workflow.touch:
        log_to_mlflow()


# what a figure is: the picture twice, the numbers behind it, and what it shows in words
KINDS = ["pdf", "png", "csv", "md"]


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


def block_files(cell, verb="simulate"):
    """The files of a cell that a verb makes, one a block of seeds."""
    return [
        f"results/{verb}/{cell.experiment}/{cell.path}/block={block}.nc"
        for block in range(len(cell.blocks))
    ]


def analysis_file(cell):
    return f"results/analyze/{cell.experiment}/{cell.path}.nc"


def cell_recipe(cell):
    """What tells a cell from all others."""
    return {
        "experiment": cell.experiment,
        "grid": dict(cell.grid),
        "together": dict(cell.together),
        "settings": cell.settings.model_dump(mode="json"),
    }


def simulate_recipe(wildcards):
    cell = cell_of(wildcards)
    return recipe(
        SCRIPTS / "simulate.py",
        ["labelnoise.simulate.run", "labelnoise.store"],
        ["numba", "numpy", "scipy", "xarray", "netCDF4"]
        + ["torch"] * (cell.settings.backend == "torch"),
        seeds=cell.blocks[int(wildcards.block)],
        **cell_recipe(cell),
    )


def gpus(wildcards):
    return int(cell_of(wildcards).settings.backend == "cuda")


def linearize_recipe(wildcards):
    cell = cell_of(wildcards)
    return recipe(
        SCRIPTS / "linearize.py",
        ["labelnoise.linearize.two_layer", "labelnoise.store"],
        ["numba", "numpy", "scipy", "xarray", "netCDF4"],
        seeds=cell.blocks[int(wildcards.block)],
        **cell_recipe(cell),
    )


def analyze_recipe(wildcards):
    return recipe(
        SCRIPTS / "analyze.py",
        ["labelnoise.analyze.summary", "labelnoise.store"],
        ["numpy", "xarray", "netCDF4"],
        analysis=CONFIG.analysis.model_dump(mode="json"),
        **cell_recipe(cell_of(wildcards)),
    )


def analyze_input(wildcards):
    return block_files(cell_of(wildcards))


def files_of(cell, needs):
    """The files of a cell that a figure reads, by the verb that makes them."""
    return {
        verb: [analysis_file(cell)] if verb == "analyze" else block_files(cell, verb)
        for verb in needs
    }


def plot_recipe(wildcards):
    figure = CONFIG.figures[wildcards.figure]
    return recipe(
        SCRIPTS / "plot.py",
        [f"labelnoise.plot.{figure.drawn_by}"],
        ["matplotlib", "seaborn", "numpy", "pandas", "scipy", "xarray"],
        drawn_by=figure.drawn_by,
        options=figure.options,
        cells=[
            cell_recipe(cell) | {"files": files_of(cell, figure.needs)}
            for cell in figure.cells
        ],
    )


def plot_input(wildcards):
    figure = CONFIG.figures[wildcards.figure]
    return [
        path
        for cell in figure.cells
        for paths in files_of(cell, figure.needs).values()
        for path in paths
    ]

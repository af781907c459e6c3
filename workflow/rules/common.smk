# The configuration, its grids and the recipes of jobs: what the other rule files use.

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

# the code beside this Snakefile is the code that runs, here and in the jobs
SOURCE = str(Path(workflow.basedir, "src"))
sys.path.insert(0, SOURCE)
os.environ.update(
    PYTHONPATH=os.pathsep.join(filter(None, [SOURCE, os.environ.get("PYTHONPATH")]))
)

from labelnoise.workflow.sessions import begin
from labelnoise.config.load import ConfigError, load
from labelnoise.workflow.digests import foreign_digest, recipe
from labelnoise.tracking.records import all_logged
from labelnoise.tracking.stores import store_uri
from labelnoise.train.download import CIFAR10_SHA256, CIFAR10_URL

# nothing of what runs here reports home
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

try:
    CONFIG = load(config)
except ConfigError as error:
    raise WorkflowError(f"the configuration is wrong:\n{error}") from None

# two people in one folder: the second is told, and Snakemake's own lock keeps them apart
if workflow.is_main_process:
    for other in begin():
        logger.warning(f"{other}; nothing of it is touched")


# what every workflow ends with; also the target `track`
TRACK = [sys.executable, "-m", "labelnoise", "track"]
if CONFIG.tracking.uri:
    # not an argument: it may hold a password, and every user can list the arguments of processes
    os.environ.setdefault("MLFLOW_TRACKING_URI", CONFIG.tracking.uri)

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
    source="digits|cifar10",


def cell_of(wildcards):
    return CONFIG.cell(wildcards.experiment, wildcards.cell)


def block_files(cell, verb):
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
        "experiment_verb": cell.verb,
        "grid": dict(cell.grid),
        "together": dict(cell.together),
        "settings": cell.settings.model_dump(mode="json"),
    }


def simulate_recipe(wildcards):
    cell = cell_of(wildcards)
    return recipe(
        SCRIPTS / "simulate.py",
        ["labelnoise.simulate.run", "labelnoise.artifacts.store"],
        ["numba", "numpy", "scipy", "xarray", "netCDF4"]
        + ["torch"] * (cell.settings.backend == "torch"),
        seeds=cell.blocks[int(wildcards.block)],
        **cell_recipe(cell),
    )


def gpus(wildcards):
    """GPUs of a job: torch takes one where it finds it, as the driver's tool does."""
    cell = cell_of(wildcards)
    if cell.verb == "simulate" and cell.settings.backend != "torch":
        return int(cell.settings.backend == "cuda")
    found = CONFIG.device == "auto" and shutil.which("nvidia-smi") is not None
    return int(found or CONFIG.device == "cuda")


def linearize_gpus(wildcards):
    """GPUs of a linearised run: the two-layer one is compiled for the CPU."""
    return gpus(wildcards) if cell_of(wildcards).verb == "train" else 0


# what decides the numbers of a network on images, beside torch
TRAIN_LIBRARIES = ["torch", "numba", "numpy", "scipy", "xarray", "netCDF4"]


def own_network(cell):
    """The code of a network that is the user's own."""
    if cell.verb == "train" and cell.settings.own_network:
        return {"network_code": foreign_digest(cell.settings.network)}
    return {}


def images_file(wildcards):
    """The images that a cell is trained on; none for a simulation."""
    cell = cell_of(wildcards)
    return f"results/images/{cell.settings.source}.nc" if cell.verb == "train" else []


def train_recipe(wildcards):
    cell = cell_of(wildcards)
    return recipe(
        SCRIPTS / "train.py",
        ["labelnoise.train.run", "labelnoise.artifacts.store"],
        TRAIN_LIBRARIES + ["safetensors"],
        seeds=cell.blocks[int(wildcards.block)],
        **own_network(cell),
        **cell_recipe(cell),
    )


LINEARIZE = {
    "simulate": (
        "labelnoise.linearize.two_layer",
        ["numba", "numpy", "scipy", "xarray", "netCDF4"],
    ),
    "train": ("labelnoise.linearize.images", TRAIN_LIBRARIES),
}
ANALYZE = {
    "simulate": "labelnoise.analyze.summary",
    "train": "labelnoise.analyze.training",
}


def linearize_recipe(wildcards):
    cell = cell_of(wildcards)
    entry, libraries = LINEARIZE[cell.verb]
    return recipe(
        SCRIPTS / "linearize.py",
        [entry, "labelnoise.artifacts.store"],
        libraries,
        seeds=cell.blocks[int(wildcards.block)],
        **own_network(cell),
        **cell_recipe(cell),
    )


def prune_recipe(wildcards):
    cell = cell_of(wildcards)
    shares = {"channels_kept", "weights_kept"}
    return recipe(
        SCRIPTS / "prune.py",
        ["labelnoise.analyze.pruning", "labelnoise.artifacts.store"],
        TRAIN_LIBRARIES,
        seeds=cell.blocks[int(wildcards.block)],
        pruning=CONFIG.analysis.model_dump(mode="json", include=shares),
        **cell_recipe(cell),
    )


def analyze_recipe(wildcards):
    cell = cell_of(wildcards)
    # the thresholds are those of the lazy regime of a simulation
    names = {"lazy_threshold", "alignment_onset"}
    thresholds = {"analysis": CONFIG.analysis.model_dump(mode="json", include=names)}
    return recipe(
        SCRIPTS / "analyze.py",
        [ANALYZE[cell.verb], "labelnoise.artifacts.store"],
        ["numpy", "xarray", "netCDF4"],
        **(thresholds if cell.verb == "simulate" else {}),
        **cell_recipe(cell),
    )


def analyze_input(wildcards):
    cell = cell_of(wildcards)
    return block_files(cell, cell.verb)


def files_of(cell, needs):
    """The files of a cell that a figure reads, by the verb that makes them."""
    return {
        verb: [analysis_file(cell)] if verb == "analyze" else block_files(cell, verb)
        for verb in needs
        if verb != "linearize" or cell.is_linearized
    }


def plot_recipe(wildcards):
    figure = CONFIG.figures[wildcards.figure]
    return recipe(
        SCRIPTS / "plot.py",
        [f"labelnoise.plot.figures.{figure.drawn_by}"],
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


CIFAR10_ARCHIVE = "results/downloads/cifar-10-python.tar.gz"
# the checksum decides the content, not the code that fetches it
DOWNLOAD_RECIPE = json.dumps({"sha256": CIFAR10_SHA256, "url": CIFAR10_URL})


def images_input(wildcards):
    """The CIFAR-10 archive: the configured one, or that of rule `download`."""
    if wildcards.source == "digits":
        return []
    if CONFIG.images.cifar10 is None:
        return CIFAR10_ARCHIVE
    archive = os.path.expanduser(CONFIG.images.cifar10)
    if not os.path.isfile(archive):
        raise WorkflowError(
            f"images.cifar10: there is no file {archive}; give the path of a CIFAR-10 archive, "
            "or leave the key out to download the official one"
        )
    return archive


def images_recipe(wildcards):
    digits = wildcards.source == "digits"
    return recipe(
        SCRIPTS / "images.py",
        [f"labelnoise.train.{'images' if digits else 'archives'}", "labelnoise.artifacts.store"],
        ["scikit-learn" if digits else "pillow", "numpy", "xarray", "netCDF4"],
        source=wildcards.source,
    )

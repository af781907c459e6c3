# For all others: the checked configuration, and what each job needs to know, by its wildcards.
# All that decides it is typed code: labelnoise.config and labelnoise.workflow.

import os
import re
import subprocess
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.utils import update_config

# the code beside this Snakefile is the code that runs, here and in the jobs
SOURCE = str(Path(workflow.basedir, "src"))
sys.path.insert(0, SOURCE)
os.environ.update(
    PYTHONPATH=os.pathsep.join(filter(None, [SOURCE, os.environ.get("PYTHONPATH")]))
)

from labelnoise.config.commandline import typed
from labelnoise.config.load import ConfigError, load
from labelnoise.tracking.records import all_logged
from labelnoise.tracking.stores import store_uri
from labelnoise.workflow import layout
from labelnoise.workflow.recipes import Recipes
from labelnoise.workflow.sessions import begin
from labelnoise.workflow.verbs import gpu_found, verb_of

# nothing of what runs here reports home
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

# Snakemake makes texts of what is nested in --config
for argument in workflow.config_settings.config_args or ():
    update_config(config, typed(argument))
try:
    CONFIG = load(config)
except ConfigError as error:
    raise WorkflowError(f"the configuration is wrong:\n{error}") from None
RECIPES = Recipes(CONFIG, Path(workflow.basedir, "workflow", "scripts"))

# two people in one folder: the second is told, and Snakemake's own lock keeps them apart
if workflow.is_main_process:
    for other in begin():
        logger.warning(f"{other}; nothing of it is touched")


def one_of(names):
    """A regular expression for one of these names."""
    return "|".join(sorted(map(re.escape, names)))


wildcard_constraints:
    experiment=one_of(CONFIG.cells),
    cell=one_of({cell.path for cells in CONFIG.cells.values() for cell in cells}),
    figure=one_of(CONFIG.figures),
    block=r"\d+",
    source="digits|cifar10",


def job_of(wildcards):
    """The cell that a job is for, and its block of seeds (None: all)."""
    block = getattr(wildcards, "block", None)
    cell = CONFIG.cell(wildcards.experiment, wildcards.cell)
    return cell, None if block is None else int(block)


def recipe_of(verb):
    """What decides a verb's result."""

    def recipe(wildcards):
        return RECIPES.job(verb, *job_of(wildcards))

    return recipe


def inputs_of(verb):
    """The files that a verb reads, by name."""

    def inputs(wildcards):
        return RECIPES.inputs(verb, *job_of(wildcards))

    return inputs


def gpus_of(verb):
    """How many GPUs a verb's job asks for."""

    def gpus(wildcards):
        cell, _ = job_of(wildcards)
        return verb_of(verb, cell.verb).gpus(cell, CONFIG.device, gpu_found())

    return gpus


def ntk_memory(wildcards):
    """MiB that the Jacobians of an NTK may take: it changes no number, so it is no param."""
    return getattr(job_of(wildcards)[0].settings, "ntk_memory", 0)


def plot_input(wildcards):
    return RECIPES.figure_inputs(wildcards.figure)


def plot_recipe(wildcards):
    return RECIPES.figure(wildcards.figure)


def images_input(wildcards):
    """The CIFAR-10 archive: the configured one, or that of rule `download`."""
    if wildcards.source == "digits":
        return []
    if CONFIG.images.cifar10 is None:
        return layout.CIFAR10_ARCHIVE
    archive = os.path.expanduser(CONFIG.images.cifar10)
    if os.path.isdir(archive):
        raise WorkflowError(
            f"images.cifar10: {archive} is a folder; give a .tar.gz of it, or leave the key out to "
            "download the official one"
        )
    if not os.path.isfile(archive):
        raise WorkflowError(
            f"images.cifar10: there is no file {archive}; give the path of a CIFAR-10 archive, "
            "or leave the key out to download the official one"
        )
    return archive


def images_recipe(wildcards):
    return RECIPES.images(wildcards.source)


BLOCK = ("{experiment}", "{cell}", "{block}")

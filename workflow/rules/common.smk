# For all others: the checked configuration, and what each job needs to know, by its wildcards.
# All that decides it is typed code: labelnoise.config and labelnoise.workflow.

import atexit
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
from labelnoise.workflow.binding import Binding
from labelnoise.workflow.costs import costs_here
from labelnoise.workflow.forecast import calm, forecast
from labelnoise.workflow.recipes import Recipes
from labelnoise.workflow.sessions import begin
from labelnoise.workflow.verbs import gpu_found

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
JOBS = Binding(CONFIG, RECIPES)

# two people in one folder: the second is told, and Snakemake's own lock keeps them apart
if workflow.is_main_process:
    for other in begin():
        logger.warning(f"{other}; nothing of it is touched")


def one_of(names):
    """A regular expression for one of these names."""
    return "|".join(sorted(map(re.escape, names)))


wildcard_constraints:
    experiment=one_of(CONFIG.cells),
    # any path of a grid: thousands of alternatives would cost a dry run seconds
    cell=r"single|\w+=[^/]+(/\w+=[^/]+)*",
    figure=one_of(CONFIG.figures),
    block=r"\d+",
    source="digits|cifar10",


BLOCK = ("{experiment}", "{cell}", "{block}")

# labelnoise: every figure of the paper is one target, `snakemake figure2`.
# What is computed is said by config/config.yaml; see docs/configuration.md.

from pathlib import Path

from snakemake.utils import min_version

min_version("9.3")


configfile: Path(workflow.basedir, "config", "config.yaml")


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/hooks.smk"
include: "workflow/rules/scheduling.smk"


rule all:
    default_target: True
    input:
        [layout.figure_files(name) for name in CONFIG.figures],
        [RECIPES.lost(name) for name in CONFIG.figures],


include: "workflow/rules/images.smk"
include: "workflow/rules/simulate.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/linearize.smk"
include: "workflow/rules/prune.smk"
include: "workflow/rules/analyze.smk"
include: "workflow/rules/plot.smk"
include: "workflow/rules/track.smk"

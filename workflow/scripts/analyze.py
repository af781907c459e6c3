"""Analyze all runs of one cell."""

from contextlib import ExitStack

from labelnoise.analyze import summary, training
from labelnoise.artifacts.store import open_dataset
from labelnoise.simulate.settings import Settings
from labelnoise.train.settings import TrainSettings
from labelnoise.workflow.job import Job

job = Job(snakemake)
thresholds = job.recipe.get("analysis", {})
with ExitStack() as files:
    blocks = [files.enter_context(open_dataset(path)) for path in snakemake.input.runs]
    if job.recipe["experiment_verb"] == "train":
        analysis, numbers = training.analyze(job.settings(TrainSettings), blocks, **thresholds)
    else:
        analysis, numbers = summary.analyze(job.settings(Settings), blocks, **thresholds)
job.save(analysis, f"Curves and phases of {job.recipe['experiment']}", numbers)

"""Analyze all runs of one cell."""

from contextlib import ExitStack

import xarray as xr

from labelnoise.analyze import summary, training
from labelnoise.artifacts.store import open_dataset
from labelnoise.config.load import SETTINGS
from labelnoise.workflow.job import Job

job = Job(snakemake)
with ExitStack() as files:
    blocks = [files.enter_context(open_dataset(path)) for path in snakemake.input]
    runs = xr.concat(blocks, "seed", data_vars="minimal", coords="minimal", compat="override")
    if job.recipe["experiment_verb"] == "train":
        analysis = training.summarize(runs).compute()
        numbers = training.headline(analysis)
    else:
        settings = SETTINGS["simulate"](**job.recipe["settings"])
        eta = settings.learning_rate
        if "eta" in runs.dims:
            eta = runs["eta"] * (eta / settings.eta)
        thresholds = job.recipe["analysis"]
        analysis = summary.summarize(runs, width=settings.width, eta=eta, **thresholds).compute()
        numbers = summary.headline(analysis)
title = f"Curves and phases of {job.recipe['experiment']}"
job.save(analysis, snakemake.output.data, title, numbers)

"""Analyze all runs of one cell."""

from contextlib import ExitStack

import xarray as xr

from labelnoise.analyze.summary import headline, summarize
from labelnoise.job import Job
from labelnoise.simulate.settings import Settings
from labelnoise.store import open_dataset

job = Job(snakemake)
with ExitStack() as files:
    blocks = [files.enter_context(open_dataset(path)) for path in snakemake.input]
    runs = xr.concat(blocks, "seed", data_vars="minimal", coords="minimal", compat="override")
    settings = Settings(**job.recipe["settings"])
    eta = settings.learning_rate
    if "eta" in runs.dims:
        eta = runs["eta"] * (eta / settings.eta)
    summary = summarize(runs, width=settings.width, eta=eta, **job.recipe["analysis"]).compute()
title = f"Curves and phases of {job.recipe['experiment']}"
job.save(summary, snakemake.output.data, title, headline(summary))

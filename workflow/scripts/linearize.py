"""Train the linearised networks that go with one block of seeds of one cell."""

from labelnoise.job import Job
from labelnoise.linearize.two_layer import linearize
from labelnoise.simulate.settings import Settings

job = Job(snakemake)
settings = Settings(**job.recipe["settings"])
seeds = job.recipe["seeds"]
runs = linearize(settings, seeds, progress=job.progress(settings.steps))
title = f"Linearised two-layer linear network: {job.recipe['experiment']}"
job.save(runs, snakemake.output.data, title, {"steps": settings.steps, "seeds": len(seeds)})

"""Simulate one block of seeds of one cell."""

from labelnoise.job import Job
from labelnoise.simulate.run import simulate
from labelnoise.simulate.settings import Settings

job = Job(snakemake)
settings = Settings(**job.recipe["settings"])
seeds = job.recipe["seeds"]
runs = simulate(
    settings,
    seeds,
    threads=snakemake.threads,
    device=snakemake.resources.device,
    progress=job.progress(settings.steps),
)
title = f"Two-layer linear network under label-noise SGD: {job.recipe['experiment']}"
job.save(runs, snakemake.output.data, title, {"steps": settings.steps, "seeds": len(seeds)})

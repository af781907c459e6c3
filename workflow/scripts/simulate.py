"""Simulate one block of seeds of one cell."""

from labelnoise.job import Job
from labelnoise.simulate.engines import choose_device
from labelnoise.simulate.run import simulate
from labelnoise.simulate.settings import Settings

job = Job(snakemake)
settings = Settings(**job.recipe["settings"])
seeds = job.recipe["seeds"]
if settings.backend == "torch":
    job.device = choose_device(snakemake.config.get("device", "auto"))
runs = simulate(
    settings,
    seeds,
    threads=snakemake.threads,
    device=job.device,
    progress=job.progress(settings.steps),
)
title = f"Two-layer linear network under label-noise SGD: {job.recipe['experiment']}"
job.save(runs, snakemake.output.data, title, {"steps": settings.steps, "seeds": len(seeds)})

"""Simulate one block of seeds of one cell."""

from labelnoise.simulate.run import simulate_cell
from labelnoise.simulate.settings import Settings
from labelnoise.workflow.job import Job

job = Job(snakemake)
settings = Settings(**job.recipe["settings"])
runs = simulate_cell(
    settings,
    job.recipe["together"],
    job.recipe["seeds"],
    threads=snakemake.threads,
    device=job.device if settings.backend != "compiled" else "cpu",
    progress=job.progress(settings.steps),
)
title = f"Two-layer linear network: {job.recipe['experiment']}"
job.save(runs, title, {"steps": settings.steps, "runs": runs["diverged_step"].size})

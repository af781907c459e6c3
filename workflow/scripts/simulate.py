"""Simulate one block of seeds of one cell."""

from labelnoise.simulate.run import simulate, simulate_along
from labelnoise.simulate.settings import Settings
from labelnoise.workflow.job import Job, choose_device

job = Job(snakemake)
settings = Settings(**job.recipe["settings"])
seeds = job.recipe["seeds"]
if settings.backend == "cuda":
    job.device = "cuda"
elif settings.backend == "torch":
    job.device = choose_device(snakemake.config.get("device", "auto"))
how = {
    "threads": snakemake.threads,
    "device": job.device,
    "progress": job.progress(settings.steps),
}
if job.recipe["together"]:
    ((axis, values),) = job.recipe["together"].items()
    points = [settings.model_copy(update={axis: value}) for value in values]
    runs = simulate_along(axis, points, seeds, **how)
else:
    points = [settings]
    runs = simulate(settings, seeds, **how)
title = f"Two-layer linear network: {job.recipe['experiment']}"
counts = {"steps": settings.steps, "runs": len(points) * len(seeds)}
job.save(runs, snakemake.output.data, title, counts)

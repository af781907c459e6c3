"""Train the linearised networks that go with one block of seeds of one cell."""

from labelnoise.artifacts.store import open_dataset
from labelnoise.simulate.settings import Settings
from labelnoise.train.settings import TrainSettings
from labelnoise.workflow.job import Job

job = Job(snakemake)
seeds = job.recipe["seeds"]
if job.recipe["experiment_verb"] == "train":
    from labelnoise.linearize import images  # imports torch, which the others need not wait for

    settings = job.settings(TrainSettings)
    with open_dataset(snakemake.input.images) as source:
        runs = images.linearize(settings, source, seeds, device=job.device, say=job.say)
else:
    from labelnoise.linearize import two_layer

    settings = job.settings(Settings)
    runs = two_layer.linearize(settings, seeds, progress=job.progress(settings.steps))
title = f"Linearised networks: {job.recipe['experiment']}"
job.save(runs, title, {"steps": settings.steps, "runs": len(seeds)})

"""Train the linearised networks that go with one block of seeds of one cell."""

import torch

from labelnoise.artifacts.store import open_dataset
from labelnoise.config.load import SETTINGS
from labelnoise.linearize import images, two_layer
from labelnoise.workflow.job import Job, choose_device

job = Job(snakemake)
settings = SETTINGS[job.recipe["experiment_verb"]](**job.recipe["settings"])
seeds = job.recipe["seeds"]
if job.recipe["experiment_verb"] == "train":
    job.device = choose_device(snakemake.config.get("device", "auto"))
    torch.set_num_threads(snakemake.threads)
    with open_dataset(snakemake.input[0]) as source:
        runs = images.linearize(settings, source, seeds, device=job.device, say=job.say)
else:
    runs = two_layer.linearize(settings, seeds, progress=job.progress(settings.steps))
title = f"Linearised networks: {job.recipe['experiment']}"
job.save(runs, snakemake.output.data, title, {"steps": settings.steps, "runs": len(seeds)})

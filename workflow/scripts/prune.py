"""Prune the networks of one block of seeds of one cell, and test what is left."""

import torch
from safetensors.torch import load_file

from labelnoise.analyze.pruning import headline, prune
from labelnoise.artifacts.store import open_dataset
from labelnoise.train.settings import TrainSettings
from labelnoise.workflow.job import Job, choose_device

job = Job(snakemake)
job.device = choose_device(snakemake.config.get("device", "auto"))
torch.set_num_threads(snakemake.threads)
with open_dataset(snakemake.input.images) as images:
    pruned = prune(
        TrainSettings(**job.recipe["settings"]),
        images,
        load_file(snakemake.input.weights),
        job.recipe["seeds"],
        **job.recipe["pruning"],
        device=job.device,
        say=job.say,
    )
title = f"Pruned networks: {job.recipe['experiment']}"
job.save(pruned, snakemake.output.data, title, headline(pruned))

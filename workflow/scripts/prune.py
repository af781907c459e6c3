"""Prune the networks of one block of seeds of one cell, and test what is left."""

from safetensors.torch import load_file

from labelnoise.analyze.pruning import headline, prune
from labelnoise.artifacts.store import open_dataset
from labelnoise.train.settings import TrainSettings
from labelnoise.workflow.job import Job

job = Job(snakemake)
with open_dataset(snakemake.input.images) as images:
    pruned = prune(
        job.settings(TrainSettings),
        images,
        load_file(snakemake.input.weights),
        job.recipe["seeds"],
        **job.recipe["analysis"],
        device=job.device,
        say=job.say,
    )
job.save(pruned, f"Pruned networks: {job.recipe['experiment']}", headline(pruned))

"""Train one block of seeds of one cell."""

from pathlib import Path

from labelnoise.artifacts.store import open_dataset
from labelnoise.train.checkpoint import Checkpoint, save_tensors
from labelnoise.train.run import train
from labelnoise.train.settings import TrainSettings
from labelnoise.workflow import layout
from labelnoise.workflow.job import Job

job = Job(snakemake)
settings = job.settings(TrainSettings)
seeds = job.recipe["seeds"]
checkpoints = {
    seed: Checkpoint(layout.checkpoint(job.stem, seed), job.identity()) for seed in seeds
}
with open_dataset(snakemake.input.images) as images:
    runs, trained = train(
        settings,
        images,
        seeds,
        device=job.device,
        progress=job.progress(settings.steps * len(seeds)),
        checkpoints=checkpoints,
    )
save_tensors(trained, Path(snakemake.output.weights))
title = f"Networks on images: {job.recipe['experiment']}"
counts = {"steps": settings.steps, "runs": len(seeds)}
job.save(runs, title, counts, beside=[snakemake.output.weights])
for checkpoint in checkpoints.values():
    checkpoint.remove()

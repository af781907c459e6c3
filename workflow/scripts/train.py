"""Train one block of seeds of one cell."""

import hashlib
from pathlib import Path

import torch

from labelnoise.artifacts.store import open_dataset
from labelnoise.train.checkpoint import Checkpoint, save_tensors
from labelnoise.train.run import train
from labelnoise.train.settings import TrainSettings
from labelnoise.workflow.job import Job, choose_device

job = Job(snakemake)
job.device = choose_device(snakemake.config.get("device", "auto"))
torch.set_num_threads(snakemake.threads)
settings = TrainSettings(**job.recipe["settings"])
seeds = job.recipe["seeds"]
data, weights = Path(snakemake.output.data), Path(snakemake.output.weights)
decides = f"{snakemake.params.recipe} {sorted(job.inputs.values())} {job.device}"
identity = hashlib.sha256(decides.encode()).hexdigest()
folder = Path("results", "checkpoints", *data.with_suffix("").parts[2:])
checkpoints = {seed: Checkpoint(folder / f"seed={seed}.safetensors", identity) for seed in seeds}
with open_dataset(Path(snakemake.input[0])) as images:
    runs, trained = train(
        settings,
        images,
        seeds,
        device=job.device,
        progress=job.progress(settings.steps * len(seeds)),
        checkpoints=checkpoints,
    )
save_tensors(trained, weights)
title = f"Networks on images: {job.recipe['experiment']}"
counts = {"steps": settings.steps, "runs": len(seeds)}
job.save(runs, str(data), title, counts, beside=[str(weights)])
for checkpoint in checkpoints.values():
    checkpoint.remove()

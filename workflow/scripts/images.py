"""Bring one source of images into the layout that all have."""

import sys
from pathlib import Path

from labelnoise.train.archives import ArchiveError, read_cifar10
from labelnoise.train.images import digits
from labelnoise.workflow.job import Job

job = Job(snakemake)
try:
    images = read_cifar10(Path(snakemake.input[0])) if snakemake.input else digits()
except ArchiveError as error:
    job.say(f"{error}\nimages.cifar10 says which archive is read; left out, it is downloaded.")
    sys.exit(1)
counts = {dim: images.sizes[dim] for dim in ("train_image", "test_image")}
job.save(images, f"Images: {job.recipe['source']}", counts)

"""Download the official CIFAR-10 archive."""

import sys
from pathlib import Path

from labelnoise.train.download import DownloadError, download
from labelnoise.workflow.job import Job

job = Job(snakemake)
archive = snakemake.output.archive
try:
    download(job.recipe["url"], job.recipe["sha256"], Path(archive), say=job.say)
except DownloadError as error:
    job.say(f"{error}\nOr set images.cifar10 to the path of an archive that you have.")
    sys.exit(1)
job.finish([archive], {"bytes": Path(archive).stat().st_size})

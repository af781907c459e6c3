"""What lies where under the working directory: every path of the workflow, once.

A *stem* is the path of what one job makes, without its ending: the data, the record beside it, its
log and its benchmark all follow from it. Each function takes texts, so that a rule can ask with
wildcards (`{experiment}`) for what Python asks with names.
"""

from pathlib import Path

RESULTS = "results"

FOLDERS = {
    "images": "images",
    "simulate": "simulate",
    "train": "train",
    "linearize": "linearize",
    "prune": "prune",
    "analyze": "analyze",
    "plot": "figures",
}
"""Where each verb's artifacts are, under `RESULTS`."""

DOWNLOADS = "downloads"
"""Where archives of images are, under `RESULTS`."""

FIGURE_KINDS = ("pdf", "png", "csv", "md")
"""What a figure is: the picture twice, the numbers behind it, and what it shows in words."""

ARCHIVE = f"{RESULTS}/{DOWNLOADS}/cifar-10-python"
CIFAR10_ARCHIVE = f"{ARCHIVE}.tar.gz"


def block(verb: str, experiment: str, cell: str, number: str | int) -> str:
    """Stem of a block of seeds of one cell."""
    return f"{RESULTS}/{FOLDERS[verb]}/{experiment}/{cell}/block={number}"


def analysis(experiment: str, cell: str) -> str:
    """Stem of the analysis of a cell, over all its seeds."""
    return f"{RESULTS}/{FOLDERS['analyze']}/{experiment}/{cell}"


def images(source: str) -> str:
    """Stem of a source of images."""
    return f"{RESULTS}/{FOLDERS['images']}/{source}"


def figure(name: str) -> str:
    """Stem of a figure."""
    return f"{RESULTS}/{FOLDERS['plot']}/{name}"


def figure_files(name: str) -> list[str]:
    """The files that a figure is."""
    return [f"{figure(name)}.{kind}" for kind in FIGURE_KINDS]


def bundle(name: str) -> str:
    """The archive of a figure with all to redo it."""
    return f"{RESULTS}/bundles/{name}.zip"


def _beside(stem: str, folder: str, ending: str) -> str:
    return f"{RESULTS}/{folder}/{stem.removeprefix(f'{RESULTS}/')}{ending}"


def log(stem: str) -> str:
    """The log of the job that makes a stem's files."""
    return _beside(stem, "logs", ".log")


def benchmark(stem: str) -> str:
    """What Snakemake measured of that job."""
    return _beside(stem, "benchmarks", ".tsv")


def checkpoint(stem: str, seed: int) -> Path:
    """Where a training in progress is kept."""
    return Path(_beside(stem, "checkpoints", ""), f"seed={seed}.safetensors")

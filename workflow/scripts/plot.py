"""Draw one figure, and write the numbers behind it."""

import importlib
from contextlib import ExitStack
from pathlib import Path

from labelnoise.job import Job
from labelnoise.plot.style import CellData, save
from labelnoise.store import open_dataset

job = Job(snakemake)
module = importlib.import_module(f"labelnoise.plot.{job.recipe['drawn_by']}")
with ExitStack() as files:
    cells = [
        CellData(
            cell["experiment"],
            cell["grid"],
            cell["settings"],
            files.enter_context(open_dataset(cell["analysis"])),
            [files.enter_context(open_dataset(path)) for path in cell["blocks"]],
        )
        for cell in job.recipe["cells"]
    ]
    drawing = module.draw(cells, module.Options(**job.recipe["options"]))
outputs = [snakemake.output.pdf, snakemake.output.png, snakemake.output.csv]
save(drawing, *map(Path, outputs))
job.finish(outputs, drawing.metrics, caption=drawing.caption)

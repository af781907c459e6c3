"""Draw one figure, and write the numbers behind it."""

import importlib
from contextlib import ExitStack
from pathlib import Path

from labelnoise.artifacts.store import open_dataset
from labelnoise.config.load import SETTINGS
from labelnoise.plot.parts.style import CellData, save
from labelnoise.workflow.job import Job

job = Job(snakemake)
module = importlib.import_module(f"labelnoise.plot.figures.{job.recipe['drawn_by']}")
with ExitStack() as files:
    cells = [
        CellData(
            experiment=cell["experiment"],
            grid=dict(cell["grid"]),
            together=cell["together"],
            settings=SETTINGS[cell["experiment_verb"]](**cell["settings"]).model_dump(mode="json"),
            **{
                verb: [files.enter_context(open_dataset(path)) for path in paths]
                for verb, paths in cell["files"].items()
            },
        )
        for cell in job.recipe["cells"]
    ]
    drawing = module.draw(cells, module.Options(**job.recipe["options"]))
output = snakemake.output
save(drawing, Path(output.pdf), Path(output.png), Path(output.csv), Path(output.md))
job.finish([output.pdf, output.png, output.csv, output.md], drawing.metrics, drawing.text)

"""What names like `package.module:name` stand for: what is there, and where its file is."""

import importlib
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any


def resolve(reference: str) -> Any:
    """What `module:name` stands for; imports the module.

    The tables of algorithms and verbs name their code so: they are read at every call of Snakemake,
    and the code is heavy.
    """
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)


def module_file(module: str) -> Path | None:
    """The file of a module that Python would import; found without importing anything."""
    folders: list[str] | None = None
    file: Path | None = None
    parts = module.split(".")
    for number, part in enumerate(parts):
        try:
            spec = PathFinder.find_spec(".".join(parts[: number + 1]), folders)
        except KeyError:  # a folder without __init__.py asks for its parent, which is not imported
            inner = [Path(folder, part) for folder in folders or ()]
            folders, file = [str(folder) for folder in inner if folder.is_dir()], None
            continue
        if spec is None:
            return None
        folders = list(spec.submodule_search_locations or ())
        file = Path(spec.origin) if spec.origin else None
    return file

"""One archive of a figure with everything to redo it: code, configuration, versions, digests.

What a figure was made from say the records beside its files (`job.Job.finish`): the configuration
is rebuilt from them, so it is the one that was used, whatever files it came from. A dry run of
Snakemake with the code and the configuration of the bundle must then find nothing to be done.
`redo` unpacks a bundle, makes the figure again and compares.
"""

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from labelnoise.config.modules import module_file
from labelnoise.workflow import layout

from .provenance import file_digest, origin
from .store import record_of, replacing, write_json, write_text

FORMAT = 1
"""Goes up when the layout of a bundle changes."""

CODE = (
    *("Snakefile", "workflow", "profiles", "src/labelnoise"),
    *("constraints.txt", "environment.yml", "pyproject.toml", "LICENSE", "README.md"),
)
SUFFIXES = {"", ".json", ".md", ".py", ".rst", ".smk", ".toml", ".txt", ".typed", ".yaml", ".yml"}

README = """\
# {figure}, and everything to redo it

`figure/` has the figure and its numbers; `code/` the code that made it (git commit {commit}{dirty})
with a configuration of this figure alone; `bundle.json` the digests of all files here, of every
artifact behind the figure and of what they were made from, and the versions of all packages.

To redo it and compare, with labelnoise installed: `labelnoise check-bundle {figure}.zip`.
It runs the code of this bundle; do so only if you trust where you have it from.

By hand, with Python {python}:

    cd code
    python -m venv .venv && . .venv/bin/activate
    pip install --constraint constraints.txt .
    snakemake {figure}
{needs}"""
CIFAR10 = """
The images are CIFAR-10's, which is not in here; `bundle.json` has the archive's digest. It is
downloaded, or give it: `labelnoise check-bundle --cifar10 FILE`, `snakemake --config images=…`.
"""
FOREIGN = """
The networks are {networks}: their modules are in `code/src`, but not what these import.
They are imported only with `LABELNOISE_ALLOW_MODULES={packages}` set.
"""


class BundleError(ValueError):
    """A figure that cannot be bundled, or a file that is not a whole bundle."""


def lineage(figure: str) -> list[dict[str, Any]]:
    """The records of a figure and of all that it was made from, the figure's own first.

    Raises:
        BundleError: the figure is not made, or a file is not the one of its record.
    """
    start = f"{layout.figure(figure)}.csv"
    if not Path(start).is_file() or record_of(start) is None:
        made = sorted(path.stem for path in Path(start).parent.glob("*.csv"))
        raise BundleError(
            f"{start} is not there, or has no record; made are "
            f"{', '.join(made) or 'no figures'}. First run: snakemake {figure}"
        )
    records: dict[Path, dict[str, Any]] = {}
    waiting = [start]
    while waiting:
        record = record_of(waiting.pop(0))
        if record and record not in records:
            try:
                content = json.loads(record.read_text(encoding="utf-8"))
                artifacts, inputs = dict(content["artifacts"]), dict(content["inputs"])
            except (ValueError, KeyError, TypeError) as error:
                raise BundleError(
                    f"{record}: not a readable record ({error}); delete it and run again"
                ) from None
            for path, digest in artifacts.items():
                if not Path(path).is_file() or file_digest(Path(path)) != digest:
                    raise BundleError(
                        f"{path}: not the file of its record; delete it and run again"
                    )
            records[record] = content
            waiting.extend(inputs)
    return list(records.values())


def _experiment(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """An experiment as the configuration has it, from its cells as in a figure's recipe."""
    first = cells[0]
    grid: dict[str, list[Any]] = {}
    for cell in cells:
        for key, value in cell["grid"]:
            grid.setdefault(key, []).append(value)
    grid = {key: list(dict.fromkeys(values)) for key, values in grid.items()} | first["together"]
    return {
        "verb": first["experiment_verb"],
        "settings": {k: v for k, v in first["settings"].items() if k not in grid},
        "grid": grid,
        "seeds": [seed for block in first["blocks"] for seed in block],
        "seeds_per_job": len(first["blocks"][0]),
        "together": next(iter(first["together"]), None),
    }


def configuration(figure: str, records: list[dict[str, Any]]) -> dict[str, Any]:
    """The configuration that makes this figure, and nothing else, from its records."""
    recipe = records[0]["recipe"]
    cells: dict[str, list[dict[str, Any]]] = {}
    # first the cells that others share the files of: the first one makes them
    shared = [c["same_as"] | {"blocks": c["blocks"]} for c in recipe["cells"] if "same_as" in c]
    for cell in shared + recipe["cells"]:
        cells.setdefault(cell["experiment"], []).append(cell)
    analysis: dict[str, Any] = {}
    for record in records:
        analysis |= record["recipe"].get("analysis", {})
    on_gpu = any(record["origin"]["device"] == "cuda" for record in records)
    return {
        "experiments": {name: _experiment(its) for name, its in cells.items()},
        "figures": {
            figure: {
                "drawn_by": recipe["drawn_by"],
                "experiments": list(dict.fromkeys(c["experiment"] for c in recipe["cells"])),
                "options": recipe["options"],
            }
        },
        "analysis": analysis,
        # what was made on a CPU is redone on one
        "device": "auto" if on_gpu else "cpu",
        "tracking": {"enabled": False},
    }


def as_json(config: Mapping[str, Any]) -> str:
    """A configuration as a file; a grid's keys stay in their order, which is that of its paths."""
    # JSON is YAML, and Snakemake reads it first
    return json.dumps(config, indent=2, ensure_ascii=False) + "\n"


def packages() -> dict[str, str]:
    """The version of each package that is installed."""
    found = importlib.metadata.distributions()
    return dict(sorted({each.metadata["Name"].lower(): each.version for each in found}.items()))


def _copy_code(to: Path) -> None:
    for part in CODE:
        source = Path(part)
        files = sorted(source.rglob("*")) if source.is_dir() else [source]
        for file in files:
            # a link could lead anywhere
            if file.is_file() and not file.is_symlink() and file.suffix in SUFFIXES:
                (to / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, to / file)
    if not (to / "Snakefile").is_file():
        raise BundleError("there is no Snakefile here; run it in the project's folder")


def _copy_networks(networks: Iterable[str], to: Path) -> None:
    """The modules of the user's own networks, with the packages that they are in."""
    for network in networks:
        parts = network.partition(":")[0].split(".")
        for number in range(len(parts)):
            file = module_file(".".join(parts[: number + 1]))
            if file:
                folder = to.joinpath("src", *parts[:number])
                target = folder / (
                    f"{parts[number]}/__init__.py" if file.stem == "__init__" else file.name
                )
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)


def with_archive(path: Path | str) -> list[str]:
    """Snakemake's arguments for a CIFAR-10 archive."""
    return ["--config", f"images={json.dumps({'cifar10': str(path)}, ensure_ascii=False)}"]


def _check_current(code: Path, figure: str, records: list[dict[str, Any]]) -> None:
    """Whether the bundle's code and configuration find the figure here up to date."""
    command = [sys.executable, "-m", "snakemake", figure, "--dry-run"]
    command += ["--snakefile", str(code / "Snakefile"), "--directory", str(Path.cwd())]
    archives = [p for each in records if each["verb"] == "images" for p in each["inputs"]]
    for archive in archives:
        if record_of(archive) is None:  # the user's own; others are downloaded
            command += with_archive(archive)
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    output = done.stdout + done.stderr
    if done.returncode:
        raise BundleError(f"Snakemake cannot plan {figure} from the bundle:\n{output.strip()}")
    jobs = re.findall(r"^Job \d+: (.*)$", output, re.MULTILINE)
    if jobs or "Nothing to be done" not in output:
        more = f" and {len(jobs) - 3} more" if len(jobs) > 3 else ""
        raise BundleError(
            f"{figure} is not up to date with this code: to run are {', '.join(jobs[:3])}{more}. "
            f"First run: snakemake {figure}"
        )


def _write_zip(folder: Path, to: Path) -> None:
    """An archive whose bytes depend on the files' names and contents alone."""
    with replacing(to) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            member = zipfile.ZipInfo(file.relative_to(folder).as_posix())
            member.external_attr = 0o644 << 16
            member.create_system = 3
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, file.read_bytes())


def bundle(figure: str) -> Path:
    """Write results/bundles/{figure}.zip, in the project's folder; the path of the file.

    The same results, code and packages give the same bytes.

    Raises:
        BundleError: the figure is not made, or not by this code.
    """
    records = lineage(figure)
    artifacts = {path for record in records for path in record["artifacts"]}
    config = configuration(figure, records)
    settings = [cell["settings"] for cell in records[0]["recipe"]["cells"]]
    networks = sorted({s["network"] for s in settings if ":" in s.get("network", "")})
    with tempfile.TemporaryDirectory(prefix="labelnoise-bundle-") as temporary:
        folder = Path(temporary)
        _copy_code(folder / "code")
        _copy_networks(networks, folder / "code")
        write_text(as_json(config), folder / "code/config/config.yaml")
        _check_current(folder / "code", figure, records)
        shutil.rmtree(folder / "code/.snakemake", ignore_errors=True)
        for cache in list(folder.rglob("__pycache__")):
            shutil.rmtree(cache)
        (folder / "figure").mkdir()
        for path in records[0]["artifacts"]:
            shutil.copyfile(path, folder / "figure" / Path(path).name)
        where = origin()
        needs = CIFAR10 * any(s.get("source") == "cifar10" for s in settings)
        if networks:
            allowed = ",".join(
                sorted({name.partition(".")[0].partition(":")[0] for name in networks})
            )
            needs += FOREIGN.format(networks=", ".join(networks), packages=allowed)
        text = README.format(
            figure=figure,
            commit=where["git_commit"],
            dirty={"true": ", with changes", "false": ""}.get(where["git_dirty"], ""),
            python=where["python"],
            needs=needs,
        )
        write_text(text, folder / "README.md")
        manifest = {
            "format": FORMAT,
            "figure": figure,
            "origin": {name: where[name] for name in ("git_commit", "git_dirty", "python")},
            "packages": packages(),
            "artifacts": {
                path: {
                    "sha256": digest,
                    "code": record["recipe"].get("code"),
                    "device": record["origin"]["device"],
                }
                for record in records
                for path, digest in record["artifacts"].items()
            },
            # where a user's file was is nobody's business
            "inputs": {
                Path(path).name: digest
                for record in records
                for path, digest in record["inputs"].items()
                if path not in artifacts
            },
            "files": {
                path.relative_to(folder).as_posix(): file_digest(path)
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            },
        }
        write_json(manifest, folder / "bundle.json")
        target = Path(layout.bundle(figure))
        _write_zip(folder, target)
    return target

"""Artifacts on disk: netCDF-4 files that are whole or not there, and the records beside them."""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelnoise import __version__

if TYPE_CHECKING:
    import xarray as xr

SCHEMA_VERSION = 1
"""Goes up when the layout of the files changes, so that an old file is not read as a new one."""

PAPER = (
    "On the Learning Dynamics of Two-layer Linear Networks with Label Noise SGD, arXiv:2603.10397"
)


class ArtifactError(ValueError):
    """A file that is not the artifact it should be: damaged, foreign or of another version."""


class LockError(ArtifactError):
    """A file that may be whole, on a file system that refuses the locks of the HDF5 library."""


def record_of(path: str | Path) -> Path | None:
    """The record of the job that made a file; None for a file that the workflow did not make."""
    for record in records_for(path):
        if record.is_file() and str(record) != str(path):
            return record
    return None


def records_for(path: str | Path) -> tuple[Path, Path]:
    """Where the record of a file may be: a download's carries the file's whole name."""
    return Path(f"{path}.json"), Path(path).with_suffix(".json")


def files_under(folder: Path) -> list[Path]:
    """All files under a folder, sorted, also behind links to folders; each folder once.

    Hidden files and folders are left out: they are being written, or are those of editors,
    notebooks and desktops.
    """
    base = folder.resolve()
    seen, waiting, found = {base}, [folder], []
    links: list[Path] = []
    while waiting or links:
        # what is really here goes first, so that it has its own name and not a link's
        here = waiting.pop() if waiting else links.pop(0)
        if here.is_symlink() and here != folder:
            target = here.resolve()
            if target in seen or target in base.parents:  # a circle
                continue
            seen.add(target)
        try:
            entries = [entry for entry in os.scandir(here) if entry.name[0] != "."]
        except (FileNotFoundError, NotADirectoryError):
            continue
        for entry in entries:
            path = here / entry.name
            if entry.is_dir(follow_symlinks=False):
                if path.resolve() not in seen:
                    seen.add(path.resolve())
                    waiting.append(path)
            elif entry.is_dir():
                links.append(path)
            elif entry.is_file():
                found.append(path)
    return sorted(found)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path to write to; synced and renamed to `path` when the block ends well.

    A reader sees the old file or the new one, never half of one. What an earlier, killed writer
    of the same file left behind is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for stale in path.parent.glob(f".{path.name}.*.part{path.suffix}"):
        stale.unlink(missing_ok=True)
    # the suffix stays last: matplotlib tells the format by it
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.errno and not error.filename:  # a write that failed does not know its file
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(text: str, path: Path) -> None:
    """Write a text file whole."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(content: object, path: Path) -> None:
    """Write a JSON file whole."""
    write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", path)


def _chunk(dim: str, size: int) -> int:
    """Chunks of one seed, a third of the steps and a few hundred neurons; of a few images.

    One neuron's trajectory and one snapshot then both cost a few chunks.
    """
    largest = {
        "seed": 1,
        "step": 101,
        "neuron": 256,
        "trace_step": 4096,
        "train_image": 64,
        "test_image": 64,
    }
    return min(size, largest.get(dim, size))


def _without_locks() -> None:
    """Let HDF5 take no locks, unless the user says otherwise; before its library starts.

    Artifacts are renamed into place whole, so nobody reads what another writes. Without locks they
    work on file systems that have none, as some NFS.
    """
    os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")


def write_dataset(
    data: "xr.Dataset",
    path: Path,
    *,
    title: str,
    recipe: Mapping[str, Any],
    inputs: Mapping[str, str],
) -> None:
    """Write a netCDF-4 file, compressed and chunked, whole; the same data give the same bytes.

    Args:
        data: what to write.
        path: where to.
        title: one line on what it is.
        recipe: everything that decided the content (`workflow.digests.recipe`).
        inputs: digest of each input file by its path.

    Raises:
        OSError: it cannot be written, as on a full disk.
    """
    configuration = {k: v for k, v in recipe.items() if k not in ("code", "libraries")}
    attributes = {
        "Conventions": "CF-1.11",
        "title": title,
        "source": f"labelnoise {__version__}",
        "references": PAPER,
        "configuration": json.dumps(configuration, sort_keys=True, ensure_ascii=False),
        "code_digest": recipe["code"],
        "library_versions": json.dumps(recipe["libraries"], sort_keys=True),
        "input_digests": json.dumps(dict(inputs), sort_keys=True),
        "schema_version": SCHEMA_VERSION,
    }
    encoding = {
        str(name): {
            "zlib": True,
            "complevel": 4,
            "shuffle": True,
            "chunksizes": tuple(_chunk(str(d), n) for d, n in variable.sizes.items()),
        }
        for name, variable in data.variables.items()
        if variable.ndim and variable.size
    }
    _without_locks()
    with replacing(path) as temporary:
        try:
            data.assign_attrs(attributes).to_netcdf(
                temporary, engine="netcdf4", format="NETCDF4", encoding=encoding
            )
        except RuntimeError as error:  # the netCDF library does not say why
            free = shutil.disk_usage(path.parent).free / 1e6
            raise OSError(
                f"{path}: could not be written ({error}); {free:,.1f} MB are free there; "
                "make room, or raise the quota, and run again"
            ) from error


def _lock_refused(path: Path) -> str | None:
    """Why a file cannot be locked at all; the HDF5 library does not say that it was this."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            return error.strerror
    return None


def open_dataset(path: Path) -> "xr.Dataset":
    """Open an artifact lazily; the caller closes it (or uses it as a context manager).

    Raises:
        ArtifactError: it cannot be read, or is not of this schema version.
        LockError: it cannot be read, and the file system refuses locks.
    """
    _without_locks()
    import xarray as xr

    try:
        data = xr.open_dataset(path, engine="netcdf4")
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        refused = _lock_refused(path)
        if refused:
            raise LockError(
                f"{path}: the file system refuses locks ({refused}); run with "
                "HDF5_USE_FILE_LOCKING=FALSE in the environment"
            ) from error
        raise ArtifactError(
            f"{path}: not a readable netCDF-4 file ({error}); delete it and run again"
        ) from error
    version = data.attrs.get("schema_version")
    if version != SCHEMA_VERSION:
        data.close()
        raise ArtifactError(
            f"{path}: schema version {version}, this code reads {SCHEMA_VERSION}; "
            "delete it and run again"
        )
    return data

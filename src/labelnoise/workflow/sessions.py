"""The calls of Snakemake in one folder: who is at work, and what a killed call left.

Each call holds a lock (flock) on a file of its own. The lock vanishes with the process, however
that ends, and so tells a call at work from one that was killed; Snakemake's own locks do not.
Where the file system has no such locks, Snakemake's are all there is.
"""

import atexit
import getpass
import json
import os
import platform
import threading
from datetime import datetime
from pathlib import Path
from types import ModuleType

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows has none; Snakemake's own locks are all there is
    fcntl = None

CALLS = Path(".snakemake", "calls")
SNAKEMAKE_LOCKS = Path(".snakemake", "locks")
VARIABLE = "LABELNOISE_CALL"
"""The environment variable that tells a job its call: host and file."""

_held: dict[Path, int] = {}
"""The open, and so locked, file of each call of this process, by its path."""


def begin() -> list[str]:
    """Say that this process is a call in the working directory, until it ends.

    It may say so many times, as a notebook does that runs several workflows. Snakemake's locks go
    where those who made them were killed and nobody else is at work.

    Returns:
        A sentence on each other call that is, or may be, at work here.
    """
    if fcntl is None:
        return []
    try:
        CALLS.mkdir(parents=True, exist_ok=True)
        folder = os.open(CALLS, os.O_RDONLY)
    except OSError:  # read-only; Snakemake says so
        return []
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # one call at a time looks around
        own = CALLS.resolve() / f"{platform.node()}.{os.getpid()}.json"
        others = _look_around(fcntl, own)
        _register(fcntl, own)
    except OSError:
        return []
    finally:
        os.close(folder)
    return others


def _is_held(path: Path) -> bool:
    """Whether a path is that of a call of this process, and still the file that it locked."""
    try:
        return path in _held and os.path.samestat(os.fstat(_held[path]), path.stat())
    except OSError:
        return False


def _look_around(fcntl: ModuleType, own: Path) -> list[str]:
    others, killed = [], []
    locks = list(SNAKEMAKE_LOCKS.glob("*.lock"))
    for path in sorted(CALLS.glob("*.json")):
        if path.name == own.name and _is_held(own):
            continue
        with path.open(encoding="utf-8") as file:
            who = _who(file.read())
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                others.append(f"{who} is at work in this folder")
                continue
        # a lock of another host may not be seen from here
        if path.name.startswith(f"{platform.node()}.") or not locks:
            killed.append(path)
        else:
            others.append(
                f"{who} may be at work in this folder; if it was killed, run `snakemake --unlock`"
            )
    if not others:
        for path in killed:
            path.unlink()
        for path in locks if killed else []:
            path.unlink()
    return others


def _who(text: str) -> str:
    try:
        call = json.loads(text)
        return (
            f"another snakemake (process {call['process']} on {call['host']}, started by "
            f"{call['user']} at {call['started']})"
        )
    except (ValueError, KeyError, TypeError):  # killed while it said so
        return "another snakemake"


def _register(fcntl: ModuleType, path: Path) -> None:
    os.environ[VARIABLE] = f"{platform.node()}:{path}"
    if _is_held(path):  # a process would wait for itself for ever
        return
    # open, and so locked, until the process ends; not inherited by jobs
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    fcntl.flock(file, fcntl.LOCK_EX)
    call = {
        "process": os.getpid(),
        "host": platform.node(),
        "user": getpass.getuser(),
        "started": datetime.now().astimezone().isoformat(" ", "seconds"),
    }
    os.write(file, json.dumps(call).encode())
    _held[path] = file
    atexit.register(path.unlink, missing_ok=True)


def end_with_call() -> None:
    """Let this job end when its call is gone: the next call makes the same files.

    A job on another host than the call's goes on.
    """
    host, _, path = os.environ.get(VARIABLE, "").partition(":")
    if host == platform.node():
        threading.Thread(target=_wait_for_end, args=(Path(path),), daemon=True).start()


def _wait_for_end(path: Path) -> None:
    if fcntl is None:
        return
    try:
        with path.open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH)  # waits for as long as the call lives
    except FileNotFoundError:  # the next call has tidied up already
        pass
    except OSError:
        return
    os._exit(1)

"""The calls of Snakemake in one folder: who is at work, and what a killed call left.

Each call holds a lock (flock) on a file of its own. The lock vanishes with the process, however
that ends, and so tells a call at work from one that was killed; Snakemake's own locks do not.
Where the file system has no such locks, Snakemake's are all there is.
"""

import atexit
import fcntl
import getpass
import json
import os
import platform
import threading
from datetime import datetime
from pathlib import Path

CALLS = Path(".snakemake", "calls")
SNAKEMAKE_LOCKS = Path(".snakemake", "locks")
VARIABLE = "LABELNOISE_CALL"
"""The environment variable that tells a job its call: host and file."""


def begin() -> list[str]:
    """Say that this process is a call in the working directory, until it ends.

    Snakemake's locks go where those who made them were killed and nobody else is at work.

    Returns:
        A sentence on each other call that is, or may be, at work here.
    """
    try:
        CALLS.mkdir(parents=True, exist_ok=True)
        folder = os.open(CALLS, os.O_RDONLY)
    except OSError:  # read-only; Snakemake says so
        return []
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # one call at a time looks around
        others = _look_around()
        _register()
    except OSError:
        return []
    finally:
        os.close(folder)
    return others


def _look_around() -> list[str]:
    others, killed = [], []
    locks = list(SNAKEMAKE_LOCKS.glob("*.lock"))
    for path in sorted(CALLS.glob("*.json")):
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


def _register() -> None:
    path = CALLS.resolve() / f"{platform.node()}.{os.getpid()}.json"
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
    os.environ[VARIABLE] = f"{platform.node()}:{path}"
    atexit.register(path.unlink, missing_ok=True)


def end_with_call() -> None:
    """Let this job end when its call is gone: the next call makes the same files.

    A job on another host than the call's goes on.
    """
    host, _, path = os.environ.get(VARIABLE, "").partition(":")
    if host == platform.node():
        threading.Thread(target=_wait_for_end, args=(Path(path),), daemon=True).start()


def _wait_for_end(path: Path) -> None:
    try:
        with path.open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH)  # waits for as long as the call lives
    except FileNotFoundError:  # the next call has tidied up already
        pass
    except OSError:
        return
    os._exit(1)

"""Which tracking store, and how to talk to it quietly and within a bounded time."""

import logging
import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path

from labelnoise.artifacts.store import replacing

CONNECT = 5.0
"""Seconds in which a tracking server must take a connection."""
LOCKED = 30.0
"""Seconds to wait for an SQLite store that another process has locked."""


class StoreError(RuntimeError):
    """The tracking store cannot be used now; the message says why, in one line."""


def embedded(results: Path) -> str:
    """The store in the results folder itself."""
    file = (results / "mlflow" / "mlflow.db").resolve()
    # in an address a ? ends the path, and SQLAlchemy knows no other way to write one
    return f"sqlite:///{os.path.relpath(file) if '?' in str(file) else file}"


def store_uri(results: Path, configured: str | None = None) -> str:
    """The tracking store: MLFLOW_TRACKING_URI, else the configured one, else the embedded one."""
    return os.environ.get("MLFLOW_TRACKING_URI") or configured or embedded(results)


def shown(uri: str) -> str:
    """A store's address without its password."""
    # up to the last @: a password may have one, and a / too
    text = re.sub(r"(://[^:/@\s]*):\S*@", r"\1:***@", uri)
    return re.sub(r"(?i)([?&](?:ssl)?passw(?:or)?d=)[^&\s]*", r"\1***", text)


def database(uri: str) -> Path | None:
    """The file of an SQLite store; None for other stores."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def calm_mlflow() -> None:
    """No telemetry, no chatter, and no minutes of waiting for a server that is not there."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")


def silence() -> None:
    """What fails is said once, by us; not once a retry and with tracebacks. After the import."""
    for name in ("mlflow", "alembic", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def reach(uri: str) -> None:
    """Find out, within a bounded time, whether a store is there and can be written.

    Raises:
        StoreError: it is not.
    """
    if uri.startswith(("http://", "https://")):
        _reach_server(uri)
    file = database(uri)
    if file and file.is_file():
        try:
            with closing(sqlite3.connect(file, timeout=LOCKED)) as connection:
                connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise StoreError(f"{error}, after {LOCKED:g} s of waiting") from None
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{error}; move it away, and a new one is made") from None


def create(uri: str) -> None:
    """Make an SQLite store that is not there yet: whole, or, if this is killed, not at all.

    MLflow makes it in many steps, and cannot use one that was left in the middle of them.
    """
    file = database(uri)
    if file is None or file.exists():
        return
    from mlflow import MlflowClient

    for journal in file.parent.glob(f".{file.name}.*-journal"):
        journal.unlink()  # of one that was killed; it is no part of what is made now
    with replacing(file) as temporary:
        MlflowClient(f"sqlite:///{temporary}").search_experiments()


def _reach_server(uri: str) -> None:
    import requests

    try:
        requests.head(uri, timeout=(CONNECT, 30))
    except requests.RequestException as error:
        why = "no answer in time" if isinstance(error, requests.Timeout) else "no connection"
        raise StoreError(f"no tracking server answers there ({why})") from None


def reason(error: Exception) -> str:
    """One line on what went wrong with a store."""
    text = str(error).strip() or type(error).__name__
    if text.startswith("API request to"):
        return "the tracking server stopped answering, or is none"
    return text.splitlines()[0]

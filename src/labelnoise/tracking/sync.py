"""Bring a tracking store up to date with the records under a results folder."""

import errno
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from labelnoise.artifacts.store import ArtifactError

from .records import mark_logged, read_records, state
from .stores import StoreError, calm_mlflow, create, database, reach, reason, silence

if TYPE_CHECKING:
    from mlflow import MlflowClient

PATIENCE = 120.0
"""Seconds to wait for another process that is logging to the same store."""


@dataclass
class Report:
    """What `track` did.

    Attributes:
        logged: artifacts that got a new run.
        current: how many had one already.
        damaged: for each record or artifact that could not be read or logged, why, and what to do
            about it.
        restored: experiments that a person had deleted in MLflow, and that are there again.
    """

    logged: list[str] = field(default_factory=list)
    current: int = 0
    damaged: list[str] = field(default_factory=list)
    restored: list[str] = field(default_factory=list)


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""What ends logging as a whole: no other file could be written either."""


def track(results: Path, uri: str) -> Report:
    """Bring a tracking store up to date with the records under a results folder.

    Args:
        results: the folder; artifact paths are relative to its parent, the working directory.
        uri: the tracking store.

    Raises:
        StoreError: the store cannot be reached or written. Runs that were logged stay; the rest
            is logged by the next call.
    """
    calm_mlflow()
    then = state(results)
    records, damaged = read_records(results)
    report = Report(damaged=damaged)
    if not records:
        return report
    reach(uri)
    import mlflow
    from filelock import FileLock, Timeout
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    from .runs import Logger

    silence()
    # one at a time: a fresh SQLite store is created by one process, and no run is logged twice
    store = database(uri) or results / "mlflow" / "server"
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{store}.lock", timeout=PATIENCE):
            create(uri)
            client = mlflow.MlflowClient(uri)
            logger = Logger(client, results, uri, records)
            report.restored = logger.restored
            for record in records.values():
                try:
                    if logger.bring_up_to_date(record):
                        report.logged.append(record.artifact)
                    else:
                        report.current += 1
                except ArtifactError as error:
                    report.damaged.append(str(error))
                except (MlflowException, SQLAlchemyError, OSError, ValueError, KeyError) as error:
                    # one record that cannot be logged costs that record alone
                    if isinstance(error, OSError) and error.errno in FULL:
                        raise
                    if not _still_there(client, uri):
                        raise StoreError(reason(error)) from error
                    report.damaged.append(f"{record.artifact}: {reason(error)}")
            if not report.damaged:
                mark_logged(results, uri, then)
    except Timeout:
        raise StoreError("another process has been logging to it for two minutes") from None
    except (MlflowException, SQLAlchemyError, ImportError, OSError) as error:
        raise StoreError(reason(error)) from error
    return report


def _still_there(client: "MlflowClient", uri: str) -> bool:
    """Whether the store answers, so that what failed is the record's own fault."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        reach(uri)
        client.search_experiments(max_results=1)
    except (StoreError, MlflowException, SQLAlchemyError, OSError):
        return False
    return True

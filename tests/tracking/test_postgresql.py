"""A tracking server with PostgreSQL behind it, as in the README."""

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Project, Server
from .test_faults import whole

HOMES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
PG_CTL = shutil.which("pg_ctl") or next((str(home / "pg_ctl") for home in HOMES), None)

pytestmark = [
    pytest.mark.skipif(PG_CTL is None, reason="PostgreSQL is not installed"),
    pytest.mark.skipif(not importlib.util.find_spec("psycopg2"), reason="psycopg2 is missing"),
]


@pytest.fixture
def database() -> Iterator[str]:
    """The address of a PostgreSQL database of its own; it does not run as root."""
    user = "postgres" if os.getuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="postgres", dir="/tmp"))
    if user:
        shutil.chown(folder, user)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def control(*arguments: str) -> None:
        command = [str(PG_CTL), "-D", str(folder / "data"), *arguments]
        subprocess.run(command, check=True, user=user, cwd=folder, stdout=subprocess.DEVNULL)

    control("initdb", "-o", "--auth=trust --username=somebody --no-sync")
    log = str(folder / "log")
    control("start", "-w", "-l", log, "-o", f"-p {port} -k {folder} -c fsync=off")
    yield f"postgresql://somebody@127.0.0.1:{port}/postgres"
    control("stop", "-m", "immediate")
    shutil.rmtree(folder)


def test_runs_go_through_a_server_into_postgresql(
    project: Project, database: str, tmp_path: Path
) -> None:
    server = Server(tmp_path, backend=database)
    server.start()
    try:
        assert project.track(server.uri) == 0
        assert project.track(server.uri) == 0
        assert whole(project, server.uri)
        project.cell(4.0)  # new digests: the records' time stamps differ
        assert project.track(server.uri) == 0
        assert whole(project, server.uri)
    finally:
        server.kill()

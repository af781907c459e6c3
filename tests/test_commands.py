"""The command line where something is missing or taken: one clear line, no traceback."""

import socket
from pathlib import Path

import pytest

from labelnoise.__main__ import main
from labelnoise.tracking.compare import write_csv


def test_a_port_that_is_taken_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["ui", "--port", str(port)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"port {port} cannot be used" in line and "make ui PORT=" in line


def test_nothing_to_verify_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["verify"]) == 1
    assert capsys.readouterr().err == "there is no folder results here: nothing to verify\n"


def test_a_folder_for_the_table_is_made(tmp_path: Path) -> None:
    write_csv([{"run": "a"}], tmp_path / "new" / "table.csv")
    assert (tmp_path / "new" / "table.csv").read_text() == "run\na\n"

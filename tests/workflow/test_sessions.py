"""Whose locks are stale is told by the operating system, not by what files say."""

import fcntl
import json
import os
import platform
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

BEGIN = (
    "import json; from labelnoise.workflow.sessions import begin; "
    "print(json.dumps(begin()), flush=True)"
)
CALLS = Path(".snakemake/calls")
LOCK = Path(".snakemake/locks/0.output.lock")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder in which Snakemake's own lock is there."""
    monkeypatch.chdir(tmp_path)
    LOCK.parent.mkdir(parents=True)
    LOCK.touch()


def begin() -> list[str]:
    """What a call is told that begins, and ends at once."""
    done = subprocess.run([sys.executable, "-c", BEGIN], capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout))


def staying() -> subprocess.Popen[str]:
    """A call that has begun and stays."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"{BEGIN}; input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout and process.stdout.readline()
    return process


def end(process: subprocess.Popen[str], how: signal.Signals) -> None:
    process.send_signal(how)
    process.communicate()


def test_calls_that_begin_together_look_around_one_after_the_other() -> None:
    CALLS.mkdir()
    one = os.open(CALLS, os.O_RDONLY)
    fcntl.flock(one, fcntl.LOCK_EX)  # a call that looks around
    other = subprocess.Popen(
        [sys.executable, "-c", BEGIN], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with pytest.raises(subprocess.TimeoutExpired):
        other.wait(2)
    assert list(CALLS.iterdir()) == []
    os.close(one)
    assert other.communicate(timeout=60) == ("[]\n", "")


def test_a_process_does_not_wait_for_itself(tmp_path: Path) -> None:
    """Snakemake's API, used again and again in a notebook, also in another folder and back."""
    (tmp_path / "other").mkdir()
    code = (
        "import json, os; from labelnoise.workflow.sessions import begin; told = begin() + begin();"
        "os.chdir('other'); told += begin(); os.chdir('..'); told += begin();"
        "print(json.dumps([told, os.environ['LABELNOISE_CALL']]), flush=True); input()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    timer = threading.Timer(30, process.kill)
    timer.start()
    line = process.stdout.readline()
    timer.cancel()
    assert line, "it waited for itself"
    (file,) = CALLS.iterdir()
    assert json.loads(line) == [[], f"{platform.node()}:{file.resolve()}"]
    (told,) = begin()  # and is still seen by others
    assert f"process {process.pid}" in told
    process.communicate("\n", timeout=30)
    assert list(CALLS.iterdir()) == list(Path("other", CALLS).iterdir()) == []


def test_a_call_whose_file_was_removed_says_so_again() -> None:
    code = (
        "import shutil; from labelnoise.workflow.sessions import begin; begin();"
        "shutil.rmtree('.snakemake'); begin(); print('.snakemake', flush=True); input()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout and process.stdout.readline()
    (told,) = begin()
    assert "is at work in this folder" in told
    end(process, signal.SIGKILL)


def test_where_python_has_no_fcntl() -> None:
    """As on Windows: a call begins, and a job runs, without these locks."""
    code = (
        "import sys; sys.modules['fcntl'] = None; from labelnoise.workflow import sessions;"
        "print(sessions.begin()); sessions._wait_for_end(sessions.Path('gone'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


def test_a_lock_that_no_killed_call_left_is_not_touched() -> None:
    assert begin() == []
    assert LOCK.is_file()
    assert list(CALLS.iterdir()) == []


def test_what_a_killed_call_left_goes() -> None:
    end(staying(), signal.SIGKILL)
    assert len(list(CALLS.iterdir())) == 1
    assert begin() == []
    assert not LOCK.exists()
    assert list(CALLS.iterdir()) == []


def test_nothing_goes_while_another_is_at_work() -> None:
    killed, working = staying(), staying()
    end(killed, signal.SIGKILL)
    (told,) = begin()
    assert f"process {working.pid} on {platform.node()}, started by " in told
    assert "is at work in this folder" in told
    assert LOCK.is_file()
    end(working, signal.SIGKILL)
    assert begin() == []
    assert not LOCK.exists()


def test_a_call_on_another_host_is_not_judged() -> None:
    working = staying()
    (file,) = CALLS.iterdir()
    end(working, signal.SIGKILL)
    file.rename(file.with_name("elsewhere.1.json"))
    (told,) = begin()
    assert "may be at work" in told
    assert "`snakemake --unlock`" in told
    assert LOCK.is_file()
    LOCK.unlink()  # as --unlock does
    assert begin() == []
    assert list(CALLS.iterdir()) == []


def test_a_call_killed_while_it_began() -> None:
    CALLS.mkdir()
    CALLS.joinpath(f"{platform.node()}.1.json").write_text('{"proc')
    assert begin() == []
    assert not LOCK.exists()


@pytest.mark.parametrize(
    ("host", "ends"), [(platform.node(), True), ("elsewhere", False), ("", False)]
)
def test_a_job_ends_with_a_call_on_its_host(host: str, ends: bool) -> None:
    working = staying()
    (file,) = CALLS.iterdir()
    code = "import time; from labelnoise.workflow.sessions import end_with_call; end_with_call()"
    job = subprocess.Popen(
        [sys.executable, "-c", f"{code}; time.sleep(2)"],
        env=os.environ | {"LABELNOISE_CALL": f"{host}:{file.resolve()}" if host else ""},
    )
    with pytest.raises(subprocess.TimeoutExpired):
        job.wait(0.5)  # not before
    end(working, signal.SIGKILL)
    assert job.wait(30) == int(ends)


def test_a_job_whose_call_is_long_gone_ends() -> None:
    code = "import time; from labelnoise.workflow.sessions import end_with_call; end_with_call()"
    gone = {"LABELNOISE_CALL": f"{platform.node()}:{Path('gone').resolve()}"}
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; time.sleep(60)"], env=os.environ | gone, timeout=50
    )
    assert done.returncode == 1

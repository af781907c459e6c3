"""Download of one file: resumed where it stopped, tried again, checked against its SHA-256."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import requests
from tqdm import tqdm

from labelnoise.artifacts.provenance import file_digest

ATTEMPTS = 5
"""So many in a row without a new byte, and the download is given up."""

TIMEOUT = 30.0
"""Seconds without an answer or a byte that end an attempt."""

_BLOCK = 2**13
"""Bytes read at a time: small, as a connection that drops takes the block under way with it."""


class DownloadError(RuntimeError):
    """A file that cannot be had, and why."""


class _Passing(Exception):
    """What may be gone at the next attempt."""


def download(
    url: str,
    sha256: str,
    path: Path,
    *,
    pause: float = 1.0,
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """Download a file to `path`, whole and checked, or not at all.

    What arrives is kept in `path` with `.part` added. A later attempt or a later call goes on from
    there, where the server can (HTTP range requests), else it starts anew. A progress bar goes to
    stderr.

    Args:
        url: where the file is.
        sha256: its SHA-256, in hexadecimal.
        path: where it goes to.
        pause: seconds before the second attempt; doubled each time that nothing new arrived.
        say: called with a line on each attempt that failed.

    Raises:
        DownloadError: there is no connection, the server has no such file or another one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    failures, furthest = 0, _size(part)
    while True:
        begun_at = _size(part)
        try:
            _fetch(url, part)
            _check(url, sha256, part, resumed=begun_at > 0)
        except _Passing as reason:
            failures = failures + 1 if _size(part) <= furthest else 1
            furthest = max(furthest, _size(part))
            if failures == ATTEMPTS:
                kept = f"; {_size(part):,} bytes are kept in {part}" if _size(part) else ""
                raise DownloadError(
                    f"{url}: given up after {ATTEMPTS} attempts in a row: {reason}{kept}"
                ) from reason
            wait = pause * 2 ** (failures - 1)
            say(f"{reason}; {_size(part):,} bytes so far, trying again in {wait:g} s")
            time.sleep(wait)
        else:
            part.replace(path)
            return


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _check(url: str, sha256: str, part: Path, *, resumed: bool) -> None:
    """The checksum, once all is there."""
    found = file_digest(part)
    if found == sha256:
        return
    text = f"SHA-256 {found} ({_size(part):,} bytes), expected {sha256}"
    part.unlink()
    if resumed:  # the beginning may have been of another file, or cut short in its last block
        raise _Passing(f"the file in parts has {text}")
    raise DownloadError(f"{url}: is not the file it should be: {text}")


def _fetch(url: str, part: Path) -> None:
    """One attempt to complete `part`.

    Raises:
        DownloadError: the server refuses for good.
        _Passing: anything that another attempt may mend.
    """
    have = _size(part)
    # unencoded: the bytes are to be those of the file
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            status = answer.status_code
            if status == 416 and have:  # nothing after that: it is whole, or not of this file
                return
            if status >= 500 or status in (408, 425, 429):
                raise _Passing(f"the server answers {status} {answer.reason}")
            if status not in (200, 206):
                raise DownloadError(f"{url}: the server answers {status} {answer.reason}")
            begin = have if status == 206 else 0
            if begin and not answer.headers.get("Content-Range", "").startswith(f"bytes {begin}-"):
                part.unlink()
                raise _Passing("the server sent another range than it was asked for")
            length = answer.headers.get("Content-Length")
            total = begin + int(length) if length else None
            _write(answer, part, begin, total)
    except requests.RequestException as error:
        raise _Passing(_cause(error)) from error
    if total is not None and _size(part) < total:
        raise _Passing(f"the connection closed before all {total:,} bytes had come")


def _write(answer: requests.Response, part: Path, begin: int, total: int | None) -> None:
    # a terminal is redrawn; a log file should not fill with bars
    pace = 0.2 if sys.stderr.isatty() else 10.0
    with (
        part.open("ab" if begin else "wb") as file,
        tqdm(
            desc=part.stem,
            initial=begin,
            total=total,
            unit="B",
            unit_scale=True,
            mininterval=pace,
            file=sys.stderr,
        ) as bar,
    ):
        for block in answer.iter_content(_BLOCK):
            file.write(block)
            bar.update(len(block))


def _cause(error: BaseException) -> str:
    """The first cause of an error: `Name or service not known` and not the five around it."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error) or type(error).__name__

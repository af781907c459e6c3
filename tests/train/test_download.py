"""Downloads from a real server on this machine that misbehaves in the ways servers do.

Connections are cut at multiples of 8,192 bytes, the block that is read at a time.
"""

import contextlib
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import requests

from labelnoise.train.download import ATTEMPTS, DownloadError, download
from labelnoise.train.sources import CIFAR10_SHA256

CONTENT = np.random.default_rng(0).bytes(700_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """Answers the k-th request as the k-th of `answers` says, all later ones as the last."""

    def __init__(self, content: bytes = CONTENT) -> None:
        self.content = content
        self.answers = [{}]
        self.ranges = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                k = len(outer.ranges)
                outer.ranges.append(self.headers.get("Range"))
                outer.encodings = self.headers.get("Accept-Encoding")
                outer.answer(self, **outer.answers[min(k, len(outer.answers) - 1)])

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/cifar.tar.gz"

    def answer(
        self, request, status=None, cut=None, ranges=True, content=None, length=True, shift=0
    ):
        """One answer.

        Args:
            request: the handler.
            status: an error to answer.
            cut: bytes after which the connection closes.
            ranges: whether it heeds Range.
            content: what it sends instead of the content.
            length: whether it says how long the body is.
            shift: how far the range it sends is from the one asked for.
        """
        if status:
            request.send_error(status)
            return
        body, start = self.content if content is None else content, 0
        asked = request.headers.get("Range")
        if asked and ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-")) + shift
            if start >= len(body):
                request.send_error(416)
                return
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            request.send_response(200)
        body = body[start:]
        if length:
            request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        with contextlib.suppress(ConnectionError):
            request.wfile.write(body[:cut])


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.http.shutdown()
    thread.join()
    server.http.server_close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "cifar.tar.gz"


def part(path, content: bytes):
    path.parent.mkdir(exist_ok=True)
    part = path.with_name("cifar.tar.gz.part")
    part.write_bytes(content)
    return part


def get(server, path) -> list[str]:
    said = []
    download(server.url, SHA256, path, pause=0, say=said.append)
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]
    return said


def fails(server, path, *words, sha256=SHA256) -> str:
    with pytest.raises(DownloadError) as error:
        download(server.url, sha256, path, pause=0)
    for word in (server.url, *words):
        assert word in str(error.value)
    assert not path.exists()
    return str(error.value)


def test_a_file_arrives_whole_with_a_progress_bar_on_stderr(server, path, capfd):
    assert get(server, path) == []
    assert server.ranges == [None]
    assert server.encodings == "identity"
    out, err = capfd.readouterr()
    assert out == ""
    assert "cifar.tar.gz: 100%" in err
    assert "700k/700k" in err


def test_a_dropped_connection_is_taken_up_where_it_dropped(server, path):
    server.answers = [{"cut": 294_912}, {"cut": 245_760}, {}]
    said = get(server, path)
    assert server.ranges == [None, "bytes=294912-", "bytes=540672-"]
    assert len(said) == 2
    assert "294,912 bytes so far" in said[0]


def test_what_an_earlier_run_left_is_not_fetched_again(server, path, capfd):
    part(path, CONTENT[:600_001])
    get(server, path)
    assert "700k/700k" in capfd.readouterr().err
    assert server.ranges == ["bytes=600001-"]


def test_an_earlier_run_that_had_all_of_it_fetches_nothing(server, path):
    part(path, CONTENT)
    get(server, path)
    assert server.ranges == ["bytes=700000-"]


def test_a_server_without_ranges_sends_it_from_the_start(server, path):
    server.answers = [{"cut": 294_912}, {"ranges": False}]
    get(server, path)
    assert server.ranges == [None, "bytes=294912-"]


def test_a_server_that_sends_another_range_is_not_believed(server, path):
    server.answers = [{"cut": 294_912}, {"shift": -7}, {}]
    assert "another range" in get(server, path)[1]
    assert server.ranges == [None, "bytes=294912-", None]


@pytest.mark.parametrize("left", [b"of another file" * 999, CONTENT + b"more"])
def test_a_beginning_that_is_wrong_is_dropped(server, path, left):
    part(path, left)
    said = get(server, path)
    assert server.ranges == [f"bytes={len(left)}-", None]
    assert "SHA-256" in said[0]


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_a_busy_server_is_asked_again(server, path, status):
    server.answers = [{"status": status}, {"status": status}, {}]
    said = get(server, path)
    assert len(said) == 2
    assert all(str(status) in line for line in said)


def test_a_server_that_stays_busy_is_given_up(server, path):
    server.answers = [{"cut": 8192}, {"status": 503}]
    left = part(path, CONTENT[:500])
    fails(server, path, f"{ATTEMPTS} attempts", "503", "8,692 bytes are kept", str(left))
    assert len(server.ranges) == ATTEMPTS
    assert left.read_bytes() == CONTENT[:8692]


def test_each_new_byte_is_a_new_chance(server, path):
    server.answers = [{"cut": 90_112}, *[{"status": 503}] * (ATTEMPTS - 2)] * 7 + [{}]
    get(server, path)


def test_a_connection_that_always_drops_at_the_same_place_is_given_up(server, path):
    server.answers = [{"cut": 8192, "ranges": False}]
    fails(server, path, f"{ATTEMPTS} attempts")
    assert len(server.ranges) <= ATTEMPTS + 1


@pytest.mark.parametrize("status", [404, 403, 410])
def test_a_file_that_is_not_there_is_not_asked_for_again(server, path, status):
    server.answers = [{"status": status}]
    fails(server, path, str(status))
    assert len(server.ranges) == 1


def test_another_file_is_refused_and_not_kept(server, path):
    page = b"<html>log in first</html>"
    server.answers = [{"content": page}]
    fails(server, path, hashlib.sha256(page).hexdigest(), SHA256, "25 bytes")
    assert len(server.ranges) == 1
    assert not any(path.parent.iterdir())


def test_one_wrong_byte_is_another_file(server, path):
    server.answers = [{"content": CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])}]
    fails(server, path, "SHA-256")


def test_another_file_in_two_parts_is_refused_after_one_more_try(server, path):
    other = CONTENT[::-1]
    server.answers = [{"content": other, "cut": 8192}, {"content": other}]
    fails(server, path, "SHA-256")
    assert server.ranges == [None, "bytes=8192-", None]


def test_a_body_of_unsaid_length_is_read_to_its_end(server, path):
    server.answers = [{"length": False}]
    get(server, path)


def test_a_file_that_was_there_stays_until_the_new_one_is_whole(server, path):
    path.parent.mkdir()
    path.write_bytes(b"old")
    server.answers = [{"status": 404}]
    with pytest.raises(DownloadError):
        download(server.url, SHA256, path, pause=0)
    assert path.read_bytes() == b"old"


def test_no_server_is_said_with_its_cause(server, path):
    server.http.socket.close()
    text = fails(server, path, f"{ATTEMPTS} attempts", "refused")
    assert "Max retries" not in text
    assert "kept" not in text


def test_a_name_that_is_not_known_is_said(path, monkeypatch):
    def offline(*_, **__):
        try:
            raise OSError("Name or service not known")
        except OSError as error:
            raise requests.ConnectionError("HTTPSConnectionPool(…)") from error

    monkeypatch.setattr(requests, "get", offline)
    with pytest.raises(DownloadError, match=r"in a row: Name or service not known$"):
        download("https://nowhere.invalid/f", SHA256, path, pause=0)


def test_the_waits_double(server, path, monkeypatch):
    waits = []
    monkeypatch.setattr("time.sleep", waits.append)
    server.answers = [{"status": 503}]
    with pytest.raises(DownloadError):
        download(server.url, SHA256, path)
    assert waits == [1, 2, 4, 8]


def test_the_checksum_of_cifar10_is_one():
    assert len(bytes.fromhex(CIFAR10_SHA256)) == 32

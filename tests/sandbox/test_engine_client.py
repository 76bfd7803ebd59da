"""The engine's API: what is asked, what is received, and what each failure becomes."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any

import pytest

from bootstrap.errors import CannotStart
from bootstrap.sandbox import engine
from bootstrap.sandbox.engine_client import OLDEST, Client, EngineFailure


class _Engine(ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), _Answer)
        self.url = f"unix://{path}"
        self.asked: list[tuple[str, str, bytes]] = []
        self.answers: list[tuple[int, bytes]] = []
        self.ping: dict[str, str] = {"API-Version": "1.47"}
        self.is_chunked = False
        self.closes = False  # after each answer, without a word
        self.silence = threading.Event()
        self.connections = 0
        self.closed = threading.Semaphore(0)

    def get_request(self) -> Any:
        self.connections += 1
        return super().get_request()

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self.closed.release()


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Engine

    def address_string(self) -> str:
        return "a socket"

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/_ping":
            self._send(200, b"OK", self.server.ping)
            return
        self.server.asked.append((self.command, self.path, body))
        if not self.server.answers:
            self.server.silence.wait(10)
            return
        status, content = self.server.answers.pop(0)
        if status == 101:
            self.wfile.write(
                b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
            )
            self.rfile.read(4)  # the other end is there, and has what it was sent
            self.wfile.write(content)
            self.close_connection = True
            return
        self._send(status, content, {})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.server.is_chunked:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for byte in content:
                self.wfile.write(b"1\r\n%c\r\n" % byte)
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        self.close_connection = self.server.closes

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - as the base class calls them


@contextmanager
def engines(directory: Path) -> Iterator[_Engine]:
    with _Engine(directory / "docker.sock") as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        try:
            yield made
        finally:
            made.silence.set()
            made.shutdown()


@pytest.fixture
def made(tmp_path: Path) -> Iterator[_Engine]:
    with engines(tmp_path) as running:
        yield running


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_call_sends_json_and_returns_it(made: _Engine, *, is_chunked: bool) -> None:
    made.is_chunked = is_chunked
    made.answers = [(201, b'{"Id": "c0ffee"}\n'), (204, b"") if not is_chunked else (200, b"")]
    client = Client(made.url, timeout=5)
    assert client.post("/containers/create", {"Image": "é"}, name="a b") == {"Id": "c0ffee"}
    assert client.post("/containers/c0ffee/start") is None
    first, second = made.asked
    assert first[:2] == ("POST", "/v1.47/containers/create?name=a+b")
    assert json.loads(first[2]) == {"Image": "é"}
    assert second == ("POST", "/v1.47/containers/c0ffee/start", b"")


def test_the_query_is_as_the_engine_reads_it(made: _Engine) -> None:
    made.answers = [(200, b"[]"), (200, b"")]
    client = Client(made.url, timeout=5)
    assert client.get("/containers/json", all=True, filters={"label": ["airlock"]}) == []
    client.delete("/containers/x", force=True, v=True)
    assert [asked[1] for asked in made.asked] == [
        "/v1.47/containers/json?all=true&filters=%7B%22label%22%3A+%5B%22airlock%22%5D%7D",
        "/v1.47/containers/x?force=true&v=true",
    ]


@pytest.mark.parametrize("name", ["a?b", "a#b", "a b", "a%2e"])
def test_a_name_stays_within_its_path(made: _Engine, name: str) -> None:
    made.answers = [(200, b"{}")]
    Client(made.url, timeout=5).get(f"/images/{name}/json")
    assert made.asked[0][1].startswith("/v1.47/images/a%")
    assert made.asked[0][1].endswith("/json")


def test_an_engine_that_reports_no_version_is_taken_for_the_oldest(made: _Engine) -> None:
    made.ping = {}
    made.answers = [(200, b"{}")]
    Client(made.url, timeout=5).get("/info")
    assert made.asked[0][1] == f"/v{OLDEST}/info"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b'{"message": "No such image: x"}', "No such image: x (HTTP 404)"),
        (b"404 page not found\n", "404 page not found (HTTP 404)"),
        (b"", "Not Found (HTTP 404)"),
        (b"[1]", "[1] (HTTP 404)"),
        (b"\xff", "\ufffd (HTTP 404)"),
    ],
)
def test_a_refusal_has_the_engines_words(made: _Engine, content: bytes, text: str) -> None:
    made.answers = [(404, content)]
    with pytest.raises(EngineFailure) as refused:
        Client(made.url, timeout=5).get("/images/x/json")
    assert (str(refused.value), refused.value.status) == (text, 404)


def test_an_attached_stream_is_raw_and_stays_open(made: _Engine) -> None:
    made.answers = [(101, b"\x01\x00\x00\x00 output")]
    with Client(made.url, timeout=5).stream("/containers/x/attach", stdout=1) as stream:
        stream.sendall(b"here")
        received = b"".join(iter(lambda: stream.recv(100), b""))
    assert received == b"\x01\x00\x00\x00 output"


def test_a_refused_stream_is_a_failure(made: _Engine) -> None:
    made.answers = [(409, b'{"message": "it is not running"}')]
    with pytest.raises(EngineFailure, match="it is not running"):
        Client(made.url, timeout=5).stream("/containers/x/attach")


@pytest.mark.parametrize("call", ["get", "post", "delete", "stream"])
def test_an_engine_that_hangs_is_not_waited_for(made: _Engine, call: str) -> None:
    client = Client(made.url, timeout=0.2)
    with (
        pytest.raises(CannotStart, match="could not do it: it did not answer in time"),
        engine.explained("do it"),
    ):
        getattr(client, call)("/x")


def _closing(path: Path, sent: bytes) -> threading.Thread:
    """Answer every connection with these bytes alone."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        connection, _ = listener.accept()
        with listener, connection:
            connection.recv(1000)
            connection.sendall(sent)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"SSH-2.0\r\n",
        b"HTTP/1.1 500 no\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx",
    ],
    ids=["nothing", "another protocol", "a failure", "half an answer"],
)
def test_what_is_no_engine_is_a_failure(tmp_path: Path, sent: bytes) -> None:
    thread = _closing(tmp_path / "socket", sent)
    with pytest.raises(CannotStart, match="Docker Engine does not answer at unix"):
        engine.connect(f"unix://{tmp_path}/socket")
    thread.join(5)
    assert not thread.is_alive()


def test_an_answer_that_is_not_json_is_a_failure(made: _Engine) -> None:
    made.answers = [(200, b"<html>")]
    client = Client(made.url, timeout=5)
    with pytest.raises(CannotStart, match="could not look"), engine.explained("look"):
        client.get("/info")


@pytest.mark.parametrize(("closes", "connections"), [(False, 1), (True, 6)])
def test_one_connection_is_kept(made: _Engine, *, closes: bool, connections: int) -> None:
    made.closes = closes
    made.answers = [(200, b"{}"), (404, b"{}"), (200, b"{}"), (204, b""), (200, b"{}")]
    client = Client(made.url, timeout=5)
    for status in (200, 404, 200, 204, 200):
        if closes:
            assert made.closed.acquire(timeout=5)
        if status == 404:
            with pytest.raises(EngineFailure):
                client.get("/x")
        else:
            client.post("/x", {})
    assert made.connections == connections
    client.close()


def test_a_call_has_the_patience_of_its_time(made: _Engine) -> None:
    made.answers = [(200, b"{}")]
    client = Client(made.url, timeout=60)
    client.get("/x")
    client.timeout = 0.2
    with pytest.raises(TimeoutError):
        client.get("/x")


def test_threads_may_share_a_client(made: _Engine) -> None:
    made.answers = [(200, b'{"n": 1}')] * 64
    client = Client(made.url, timeout=5)
    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda: found.extend(client.get("/x") for _ in range(8)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [{"n": 1}] * 64

"""One attempt to find out whether a service is ready, against real servers on the loopback."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.policy.services import HttpReady, LogReady, Ready, StartedReady, TcpReady
from bootstrap.sandbox.companions import ready
from bootstrap.sandbox.companions.output import Output
from bootstrap.sandbox.companions.ready import is_ready, is_success, request

root = pytest.mark.skipif(os.geteuid() != 0, reason="enters a network namespace")
Answer = Callable[[socket.socket], object]


@pytest.fixture
def output(tmp_path: Path) -> Iterator[Output]:
    made = Output(tmp_path, "db", limit=100, awaited="ready")
    yield made
    made.close()


@contextmanager
def server(answer: Answer) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            try:
                with listener.accept()[0] as connection:
                    connection.recv(1000)
                    answer(connection)
            except OSError:
                return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]


def tried(attempt: Ready, output: Output) -> bool:
    return is_ready(attempt, os.getpid(), output)


def test_a_service_without_readiness_is_ready(output: Output) -> None:
    assert tried(StartedReady(), output)


def test_a_text_of_the_log(output: Output) -> None:
    assert not tried(LogReady(text="ready"), output)
    output.write(b"now ready\n")
    assert tried(LogReady(text="ready"), output)


@root
def test_a_port(output: Output) -> None:
    with server(lambda _: None) as port:
        assert tried(TcpReady(port=port), output)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert not tried(TcpReady(port=unused.getsockname()[1]), output)


@root
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.0 302 Found\r\n", True),
        (b"HTTP/1.1 204\r\n", True),
        (b"HTTP/1.1 199 almost\r\n", False),
        (b"HTTP/1.1 399 almost\r\n", True),
        (b"HTTP/1.1 400 Bad Request\r\n", False),
        (b"HTTP/1.1 401 Unauthorized\r\n", False),
        (b"HTTP/1.1 503 no\r\n", False),
        (b"HTTP/1.1 200", False),
        (b"HTTP/1.1 2000 OK\r\n", False),
        (b"SSH-2.0-OpenSSH\r\n", False),
        (b"", False),
    ],
)
def test_a_status(output: Output, answer: bytes, expected: bool) -> None:  # noqa: FBT001
    with server(lambda connection: connection.sendall(answer)) as port:
        assert tried(HttpReady(port=port, path="/"), output) is expected


@root
def test_who_answers_a_byte_at_a_time_holds_nobody_up(
    output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ready, "PATIENCE", 0.3)
    stop = threading.Event()

    def slowly(connection: socket.socket) -> None:
        for byte in b"HTTP/1.1 200 OK":
            connection.sendall(bytes([byte]))
            stop.wait(0.2)

    with server(slowly) as port:
        began = time.monotonic()
        assert not tried(HttpReady(port=port, path="/"), output)
        assert time.monotonic() - began < 2
    stop.set()


@root
def test_who_stops_in_the_middle_holds_nobody_up(
    output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ready, "PATIENCE", 0.3)
    stop = threading.Event()

    def in_part(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 2")
        stop.wait(4)

    with server(in_part) as port:
        began = time.monotonic()
        assert not tried(HttpReady(port=port, path="/"), output)
        assert time.monotonic() - began < 2
        stop.set()


@root
def test_what_is_tried_is_in_the_network_of_the_job(output: Output) -> None:
    script = (
        "import socket, subprocess\n"
        "subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True)\n"
        "listener = socket.create_server(('127.0.0.1', 18080))\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    connection = listener.accept()[0]\n"
        "    connection.send(b'HTTP/1.1 200 OK\\r\\n')\n"
        "    connection.close()\n"
    )
    command = ["unshare", "--net", sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as job:
        assert job.stdout
        assert job.stdout.readline() == b"ready\n"
        attempts: tuple[Ready, ...] = (TcpReady(port=18080), HttpReady(port=18080, path="/"))
        found = [is_ready(attempt, job.pid, output) for attempt in attempts]
        here = [tried(attempt, output) for attempt in attempts]
        job.kill()
    assert (found, here) == ([True, True], [False, False])


@root
def test_a_long_answer_is_not_read(output: Output) -> None:
    with server(lambda c: c.sendall(b"HTTP/1.1 200 OK\r\n" + b"x" * (1 << 20))) as port:
        assert tried(HttpReady(port=port, path="/"), output)


@given(st.binary(max_size=64))
def test_no_answer_is_taken_for_a_status_that_it_has_not(answer: bytes) -> None:
    if is_success(answer):
        assert answer[:7] == b"HTTP/1."
        assert answer[9:10] in b"23"


def test_the_request_is_one() -> None:
    assert request("/up?a=b") == (
        b"GET /up?a=b HTTP/1.0\r\nHost: 127.0.0.1\r\nUser-Agent: airlock\r\n"
        b"Connection: close\r\n\r\n"
    )

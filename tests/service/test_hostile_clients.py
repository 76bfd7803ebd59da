"""Whatever a client sends: it gets an answer, others get theirs, and nothing of it stays."""

import os
import socket
import struct
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.errors import AirlockError
from bootstrap.service import protocol
from tests.lab.engine import eventually
from tests.lab.service import Serving
from tests.service.asking import answers, ask, descriptors, opened
from tests.service.client import HEADER, answer, connected, send

MALFORMED = {
    "another magic": {"header": HEADER.pack(b"ALR2", 0, 0, 0)},
    "not zero": {"header": HEADER.pack(b"ALR1", 0, 0, 1)},
    "half a header": {"header": b"ALR1\0\0"},
    "huge arguments": {"header": HEADER.pack(b"ALR1", 0xFFFFFFFF, 0, 0)},
    "huge environment": {"header": HEADER.pack(b"ALR1", 0, (8 << 20) + 1, 0)},
    "less than announced": {"header": HEADER.pack(b"ALR1", 0, 100, 0), "environment": b"A=b\0"},
    "unterminated environment": {"environment": b"A=b"},
    "unterminated arguments": {"arguments": b"admit"},
    "another command": {"arguments": b"serve\0"},
    "two commands": {"arguments": b"admit\0admit\0"},
    "a variable without a name": {"environment": b"=b\0"},
    "no descriptors to spare": {"number": 3},
    "one descriptor too many": {"number": 5},
    "many descriptors": {"number": 200},
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_request_is_answered_with_a_sentence(service: Serving, name: str) -> None:
    found = ask(service, **MALFORMED[name])  # type: ignore[arg-type]
    assert found.kind == "R", found
    assert found.number in {77, 78, 125}
    assert found.text.startswith("+++ :no_entry: Airlock: ")
    assert answers(service)
    eventually(lambda: service.workers() == [], "its worker ends")


def test_nothing_of_malformed_requests_stays(service: Serving) -> None:
    before = opened(service.pid)
    for wrong in MALFORMED.values():
        assert ask(service, **wrong).kind == "R"  # type: ignore[arg-type]
    eventually(lambda: service.workers() == [], "their workers end")
    eventually(lambda: opened(service.pid) <= before, "no descriptor stays")
    assert answers(service)


def test_client_without_descriptors_or_words_is_answered(service: Serving) -> None:
    with connected(service.socket) as connection:
        connection.shutdown(socket.SHUT_WR)
        assert answer(connection).kind == "R"
    with connected(service.socket) as connection:
        connection.sendall(HEADER.pack(b"ALR1", 0, 0, 0))
        assert answer(connection).kind == "R"
    assert answers(service)


def test_silent_clients_delay_nobody_and_are_ended(service: Serving) -> None:
    silent = [connected(service.socket) for _ in range(3)]
    began = time.monotonic()
    assert answers(service)
    assert time.monotonic() - began < 3
    for connection in silent:
        with connection:
            assert answer(connection).kind == "R"
    assert answers(service)


def test_slow_client_is_ended(service: Serving) -> None:
    with connected(service.socket) as connection, descriptors() as some:
        header = HEADER.pack(b"ALR1", 0, 1 << 20, 0)
        socket.send_fds(connection, [header], some)
        began = time.monotonic()
        connection.settimeout(0.2)
        ended = b""
        while not ended and time.monotonic() - began < 20:
            try:
                connection.send(b"a")
                ended = connection.recv(1 << 16)
            except TimeoutError:
                continue
        assert ended[:1] == b"R"
        assert time.monotonic() - began < 15


def test_no_stream_passes_what_a_job_prints_on_as_a_message_of_roots(service: Serving) -> None:
    """The journal, for one, notes who has sent a message, and believes the kernel."""
    journal, connected_to_it = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    journal.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    with journal, connected_to_it, connected(service.socket) as connection, descriptors() as some:
        send(connection, b"", b"", [some[0], connected_to_it.fileno(), some[2], some[3]])
        found = answer(connection)
        assert (found.kind, found.number) == ("R", 78)
        assert "a socket of messages (type 2)" in found.text
        journal.settimeout(0)
        with pytest.raises(BlockingIOError):
            journal.recvmsg(1 << 16, 100)
    assert answers(service)


def test_a_user_has_a_limit_and_what_is_beyond_is_answered_at_once(service: Serving) -> None:
    silent = [connected(service.socket) for _ in range(4)]
    eventually(lambda: len(service.workers()) >= 4, "each has its worker")
    found = ask(service)
    assert found.kind == "R"
    assert found.number == 125
    assert "the agents of uid 0 have 4 jobs on this host already" in found.text
    for connection in silent:
        connection.close()
    eventually(lambda: answers(service), "the next one has its turn")


def test_thousands_of_connections_delay_nobody(service: Serving) -> None:
    """They are a process's own, which goes on for as long as the others take."""
    program = "import socket, sys\nfor _ in range(20000):\n socket.socket(1).connect(sys.argv[1])"
    with subprocess.Popen([sys.executable, "-c", program, str(service.socket)]) as flood:
        try:
            for _ in range(20):
                began = time.monotonic()
                assert ask(service).kind in {"E", "R"}
                assert time.monotonic() - began < 3
        finally:
            flood.kill()
    eventually(lambda: answers(service), "the service goes on", 10)
    eventually(lambda: opened(service.pid) < 40, "no descriptor stays")


def test_lingering_sockets_do_not_block_the_service(service: Serving) -> None:
    """Closing such a socket blocks, and what nobody received is closed with its connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        silent = [connected(service.socket) for _ in range(4)]
        eventually(lambda: len(service.workers()) >= 4, "no further job has its turn")
        for _ in range(5):
            with connected(service.socket) as connection:
                lingering = socket.create_connection(listener.getsockname())
                lingering.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 600))
                lingering.settimeout(0)
                filled = _fill(lingering)
                assert filled > 0
                send(connection, b"", b"", [lingering.fileno()] * 4)
                os.close(lingering.detach())
        for connection in silent:
            connection.close()
        began = time.monotonic()
        eventually(lambda: answers(service), "the service goes on", 10)
        assert time.monotonic() - began < 10


def _fill(connection: socket.socket) -> int:
    """Send until nothing more fits: the other side does not read."""
    sent = 0
    try:
        while True:
            sent += connection.send(b"x" * 65536)
    except BlockingIOError:
        return sent


@given(st.binary(max_size=40))
def test_any_header_is_read_or_refused(data: bytes) -> None:
    try:
        found = protocol.sizes(data)
    except AirlockError:
        return
    assert found.environment <= protocol.MOST_ENVIRONMENT


@given(st.binary(max_size=200))
def test_any_environment_is_read_or_refused(data: bytes) -> None:
    try:
        found = protocol.environment(data)
    except AirlockError:
        return
    assert "" not in found
    assert not any("\0" in name + value for name, value in found.items())

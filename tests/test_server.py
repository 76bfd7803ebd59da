"""The thread that serves every connection of a listener: limits, eviction, time, failures."""

import selectors
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from bootstrap.server import Connection, Server
from tests.lab.descriptors import none_free, share_of_processor


class Echo:
    """Returns each chunk in capitals, by way of a second pair of sockets if it has one."""

    def __init__(self, client: socket.socket, until: float = 60.0) -> None:
        self.client = client
        self.near, self.far = socket.socketpair()
        self.near.settimeout(0)
        self.far.settimeout(0)
        self.until = time.monotonic() + until
        self.relayed = False
        self.idle = True

    def precedence(self) -> tuple[bool, float]:
        return not self.idle, self.until

    def waits_for(self) -> tuple[socket.socket, int]:
        return self.near if self.relayed else self.client, selectors.EVENT_READ

    def advance(self) -> None:
        while True:
            chunk = (self.near if self.relayed else self.client).recv(100)
            if not chunk:
                raise ConnectionAbortedError
            self.idle = False
            if self.relayed:
                self.client.send(chunk.upper())
            else:
                self.far.send(chunk)
            self.relayed = not self.relayed

    def close(self) -> None:
        for each in (self.client, self.near, self.far):
            each.close()


Admit = Callable[[socket.socket], Connection | None]


@contextmanager
def running(admit: Admit = Echo, limit: int = 8) -> Iterator[Callable[[], socket.socket]]:
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    server = Server(listener, admit, limit=limit, name="test")
    server.start()
    try:
        yield lambda: socket.create_connection(address, timeout=5)
    finally:
        server.close()


def echoed(client: socket.socket) -> bytes:
    client.sendall(b"a")
    return client.recv(100)


def is_closed(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_connection_may_wait_for_one_socket_after_another() -> None:
    with running() as dial, dial() as client:
        assert [echoed(client) for _ in range(3)] == [b"A", b"A", b"A"]


def test_beyond_the_limit_the_connection_of_least_precedence_is_dropped() -> None:
    with running(limit=8) as dial:
        busy = [dial() for _ in range(7)]
        assert {echoed(client) for client in busy} == {b"A"}
        with dial() as idle, dial() as last:
            assert echoed(last) == b"A"
            assert is_closed(idle)
        for client in busy:
            with client:
                assert echoed(client) == b"A"


def test_an_overdue_connection_is_dropped_though_it_sends_nothing() -> None:
    with running(lambda client: Echo(client, until=0.1)) as dial, dial() as client:
        assert is_closed(client)


def test_without_descriptors_it_waits_and_then_goes_on() -> None:
    """A connection that cannot be accepted stays, and would wake the thread without end."""
    with running() as dial, dial() as other:
        assert echoed(other) == b"A"
        with socket.socket() as client:
            with none_free():
                client.connect(other.getpeername())
                assert share_of_processor("test") < 0.2
                assert echoed(other) == b"A", "who is connected is served"
            client.settimeout(5)
            assert echoed(client) == b"A"


def refuses(client: socket.socket) -> Connection | None:
    return None


def fails(client: socket.socket) -> Connection | None:
    raise ConnectionResetError


@pytest.mark.parametrize("admit", [refuses, fails])
def test_a_client_that_is_not_admitted_is_disconnected(admit: Admit) -> None:
    with running(admit) as dial, dial() as client, dial() as other:
        assert is_closed(client)
        assert is_closed(other)


def test_a_client_that_resets_its_connection_ends_no_other() -> None:
    with running() as dial, dial() as other:
        rude = dial()
        rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        rude.sendall(b"a")
        rude.close()
        assert echoed(other) == b"A"


def test_a_close_disconnects_every_client() -> None:
    with running() as dial:
        client = dial()
        assert echoed(client) == b"A"
    with client:
        assert is_closed(client)

"""The per-job HTTP listener from which the job's SDKs fetch their session.

Why this address and form: docs/aws.md#choice-of-endpoint

Three things have to be right before a session is shown: the firewall lets only this job's room
come here, the peer's address is the room's, and the path is the job's unguessable one.

Every answer is in memory, so one thread serves all connections: no client, however slow, can take
a thread away from another, and a job costs this host one thread and a bounded number of sockets.
"""

import secrets
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus

from bootstrap.credentials.answer import MAX_HEAD, answer, refusal, take_head
from bootstrap.grants.kind import Sessions

MAX_CONNECTIONS = 128
BACKLOG = 256  # connections that wait: more would wait longer, and a lost one costs its client 1 s
IDLE = 5.0  # seconds from one whole request to the end of the next
FAREWELL = 1.0  # seconds in which a client may read the last answer before the socket closes
MAX_IGNORED = 1 << 18  # bytes of it that are read and thrown away meanwhile
CHUNK = 16384


class _Connection:
    """One client: what it has said, what it has yet to be told, and until when it may stay."""

    __slots__ = ("deaf", "ignored", "last", "said", "socket", "unsent", "until")

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.said = bytearray()
        self.unsent = b""
        self.last = False  # nothing follows what is unsent
        self.deaf = False  # all is sent; what still comes is thrown away
        self.ignored = 0  # bytes of that
        self.until = time.monotonic() + IDLE


class Endpoint:
    """One job's listener. Nobody is let in before `allow`."""

    def __init__(self, address: str, sessions: Sessions) -> None:
        self.path = f"/v1/{secrets.token_urlsafe(32)}"
        self._sessions = sessions
        self._peer: str | None = None
        self._listener = socket.create_server((address, 0), backlog=BACKLOG)
        self._listener.settimeout(0)
        self._bell, self._ringer = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._connections: set[_Connection] = set()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="credentials", daemon=True)

    @property
    def port(self) -> int:
        """The port of the listener on this host; the room itself always uses 80."""
        return int(self._listener.getsockname()[1])

    def allow(self, peer: str) -> None:
        """Serve connections from this address from now on, and from no other."""
        self._peer = peer

    def start(self) -> None:
        """Begin to accept connections."""
        self._thread.start()

    def close(self) -> None:
        """Hang up on everybody and give the port back; at once, whatever the clients do."""
        self._closing.set()
        self._ringer.close()
        self._thread.join(IDLE)

    def _serve(self) -> None:
        try:
            while not self._closing.is_set():
                for key, _ in self._selector.select(self._patience()):
                    if key.fileobj is self._listener:
                        self._accept_waiting()
                    elif isinstance(key.data, _Connection):
                        self._advance(key.data)
                self._drop_overdue()
        finally:
            for connection in tuple(self._connections):
                self._drop(connection)
            self._selector.close()
            self._listener.close()
            self._bell.close()

    def _patience(self) -> float | None:
        """Seconds until the first connection is overdue; None while there is none."""
        first = min((connection.until for connection in self._connections), default=None)
        return None if first is None else max(0.0, first - time.monotonic())

    def _accept_waiting(self) -> None:
        """Let in some who wait. Each may take the place of one who has to be answered first."""
        for _ in range(MAX_CONNECTIONS // 8):
            try:
                connected, (peer, _) = self._listener.accept()
            except OSError:
                return  # nobody waits, or this host has no descriptor left
            self._let_in(connected, peer)

    def _let_in(self, connected: socket.socket, peer: str) -> None:
        if self._peer is None or peer != self._peer:
            connected.close()
            return
        if len(self._connections) >= MAX_CONNECTIONS:
            self._drop(min(self._connections, key=lambda other: (not other.deaf, other.until)))
        connected.settimeout(0)
        connection = _Connection(connected)
        self._connections.add(connection)
        self._selector.register(connected, selectors.EVENT_READ, connection)
        self._advance(connection)  # whoever waited has asked already, and need not wait again

    def _advance(self, connection: _Connection) -> None:
        """Do what can be done for this client without waiting for it."""
        try:
            if not connection.unsent and not self._hear(connection):
                self._drop(connection)
                return
            self._speak(connection)
        except BlockingIOError:
            return
        except OSError:
            self._drop(connection)

    def _hear(self, connection: _Connection) -> bool:
        """Take in what the client says; False once it has hung up, or will not stop talking."""
        heard = connection.socket.recv(CHUNK)
        if connection.deaf:
            connection.ignored += len(heard)
        else:
            connection.said += heard
        return bool(heard) and connection.ignored <= MAX_IGNORED

    def _speak(self, connection: _Connection) -> None:
        """Answer all that was asked, as fast as the client listens."""
        while connection.unsent or self._next_answer(connection):
            with suppress(BlockingIOError):
                sent = connection.socket.send(connection.unsent)
                connection.unsent = connection.unsent[sent:]
            waits_for = selectors.EVENT_WRITE if connection.unsent else selectors.EVENT_READ
            self._selector.modify(connection.socket, waits_for, connection)
            if connection.unsent:
                return
        if connection.last and not connection.deaf:
            # Closing with unread input would reset the connection and destroy the last answer.
            connection.deaf, connection.until = True, time.monotonic() + FAREWELL
            connection.socket.shutdown(socket.SHUT_WR)

    def _next_answer(self, connection: _Connection) -> bool:
        if connection.last:
            return False
        head = take_head(connection.said)
        if len(head if head is not None else connection.said) > MAX_HEAD:
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            said = refusal(status, "RequestTooLarge", f"more than {MAX_HEAD} bytes of headers")
        elif head is None:
            return False
        else:
            said = answer(head, self.path, self._sessions.current())
        connection.unsent, connection.last = said.content, not said.keep
        connection.until = time.monotonic() + IDLE
        return True

    def _drop_overdue(self) -> None:
        now = time.monotonic()
        for connection in [other for other in self._connections if other.until <= now]:
            self._drop(connection)

    def _drop(self, connection: _Connection) -> None:
        self._connections.discard(connection)
        with suppress(KeyError, ValueError):
            self._selector.unregister(connection.socket)
        connection.socket.close()


@contextmanager
def serving(address: str, sessions: Sessions, *, peer: str | None = None) -> Iterator[Endpoint]:
    """Serve until this closes; then the path, the listener and every connection are gone.

    `peer` is for when the room's address is known already; else `Endpoint.allow` comes later.
    """
    endpoint = Endpoint(address, sessions)
    if peer is not None:
        endpoint.allow(peer)
    endpoint.start()
    try:
        yield endpoint
    finally:
        endpoint.close()

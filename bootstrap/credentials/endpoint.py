"""The per-job HTTP listener from which the job's SDKs fetch their session.

Why this address and form: docs/aws.md#choice-of-endpoint
Why no HTTP library: docs/design.md#why-the-endpoint-uses-no-http-library

Three conditions must hold before a session is sent: the firewall lets only this job's container
connect, the peer's address is the container's, and the path is the job's unguessable one.
"""

import secrets
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus

from bootstrap.credentials.answer import MAX_HEAD, Answer, answer, refusal, take_head
from bootstrap.grants.kind import Sessions
from bootstrap.server import Server

MAX_CONNECTIONS = 128
BACKLOG = 256  # waiting connections; one beyond them is lost, and its client tries again after 1 s
IDLE = 5.0  # seconds from one whole request to the end of the next
LINGER = 1.0  # seconds in which a client may read the last answer before the socket closes
MAX_IGNORED = 1 << 18  # bytes that are read and discarded meanwhile
CHUNK = 16384


class _Connection:
    """One client: what was received, what is still to be sent, and when it is disconnected."""

    __slots__ = ("answer", "ignored", "last", "lingering", "received", "socket", "unsent", "until")

    def __init__(self, client: socket.socket, answer: Callable[[bytes], Answer]) -> None:
        self.socket = client
        self.answer = answer
        self.received = bytearray()
        self.unsent = b""
        self.last = False  # nothing follows what is unsent
        self.lingering = False  # all is sent; what still arrives is ignored
        self.ignored = 0  # bytes
        self.until = time.monotonic() + IDLE

    def precedence(self) -> tuple[bool, float]:
        """Order lingering connections first, then those whose last request is oldest."""
        return not self.lingering, self.until

    def waits_for(self) -> tuple[socket.socket, int]:
        """Return what to wait for: that the client reads the answer, or that it sends a request."""
        return self.socket, selectors.EVENT_WRITE if self.unsent else selectors.EVENT_READ

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

    def advance(self) -> None:
        """Receive, and answer every whole request, as fast as the client reads the answers."""
        if not self.unsent:
            self._receive()
        while self.unsent or self._next_answer():
            self.unsent = self.unsent[self.socket.send(self.unsent) :]
        if self.last and not self.lingering:
            # Closing with unread input would reset the connection and destroy the last answer.
            self.lingering, self.until = True, time.monotonic() + LINGER
            self.socket.shutdown(socket.SHUT_WR)

    def _receive(self) -> None:
        """Raises OSError once the client has closed, or does not stop sending."""
        chunk = self.socket.recv(CHUNK)
        if self.lingering:
            self.ignored += len(chunk)
        else:
            self.received += chunk
        if not chunk or self.ignored > MAX_IGNORED:
            raise ConnectionAbortedError

    def _next_answer(self) -> bool:
        if self.last:
            return False
        head = take_head(self.received)
        if len(head if head is not None else self.received) > MAX_HEAD:
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            reply = refusal(status, "RequestTooLarge", f"more than {MAX_HEAD} bytes of headers")
        elif head is None:
            return False
        else:
            reply = self.answer(head)
        self.unsent, self.last = reply.content, not reply.keep
        self.until = time.monotonic() + IDLE
        return True


class Endpoint:
    """One job's listener. No connection is served before `allow`."""

    def __init__(self, listener: socket.socket, sessions: Sessions) -> None:
        self.path = f"/v1/{secrets.token_urlsafe(32)}"
        self._sessions = sessions
        self._peer: str | None = None
        self.port = int(listener.getsockname()[1])  # on this host; the container always uses 80
        self._server = Server(listener, self._admit, limit=MAX_CONNECTIONS, name="credentials")
        self.start, self.close = self._server.start, self._server.close

    def allow(self, peer: str) -> None:
        """Serve connections from this address from now on, and from no other."""
        self._peer = peer

    def _admit(self, client: socket.socket) -> _Connection | None:
        peer, _ = client.getpeername()
        return _Connection(client, self._answer) if peer == self._peer else None

    def _answer(self, head: bytes) -> Answer:
        return answer(head, self.path, self._sessions.current())


@contextmanager
def serving(address: str, sessions: Sessions, *, peer: str | None = None) -> Iterator[Endpoint]:
    """Serve until this closes; then the path, the listener and every connection are gone.

    `peer` is the container's address, if it is known already; otherwise call `Endpoint.allow`.
    """
    listener = socket.create_server((address, 0), backlog=BACKLOG)
    with serving_at(listener, sessions, peer=peer) as endpoint:
        yield endpoint


@contextmanager
def serving_at(
    listener: socket.socket, sessions: Sessions, *, peer: str | None = None
) -> Iterator[Endpoint]:
    """Serve as `serving` does at a listener, which is owned from now on."""
    endpoint = Endpoint(listener, sessions)
    if peer is not None:
        endpoint.allow(peer)
    endpoint.start()
    try:
        yield endpoint
    finally:
        endpoint.close()

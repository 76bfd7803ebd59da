"""The socket that a job's ssh agent listens on: it passes lists, signatures and session binds.

One thread serves all connections and blocks on none of them. Each connection that sends a request
gets a connection of its own to the real agent, because the agent keeps the session that a
connection is bound to.
"""

import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from bootstrap.sandbox.ssh.agent_protocol import (
    FAILURE,
    LENGTH,
    SIGN_REQUEST,
    SIGNED,
    MalformedMessage,
    missing,
    refused,
)
from bootstrap.sandbox.ssh.agent_socket import connect, listen, peer_uid
from bootstrap.server import Listening

MAX_CONNECTIONS = 64
IDLE = 600.0  # seconds for which a client may stay silent between requests
PATIENCE = 10.0  # seconds for one step of a message, see _Step
CHUNK = 16384


class _Step(Enum):
    """What a connection waits for."""

    REQUEST = auto()  # from the client
    DELIVERY = auto()  # of the request to the agent
    ANSWER = auto()  # from the agent
    RETURN = auto()  # of the answer to the client


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """How a job used its ssh agent."""

    signed: int
    not_signed: int  # the agent refused: no such key, or not for this host
    refused: Mapping[str, int]  # by message; these never reached the agent


class _Connection:
    """One client, its message under way, and its connection to the agent once it has one."""

    __slots__ = (
        "agent", "asked", "client", "last", "message", "patience", "signing", "since",
        "step", "until", "watched",
    )  # fmt: skip

    def __init__(self, client: socket.socket, patience: float) -> None:
        self.client = client
        self.patience = patience
        self.agent: socket.socket | None = None
        self.message = bytearray()
        self.asked = False  # it has sent a whole request
        self.signing = False  # the request under way is for a signature
        self.last = False  # it is disconnected after the next answer
        self.watched: socket.socket | None = None
        self.await_request()

    def await_request(self) -> None:
        """Wait up to IDLE for the next request."""
        self.proceed(_Step.REQUEST)
        self.until = self.since + IDLE

    def proceed(self, step: _Step) -> None:
        """Go on to `step`, which may take `patience` seconds."""
        self.step = step
        self.since = time.monotonic()
        self.until = self.since + self.patience

    def counterpart(self) -> socket.socket:
        """Return the socket that this step waits for."""
        with_agent = self.step in (_Step.DELIVERY, _Step.ANSWER)
        return self.agent if with_agent and self.agent is not None else self.client


class AgentFilter:
    """Listens at `path` for processes of `uid`, in front of the agent that listens at `agent`.

    Connections wait until `start`. `patience` is in seconds, for each step of a message. Raises
    OSError if it cannot listen.
    """

    def __init__(self, path: Path, agent: Path, *, uid: int, patience: float = PATIENCE) -> None:
        self._signatures: Counter[bool] = Counter()  # by whether there was one
        self._refused: Counter[str] = Counter()
        self._agent = agent
        self._uid = uid
        self._patience = patience
        self._listener = listen(path, uid)
        self._wakeup, self._waker = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._listening = Listening(self._listener, self._selector)
        self._selector.register(self._wakeup, selectors.EVENT_READ)
        self._connections: set[_Connection] = set()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="ssh-agent", daemon=True)

    def start(self) -> None:
        """Begin to accept connections."""
        self._thread.start()

    def close(self) -> Usage:
        """Close all connections at once, and return how the agent was used."""
        self._closing.set()
        self._waker.close()
        self._thread.join(PATIENCE)
        return Usage(
            signed=self._signatures[True],
            not_signed=self._signatures[False],
            refused=dict(self._refused),
        )

    def _serve(self) -> None:
        try:
            while not self._closing.is_set():
                for key, _ in self._selector.select(self._patience_left()):
                    if key.fileobj is self._listener:
                        self._accept_waiting()
                    elif isinstance(key.data, _Connection) and key.data in self._connections:
                        self._advance(key.data)
                self._drop_overdue()
        finally:
            for connection in tuple(self._connections):
                self._drop(connection)
            self._selector.close()
            self._listener.close()
            self._wakeup.close()

    def _patience_left(self) -> float | None:
        first = min((connection.until for connection in self._connections), default=None)
        overdue = None if first is None else max(0.0, first - time.monotonic())
        return self._listening.patience(overdue)

    def _accept_waiting(self) -> None:
        """Accept some of the waiting connections, so that the others are not kept waiting."""
        for _ in range(MAX_CONNECTIONS // 8):
            client = self._listening.accept()
            if client is None:
                return
            self._admit(client)

    def _admit(self, client: socket.socket) -> None:
        if peer_uid(client) != self._uid:
            self._refused["connection of another user"] += 1
            client.close()
            return
        if len(self._connections) >= MAX_CONNECTIONS:
            # First one that has sent no request yet, then the one that has been idle longest.
            self._drop(min(self._connections, key=lambda other: (other.asked, other.since)))
        client.settimeout(0)
        connection = _Connection(client, self._patience)
        self._connections.add(connection)
        self._advance(connection)  # its first request may be here already

    def _advance(self, connection: _Connection) -> None:
        """Go as far as possible without waiting, up to the end of one message."""
        try:
            while not self._take_step(connection):
                pass
        except BlockingIOError:
            pass
        except (OSError, MalformedMessage):
            self._drop(connection)
            return
        self._watch(connection)

    def _watch(self, connection: _Connection) -> None:
        """Have the selector wait for what this connection waits for, and for nothing else."""
        writing = connection.step in (_Step.DELIVERY, _Step.RETURN)
        events = selectors.EVENT_WRITE if writing else selectors.EVENT_READ
        waits_on = connection.counterpart()
        if connection.watched is waits_on:
            self._selector.modify(waits_on, events, connection)
            return
        if connection.watched is not None:
            self._selector.unregister(connection.watched)
        connection.watched = waits_on
        self._selector.register(waits_on, events, connection)

    def _take_step(self, connection: _Connection) -> bool:
        """Make one step; True once a message has been answered. Raises BlockingIOError."""
        match connection.step:
            case _Step.REQUEST:
                self._receive_request(connection)
            case _Step.DELIVERY if _sent(connection):
                connection.proceed(_Step.ANSWER)
            case _Step.ANSWER if _received(connection):
                if connection.signing:
                    self._signatures[connection.message[LENGTH] == SIGNED] += 1
                connection.proceed(_Step.RETURN)
            case _Step.RETURN if _sent(connection):
                if connection.last:
                    raise ConnectionAbortedError
                connection.await_request()
                return True
        return False

    def _receive_request(self, connection: _Connection) -> None:
        started = bool(connection.message)
        try:
            whole = _received(connection)
        except MalformedMessage:
            self._refuse(connection, "message without or beyond the protocol's length")
            connection.last = True  # where the next message begins is unknown
            return
        if whole:
            self._forward_or_refuse(connection)
        elif not started:
            connection.proceed(_Step.REQUEST)

    def _forward_or_refuse(self, connection: _Connection) -> None:
        connection.asked = True
        why = refused(connection.message)
        if why is not None:
            self._refuse(connection, why)
            return
        connection.signing = connection.message[LENGTH] == SIGN_REQUEST
        try:
            connection.agent = connection.agent or connect(self._agent)
        except OSError:
            self._refuse(connection, "request after the agent had ended")
            return
        connection.proceed(_Step.DELIVERY)

    def _refuse(self, connection: _Connection, why: str) -> None:
        self._refused[why] += 1
        connection.message[:] = FAILURE
        connection.proceed(_Step.RETURN)

    def _drop_overdue(self) -> None:
        now = time.monotonic()
        for connection in [other for other in self._connections if other.until <= now]:
            self._drop(connection)

    def _drop(self, connection: _Connection) -> None:
        self._connections.discard(connection)
        if connection.watched is not None:
            self._selector.unregister(connection.watched)
        connection.client.close()
        if connection.agent is not None:
            connection.agent.close()


def _received(connection: _Connection) -> bool:
    """Receive what is there of the message; True once it is whole. Raises BlockingIOError."""
    chunk = connection.counterpart().recv(min(missing(connection.message), CHUNK))
    if not chunk:
        raise ConnectionAbortedError
    connection.message += chunk
    return missing(connection.message) == 0


def _sent(connection: _Connection) -> bool:
    """Send what the peer takes of the message; True once all is sent. Raises BlockingIOError."""
    del connection.message[: connection.counterpart().send(connection.message)]
    return not connection.message

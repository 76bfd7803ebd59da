"""The socket that a job's ssh agent listens on: it passes lists, signatures and session binds.

One thread serves all connections and waits for none of them. Each connection that asks for
something gets a connection of its own to the real agent, which keeps the session that it is bound
to. A client waits only for itself: for its next message, for the agent, or to take the answer.
"""

import os
import selectors
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from bootstrap.sandbox.agent_protocol import (
    FAILURE,
    LENGTH,
    SIGN_REQUEST,
    SIGNED,
    MalformedMessage,
    missing,
    refused,
)

MAX_CONNECTIONS = 64
BACKLOG = 128
IDLE = 600.0  # seconds in which a client need not ask anything
PATIENCE = 10.0  # seconds for one step: the rest of a message, the agent's answer, taking it
CHUNK = 16384


class _Step(Enum):
    """What a connection waits for."""

    REQUEST = auto()  # from the client
    DELIVERY = auto()  # of the request to the agent
    ANSWER = auto()  # from the agent
    RETURN = auto()  # of the answer to the client


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What a job asked of its ssh agent."""

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
        self.asked = False  # it has sent a whole message
        self.signing = False  # it has asked for a signature
        self.last = False  # it gets one answer more and is hung up on
        self.watched: socket.socket | None = None
        self.rest()

    def rest(self) -> None:
        """Wait for a message that need not come soon."""
        self.proceed(_Step.REQUEST)
        self.until = self.since + IDLE

    def proceed(self, step: _Step) -> None:
        """Go on to the next step, which has its time."""
        self.step = step
        self.since = time.monotonic()
        self.until = self.since + self.patience

    def counterpart(self) -> socket.socket:
        """Return the side that this step waits for."""
        with_agent = self.step in (_Step.DELIVERY, _Step.ANSWER)
        return self.agent if with_agent and self.agent is not None else self.client


class AgentFilter:
    """Listens at `path` for processes of `uid`, in front of the agent that listens at `agent`.

    Nobody is served before `start`. `patience` is in seconds, for each step of a message.
    """

    def __init__(self, path: Path, agent: Path, *, uid: int, patience: float = PATIENCE) -> None:
        self._signatures: Counter[bool] = Counter()  # by whether there was one
        self._refused: Counter[str] = Counter()
        self._agent = agent
        self._uid = uid
        self._patience = patience
        self._listener = _listen(path, uid)
        self._bell, self._ringer = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._connections: set[_Connection] = set()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="ssh-agent", daemon=True)

    def start(self) -> None:
        """Begin to accept connections."""
        self._thread.start()

    def close(self) -> Usage:
        """Hang up on everybody, at once, and return what was asked until then."""
        self._closing.set()
        self._ringer.close()
        self._thread.join(PATIENCE)
        return Usage(
            signed=self._signatures[True],
            not_signed=self._signatures[False],
            refused=dict(self._refused),
        )

    def _serve(self) -> None:
        try:
            while not self._closing.is_set():
                for key, _ in self._selector.select(self._until_overdue()):
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
            self._bell.close()

    def _until_overdue(self) -> float | None:
        first = min((connection.until for connection in self._connections), default=None)
        return None if first is None else max(0.0, first - time.monotonic())

    def _accept_waiting(self) -> None:
        """Let some in who wait, then look after the others again."""
        for _ in range(MAX_CONNECTIONS // 8):
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # nobody waits, or this process has no descriptor left
            self._let_in(client)

    def _let_in(self, client: socket.socket) -> None:
        if _uid_of(client) != self._uid:
            self._refused["connection of another user"] += 1
            client.close()
            return
        if len(self._connections) >= MAX_CONNECTIONS:
            # Whoever has asked nothing yet goes first, then whoever did so longest ago.
            self._drop(min(self._connections, key=lambda other: (other.asked, other.since)))
        client.settimeout(0)
        connection = _Connection(client, self._patience)
        self._connections.add(connection)
        self._advance(connection)  # whoever waited has asked already, and need not wait again

    def _advance(self, connection: _Connection) -> None:
        """Do what can be done for this client without waiting, up to the end of one message."""
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
                connection.rest()
                return True
        return False

    def _receive_request(self, connection: _Connection) -> None:
        begun = bool(connection.message)
        try:
            whole = _received(connection)
        except MalformedMessage:
            self._refuse(connection, "message without or beyond the protocol's length")
            connection.last = True  # where the next message begins is unknown
            return
        if whole:
            self._judge(connection)
        elif not begun:
            connection.proceed(_Step.REQUEST)

    def _judge(self, connection: _Connection) -> None:
        connection.asked = True
        why = refused(connection.message)
        if why is not None:
            self._refuse(connection, why)
            return
        connection.signing = connection.message[LENGTH] == SIGN_REQUEST
        try:
            connection.agent = connection.agent or _connected(self._agent)
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
    """Take in what has come of the message; True once it is whole. Raises BlockingIOError."""
    chunk = connection.counterpart().recv(min(missing(connection.message), CHUNK))
    if not chunk:
        raise ConnectionAbortedError
    connection.message += chunk
    return missing(connection.message) == 0


def _sent(connection: _Connection) -> bool:
    """Send what is taken of the message; True once all of it is. Raises BlockingIOError."""
    del connection.message[: connection.counterpart().send(connection.message)]
    return not connection.message


def _uid_of(client: socket.socket) -> int:
    """Return the uid, on this host, of the process that connected (unix(7), SO_PEERCRED)."""
    credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])


def _listen(path: Path, uid: int) -> socket.socket:
    """Listen where only `uid` connects. Raises OSError."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        with _short(path) as name:
            listener.bind(name)
            os.chown(name, uid, uid)
            Path(name).chmod(0o600)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    listener.settimeout(0)
    return listener


def _connected(path: Path) -> socket.socket:
    """Connect to the real agent, or raise OSError: never wait for it."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(0)
    try:
        with _short(path) as name:
            connection.connect(name)
    except BlockingIOError as full:
        connection.close()
        raise ConnectionRefusedError from full
    except OSError:
        connection.close()
        raise
    return connection


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """Name a socket in the 107 bytes that an address has, however long the way to it is."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)

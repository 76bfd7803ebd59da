"""One thread that serves every connection of a listener and waits for none of them.

A slow client therefore delays no other, and a server takes one thread and a bounded number of
sockets. What a connection sends and receives is up to the package that admits it.
"""

import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

CLOSING = 5.0  # seconds for the thread to end; it waits for no client
PAUSE = 0.1  # seconds without accepting, when this process or the host has no descriptor left


class Connection(Protocol):
    """One admitted client."""

    until: float  # the time.monotonic() at which it is dropped

    def precedence(self) -> tuple[bool, float]:
        """Return what is compared when there are too many connections: the least is dropped."""

    def advance(self) -> None:
        """Do what can be done without waiting.

        Raises BlockingIOError if that is nothing more, any other OSError if it is over.
        """

    def waits_for(self) -> tuple[socket.socket, int]:
        """Return the socket and the selector's events after which to advance again."""

    def close(self) -> None:
        """Close its sockets."""


class Listening:
    """A listener that a selector watches, but for a moment when no descriptor is left.

    It would stay ready then, and wake its thread without end.
    """

    def __init__(self, listener: socket.socket, selector: selectors.BaseSelector) -> None:
        self._listener, self._selector = listener, selector
        self._again = 0.0  # time.monotonic() at which it is watched again; 0 while it is
        selector.register(listener, selectors.EVENT_READ)

    def accept(self) -> socket.socket | None:
        """Return the next connection; None if none is waiting, or there is no descriptor for it."""
        try:
            return self._listener.accept()[0]
        except (BlockingIOError, ConnectionAbortedError):
            return None
        except OSError:
            self._selector.unregister(self._listener)
            self._again = time.monotonic() + PAUSE
            return None

    def patience(self, others: float | None) -> float | None:
        """Return how long to wait for events: as long as `others` may, or until it is watched."""
        if not self._again:
            return others
        left = self._again - time.monotonic()
        if left > 0:
            return left if others is None else min(left, others)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._again = 0.0
        return others


class Server:
    """Serves the connections to `listener` that `admit` returns; None or an OSError refuses one.

    Owns the listener from now on. `admit` gets a socket that does not block, and runs, as every
    connection does, in the server's thread. At most `limit` connections are open at a time.
    """

    def __init__(
        self,
        listener: socket.socket,
        admit: Callable[[socket.socket], Connection | None],
        *,
        limit: int,
        name: str,
    ) -> None:
        listener.settimeout(0)
        self._listener = listener
        self._admit = admit
        self._limit = limit
        self._watched: dict[Connection, socket.socket | None] = {}
        self._stopped, self._stop = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._listening = Listening(listener, self._selector)
        self._selector.register(self._stopped, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)

    def start(self) -> None:
        """Begin to accept connections."""
        self._thread.start()

    def close(self) -> None:
        """Close the listener and every connection; at once, whatever the clients do."""
        self._stop.close()
        self._thread.join(CLOSING)

    def _serve(self) -> None:
        try:
            while self._serve_ready():
                self._drop_overdue()
        finally:
            for connection in tuple(self._watched):
                self._drop(connection)
            self._selector.close()
            self._listener.close()
            self._stopped.close()

    def _serve_ready(self) -> bool:
        """Wait for events and serve them; False once the server is to stop."""
        ready = [key for key, _ in self._selector.select(self._patience())]
        if any(key.fileobj is self._stopped for key in ready):
            return False
        for key in ready:
            if key.fileobj is self._listener:
                self._accept_waiting()
            elif key.data in self._watched:  # else it was dropped just now, for another
                self._advance(key.data)
        return True

    def _patience(self) -> float | None:
        """Return the seconds until the first connection is overdue; None without connections."""
        first = min((connection.until for connection in self._watched), default=None)
        overdue = None if first is None else max(0.0, first - time.monotonic())
        return self._listening.patience(overdue)

    def _accept_waiting(self) -> None:
        """Accept a few: each may take the place of a connection that has to be served first."""
        for _ in range(self._limit // 8):
            client = self._listening.accept()
            if client is None:
                return
            client.settimeout(0)
            connection = None
            with suppress(OSError):
                connection = self._admit(client)
            if connection is None:
                client.close()
            else:
                self._add(connection)

    def _add(self, connection: Connection) -> None:
        if len(self._watched) >= self._limit:
            self._drop(min(self._watched, key=lambda other: other.precedence()))
        self._watched[connection] = None
        self._advance(connection)  # its first request has usually arrived with it

    def _advance(self, connection: Connection) -> None:
        try:
            with suppress(BlockingIOError):
                connection.advance()
            self._watch(connection)
        except OSError:
            self._drop(connection)

    def _watch(self, connection: Connection) -> None:
        """Have the selector wait for what this connection waits for, and for nothing else."""
        waits_on, events = connection.waits_for()
        watched = self._watched[connection]
        if watched is waits_on:
            self._selector.modify(waits_on, events, connection)
            return
        if watched is not None:
            self._selector.unregister(watched)
            self._watched[connection] = None
        self._selector.register(waits_on, events, connection)
        self._watched[connection] = waits_on

    def _drop_overdue(self) -> None:
        now = time.monotonic()
        for connection in [other for other in self._watched if other.until <= now]:
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        watched = self._watched.pop(connection)
        if watched is not None:
            self._selector.unregister(watched)
        connection.close()

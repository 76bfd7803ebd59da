"""A worker's end of the connection to its launcher: signals arrive, the status goes back."""

import fcntl
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from bootstrap.sandbox.supervision.exitstatus import ExitStatus
from bootstrap.sandbox.supervision.signals import CANCEL, Cancellation, cancellation
from bootstrap.service import protocol

_MOST = 4096  # bytes that are read at once


class Launcher:
    """The launcher of one job."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    @contextmanager
    def signals(self) -> Iterator[Cancellation]:
        """Take the launcher's signals as this process's own, until this closes.

        The kernel announces what arrives by SIGIO, whose handler runs in the main thread, as those
        of other signals do. No thread is needed, so the reaper can be forked meanwhile.
        """
        with cancellation() as received, self._announced(lambda: self._receive(received)):
            yield received

    @contextmanager
    def _announced(self, receive: Callable[[], object]) -> Iterator[None]:
        connection = self._connection
        connection.settimeout(0)
        signal.signal(signal.SIGIO, lambda *_: receive())
        flags = fcntl.fcntl(connection, fcntl.F_GETFL)
        fcntl.fcntl(connection, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(connection, fcntl.F_SETFL, flags | os.O_ASYNC)
        try:
            receive()  # what came before
            yield
        finally:
            signal.signal(signal.SIGIO, signal.SIG_IGN)
            fcntl.fcntl(connection, fcntl.F_SETFL, flags)

    def _receive(self, received: Cancellation) -> None:
        """Note every signal that has arrived, or that the launcher was killed."""
        numbers, gone = self._arrived()
        if gone:
            received.abandon()
        for number in numbers:
            if number in CANCEL:
                received.note(number)

    def _arrived(self) -> tuple[bytes, bool]:
        arrived = b""
        try:
            while data := self._connection.recv(_MOST):
                arrived += data
        except BlockingIOError:
            return arrived, False
        except OSError:
            return arrived, True
        return arrived, True

    def begun(self) -> None:
        """Report that the job begins. A launcher that is gone is noticed elsewhere."""
        self._send(protocol.BEGUN)

    def ended(self, status: ExitStatus) -> None:
        """Report the status, which is what the launcher ends with."""
        self._send(protocol.ended(status))

    def refused(self, status: int, text: str) -> None:
        """Report that there is no job, and why."""
        self._send(protocol.refused(status, text))

    def _send(self, message: bytes) -> None:
        with suppress(OSError):  # the launcher is gone
            self._connection.send(message)

"""A worker's end of the connection to its launcher: signals arrive, the status goes back."""

import fcntl
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from bootstrap.errors import AirlockError
from bootstrap.sandbox.supervision.exitstatus import ExitStatus
from bootstrap.sandbox.supervision.signals import CANCEL, Cancellation, cancellation
from bootstrap.service import protocol
from bootstrap.service.refusing import refusal

_MOST = 4096  # signals of one launcher


class Launcher:
    """The launcher of one job."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._received = 0  # bytes
        self._receiving = False
        self._more = False  # whether something may have arrived since it was last read
        self._gone = False

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
        """Note every signal that has arrived, or that the launcher was killed.

        What arrives meanwhile interrupts this, and is left to the call that it interrupts.
        """
        self._more = True
        if self._receiving or self._gone:
            return
        arrived: set[int] = set()
        while self._more and not self._gone:
            self._receiving, self._more = True, False
            try:
                arrived |= self._arrived()
            finally:
                self._receiving = False
        if self._gone:
            signal.signal(signal.SIGIO, signal.SIG_IGN)
            received.abandon()
        for number in arrived & set(CANCEL):
            received.note(number)

    def _arrived(self) -> set[int]:
        """Return the numbers that have arrived; note if the launcher is gone.

        One that sends without end, or descriptors, is no launcher, and its job ends as if it were
        gone. Descriptors stay where they are until this process ends: receiving them would close
        them here, which may take as long as the client likes, while this holds any lock.
        """
        arrived: set[int] = set()
        try:
            while count := self._without_descriptors():
                data = self._connection.recv(count)
                arrived.update(data)
                self._received += len(data)
                if self._received > _MOST:
                    break
        except BlockingIOError:
            return arrived
        except OSError:
            pass
        self._gone = True
        return arrived

    def _without_descriptors(self) -> int:
        """Return how many bytes have arrived; 0 if none will, or if descriptors come with them."""
        seen, _, flags, _ = self._connection.recvmsg(_MOST, 0, socket.MSG_PEEK)
        return 0 if flags & socket.MSG_CTRUNC else len(seen)

    def begun(self) -> None:
        """Report that the job begins. A launcher that is gone is noticed elsewhere."""
        self._send(protocol.BEGUN)

    def ended(self, status: ExitStatus) -> None:
        """Report the status, which is what the launcher ends with."""
        self._send(protocol.ended(status))

    def refused(self, why: AirlockError) -> None:
        """Report that there is no job, and why."""
        self._send(refusal(why))

    def _send(self, message: bytes) -> None:
        with suppress(OSError):  # the launcher is gone
            self._connection.send(message)

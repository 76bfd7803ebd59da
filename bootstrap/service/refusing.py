"""Answers connections that get no worker, in a process whose only work this is.

A connection may bring descriptors that nobody has received. Whoever closes it last closes them
too, and that can block: a TCP socket may linger. The service must not be that process.
"""

import os
import signal
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from bootstrap.errors import AirlockError
from bootstrap.log import JobLog
from bootstrap.service import children, protocol

CLOSING = 1.0  # seconds after which a process that still closes a connection is replaced
NAME = Path("/proc/self/comm")
_GO = b"closed"


def refusal(why: AirlockError) -> bytes:
    """Return the message that has the launcher print why there is no job, as in a job's log."""
    lines: list[bytes] = []
    JobLog(lines.append).failure(why)
    return protocol.refused(why.exit_code, b"".join(lines).decode())


class Refuser:
    """Passes connections to the process, and starts another when that one has ended."""

    def __init__(self) -> None:
        self.pid = 0
        self.waits = False  # whether the process has to learn that a connection is closed here
        self._ours: socket.socket | None = None

    def refuse(self, connection: socket.socket, answer: bytes) -> bool:
        """Have a connection answered and closed; False if that has to be tried again later."""
        self.settle()
        ours = self._ours or self._started()
        if ours is None or self.waits:
            return False
        try:
            socket.send_fds(ours, [answer], [connection.fileno()])
        except BlockingIOError:
            return False  # it is not as fast as those who connect
        except OSError:
            self._end()
            return False
        connection.close()  # the process keeps it until the next message
        self.waits = True
        self.settle()
        return True

    def settle(self) -> None:
        """Let the process close the last connection, if it has not been let yet."""
        if not self.waits or self._ours is None:
            return
        try:
            self._ours.send(_GO)
            self.waits = False
        except BlockingIOError:
            return
        except OSError:
            self._end()

    def ended(self, pid: int) -> None:
        """Take note that a child of the service has ended."""
        if pid == self.pid:
            self.pid = 0  # its number may be another process's from now on
            self._end()

    def _started(self) -> socket.socket | None:
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(0)
        try:
            self.pid = children.fork(lambda: _serve(its), [its.fileno()])
        except OSError:
            ours.close()
            return None
        finally:
            its.close()
        self._ours = ours
        return ours

    def _end(self) -> None:
        """Kill the process: what it has not closed is closed by its end, which does not linger."""
        if self._ours is None:
            return
        self._ours.close()
        self._ours = None
        self.waits = False
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
        self.pid = 0


def _serve(requests: socket.socket) -> None:
    NAME.write_text("airlock:refuse")
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    while _refuse_one(requests):
        pass


def _refuse_one(requests: socket.socket) -> bool:
    answer, descriptors, _, _ = socket.recv_fds(requests, 1 << 17, 1)
    if not answer or requests.recv(len(_GO)) != _GO:
        return False
    signal.setitimer(signal.ITIMER_REAL, CLOSING)  # its default effect ends this process
    for descriptor in _connections(descriptors):
        with suppress(OSError):
            os.write(descriptor, answer)
        os.close(descriptor)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return True


def _connections(descriptors: Iterable[int]) -> Iterable[int]:
    for descriptor in descriptors:
        os.set_blocking(descriptor, False)
        yield descriptor

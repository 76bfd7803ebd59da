"""Answers connections that get no worker, in a process whose only work this is.

A connection may bring descriptors that nobody has received. Whoever closes it last closes them
too, and that can block: a TCP socket may linger. The service must not be that process.
"""

import os
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from bootstrap.errors import AirlockError
from bootstrap.log import JobLog
from bootstrap.service import children, protocol
from bootstrap.service.listener import waiting

CLOSING = 1.0  # seconds after which a process that still closes a connection is replaced
FINISHING = 3.0  # seconds: as long as a process that CLOSING ends, and another one
_AGAIN = 0.05
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
        self._unanswered: deque[tuple[socket.socket, bytes]] = deque()
        self._unsettled = False  # the process has to learn that a connection is closed here
        self._ours: socket.socket | None = None

    @property
    def waits(self) -> bool:
        """Whether a connection is still to be passed on: `proceed` has to be called again."""
        return self._unsettled or bool(self._unanswered)

    def refuse(self, connection: socket.socket, answer: bytes) -> None:
        """Have a connection answered and closed, after those before it."""
        self._unanswered.append((connection, answer))

    def proceed(self) -> None:
        """Pass on as many connections as the process takes at this moment."""
        self._settle()
        while self._unanswered and self._pass_on(*self._unanswered[0]):
            self._unanswered.popleft()

    def finish(self, patience: float = FINISHING) -> None:
        """Pass on all of them, because this process ends or is replaced. Waits `patience` at most.

        The process answers what it was passed, also after the end of this one.
        """
        deadline = time.monotonic() + patience
        self.proceed()
        while self.waits and (left := deadline - time.monotonic()) > 0:
            space = select.poll()
            if self._ours:
                space.register(self._ours, select.POLLOUT)
            space.poll(min(left, _AGAIN) * 1000)
            self.proceed()

    def _pass_on(self, connection: socket.socket, answer: bytes) -> bool:
        ours = self._ours or self._started()
        if ours is None or self._unsettled:
            return False
        try:
            socket.send_fds(ours, [answer], [connection.fileno()])
        except BlockingIOError:
            return False  # it is not as fast as those who connect
        except OSError:
            self._end()
            return False
        connection.close()  # the process keeps it until the next message
        self._unsettled = True
        self._settle()
        return True

    def _settle(self) -> None:
        """Let the process close the last connection, if it has not been let yet."""
        if not self._unsettled or self._ours is None:
            return
        try:
            self._ours.send(_GO)
            self._unsettled = False
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
        self._unsettled = False
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
        self.pid = 0


def refuse_all(listening: socket.socket, why: AirlockError) -> None:
    """Answer all who wait for a service that cannot start, so that they need not wait for it."""
    refuser = Refuser()
    listening.settimeout(0)
    for connection in waiting(listening):
        refuser.refuse(connection, refusal(why))
    refuser.finish()


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

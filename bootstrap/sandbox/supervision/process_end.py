"""How a container's first process ended, from the kernel: neither Docker nor the job has a part.

A process learns the wait status of its own children only, and the container is no child of ours.
The kernel reports it in two other ways (docs/aws.md#how-a-process-ended): the process's pidfd has
it since Linux 6.15, and before that the process connector, which reports the end of every process
of the host and works in the host's own network namespace only.
"""

import fcntl
import os
import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from bootstrap.sandbox import socket_filter

_POLL = 0.01  # seconds; the pidfd does not report that the container's shim has reaped the process

# <linux/pidfd.h>: struct pidfd_info in its second version, whose first 64 bytes are the first one
_INFO = struct.Struct("=Q52xiII")
_EXIT, _COREDUMP = 1 << 3, 1 << 4
_GET_INFO = 3 << 30 | _INFO.size << 16 | 0xFF << 8 | 11

# <linux/cn_proc.h>, <linux/connector.h>
_NETLINK_CONNECTOR, _PROC, _DONE = 11, 1, 3
_LISTEN, _IGNORE = 1, 2
_REPLY, _EXITED = 0, 0x80000000
_HEADERS = struct.Struct("=IHHII IIIIHH")  # nlmsghdr, cn_msg
_WHAT, _PID = _HEADERS.size, _HEADERS.size + 16
_EVENT = struct.Struct("=I12xIII")  # what, process_pid or a reply's error, process_tgid, exit_code

_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K


class ProcessEnd:
    """Watches one process for its wait status. Open it while the process runs."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self._pid = pid
        self._pidfd = pidfd
        self._events = None if _pidfd_reports(pidfd) else _subscribed(pid)
        self._waited: int | None = None  # the connector reports it only once

    def status(self, patience: float) -> int | None:
        """Return the exit status, 128 + n if signal n ended the process; None if not known.

        Call once the process has ended; waits up to `patience` seconds for the kernel's report.
        """
        deadline = time.monotonic() + patience
        while True:
            waited = self._waited = self._found()
            if waited is not None:
                return os.WEXITSTATUS(waited) if os.WIFEXITED(waited) else 128 + os.WTERMSIG(waited)
            nobody_will = self._events is None and not _info(self._pidfd)[0]
            if nobody_will or time.monotonic() >= deadline:
                return None
            self._wait()

    def _wait(self) -> None:
        """Wait a moment for the kernel's report. By poll: select ends at descriptor 1023."""
        reports = select.poll()
        if self._events:
            reports.register(self._events, select.POLLIN)
        reports.poll(_POLL * 1000)

    def _found(self) -> int | None:
        """Return the wait status, as far as it has been reported by now."""
        if self._waited is not None:
            return self._waited
        waited = _from_pidfd(self._pidfd)
        if waited is None and self._events is not None:
            return _from_events(self._events, self._pid)
        return waited

    def close(self) -> None:
        """Unsubscribe."""
        if self._events is not None:
            with suppress(OSError):  # the kernel counts listeners, and a closed socket stays one
                self._events.send(_request(_IGNORE))
            self._events.close()


def _info(pidfd: int) -> tuple[int, int]:
    """Return the mask of what the kernel filled in, and the wait status."""
    buffer = bytearray(_INFO.pack(_EXIT | _COREDUMP, 0, 0, 0))
    try:
        fcntl.ioctl(pidfd, _GET_INFO, buffer)
    except OSError:  # an older kernel
        return 0, 0
    mask, status, *_ = _INFO.unpack(buffer)
    return mask, status


def _pidfd_reports(pidfd: int) -> bool:
    """Return whether the pidfd will have the status.

    Nothing says so while the process runs, but what Linux 6.16 added does: 6.15 counts as older.
    """
    return bool(_info(pidfd)[0] & _COREDUMP)


def _from_pidfd(pidfd: int) -> int | None:
    mask, status = _info(pidfd)
    return status if mask & _EXIT else None


def _subscribed(pid: int) -> socket.socket | None:
    """Return a socket that receives the end of `pid` and nothing else, or None if there is none."""
    try:
        events = socket.socket(
            socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, _NETLINK_CONNECTOR
        )
    except OSError:  # no connector in this kernel
        return None
    try:
        _let_through(events, pid, replies=True)
        events.bind((0, _PROC))
        events.setblocking(False)  # noqa: FBT003 - its only spelling
        events.send(_request(_LISTEN))
        if not _accepted(events):
            raise OSError("not in the first pid namespace")  # noqa: TRY301
        # Replies to every other listener come too: from now on they could fill the socket.
        _let_through(events, pid, replies=False)
    except OSError:
        events.close()
        return None
    return events


def _request(operation: int) -> bytes:
    size = _HEADERS.size + 4
    head = _HEADERS.pack(size, _DONE, 0, 0, 0, _PROC, _PROC, 0, 0, 4, 0)
    return head + struct.pack("=I", operation)


def _accepted(events: socket.socket) -> bool:
    """Read the kernel's reply: it is there when `send` returns."""
    return any(event.what == _REPLY and event.pid == 0 for event in _received(events))


def _from_events(events: socket.socket, pid: int) -> int | None:
    for event in _received(events):
        if event.what == _EXITED and event.pid == pid:
            return event.status
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Event:
    what: int
    pid: int  # of a reply: its error
    status: int


def _received(events: socket.socket) -> Iterator[_Event]:
    """Yield what the kernel, and nobody else, has sent so far."""
    while True:
        try:
            message, (sender, _) = events.recvfrom(256)
        except OSError:  # nothing more
            return
        if sender == 0 and len(message) >= _HEADERS.size + _EVENT.size:
            what, pid, _, status = _EVENT.unpack_from(message, _HEADERS.size)
            yield _Event(what=what, pid=pid, status=status)


def _let_through(events: socket.socket, pid: int, *, replies: bool) -> None:
    """Have the kernel drop everything else, so that no load of the host overflows the socket."""
    program = [
        (_LOAD, 0, 0, _WHAT),
        (_IF_EQUAL, 3 if replies else 4, 0, _loaded(_REPLY)),
        (_IF_EQUAL, 0, 3, _loaded(_EXITED)),
        (_LOAD, 0, 0, _PID),
        (_IF_EQUAL, 0, 1, _loaded(pid)),
        (_RETURN, 0, 0, 0xFFFFFFFF),
        (_RETURN, 0, 0, 0),
    ]
    socket_filter.attach(events, program)


def _loaded(value: int) -> int:
    """Return `value` as a filter loads it: in this host's order of bytes, read as big-endian."""
    return int.from_bytes(struct.pack("=I", value), "big")

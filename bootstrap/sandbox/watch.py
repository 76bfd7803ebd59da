"""Notice when a container ends, and when the ruleset changes while it runs."""

import os
import signal
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from signal import Signals

from bootstrap.errors import CannotStart

NETLINK_NETFILTER = 12
NFNLGRP_NFTABLES = 7
_SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
# Map elements come and go with every job, and every transaction ends with a generation message.
_HARMLESS = {12, 14, 15}  # NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM, NFT_MSG_NEWGEN
_HEADER = struct.Struct("=IHHII")


def changes() -> socket.socket:
    """Return a socket that becomes readable on every change of nftables in this namespace."""
    listener = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER
    )
    listener.bind((0, 1 << (NFNLGRP_NFTABLES - 1)))
    listener.setblocking(False)  # noqa: FBT003 - its only spelling
    return listener


def may_have_changed(listener: socket.socket) -> bool:
    """Drain the socket; True if a message reports more than map elements, or was lost."""
    while True:
        try:
            message = listener.recv(1 << 16)
        except BlockingIOError:
            return False
        except OSError:  # ENOBUFS: messages were lost
            return True
        if any(kind not in _HARMLESS for kind in _kinds(message)):
            return True


def _kinds(message: bytes) -> list[int]:
    kinds = []
    offset = 0
    while offset + _HEADER.size <= len(message):
        length, kind, *_ = _HEADER.unpack_from(message, offset)
        if length < _HEADER.size:
            return [-1]
        if kind >> 8 == _SUBSYSTEM:
            kinds.append(kind & 0xFF)
        offset += (length + 3) & ~3
    return kinds


def wait_for_exit(pid: int) -> int:
    """Return a descriptor that becomes readable when process `pid` ends, without the engine.

    Raises CannotStart if the process has ended already.
    """
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError as ended:
        raise CannotStart(
            "the container ended before it could be watched",
            hint="Does the image have /bin/sh? Try `docker run --rm IMAGE /bin/sh -c true`.",
        ) from ended


class Guard:
    """Watches one container: its end, and its ruleset.

    `listener` is the socket of `changes`, opened before the ruleset was read, so that no change is
    missed; this closes it. `unchanged` asks the kernel. Raises CannotStart if `pid` has ended.
    """

    def __init__(self, pid: int, listener: socket.socket, unchanged: Callable[[], bool]) -> None:
        self.process = wait_for_exit(pid)
        self.changes = listener
        self._unchanged = unchanged

    def close(self) -> None:
        """Close both descriptors."""
        os.close(self.process)
        self.changes.close()

    def breached(self) -> bool:
        """Read `changes`; if the ruleset differs, kill the container and return True."""
        if not may_have_changed(self.changes) or self._unchanged():
            return False
        self.kill()
        return True

    def kill(self) -> None:
        """Kill the first process of the PID namespace; the kernel ends all the others."""
        with suppress(ProcessLookupError):  # it has ended
            signal.pidfd_send_signal(self.process, Signals.SIGKILL)

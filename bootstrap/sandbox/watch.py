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
    """Return a socket that becomes readable whenever anybody changes an nftables ruleset."""
    listener = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER
    )
    listener.bind((0, 1 << (NFNLGRP_NFTABLES - 1)))
    listener.setblocking(False)  # noqa: FBT003 - its only spelling
    return listener


def worth_a_look(listener: socket.socket) -> bool:
    """Drain the socket; True if anything but map elements changed, or if we may have missed it."""
    while True:
        try:
            message = listener.recv(1 << 16)
        except BlockingIOError:
            return False
        except OSError:  # ENOBUFS: more than fits, so we cannot know
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
    """Return a descriptor that becomes readable when process `pid` ends, engine or no engine.

    Raises CannotStart if it has ended already.
    """
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError as ended:
        raise CannotStart(
            "the container ended before it could be watched",
            hint="Does the image hold /bin/sh? `docker run --rm IMAGE /bin/sh` tells.",
        ) from ended


class Guard:
    """Watches over one container: its end, and its ruleset.

    `listener` is the socket of `changes`, opened before the ruleset was read back, so that no
    change falls between the two; it is closed with this. `unchanged` asks the kernel.
    """

    def __init__(self, pid: int, listener: socket.socket, unchanged: Callable[[], bool]) -> None:
        self.process = wait_for_exit(pid)
        self.changes = listener
        self._unchanged = unchanged

    def close(self) -> None:
        """Free what this holds."""
        os.close(self.process)
        self.changes.close()

    def breached(self) -> bool:
        """Look at what has changed; kill the container if it was the ruleset, and say so."""
        if not worth_a_look(self.changes) or self._unchanged():
            return False
        self.kill()
        return True

    def kill(self) -> None:
        """Kill the first process of the PID namespace; the kernel ends all the others."""
        with suppress(ProcessLookupError):  # it was faster
            signal.pidfd_send_signal(self.process, Signals.SIGKILL)

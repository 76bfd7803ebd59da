"""Notice when the ruleset changes while a job runs."""

import os
import socket
import struct

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
    """Return a descriptor that becomes readable when process `pid` ends, engine or no engine."""
    return os.pidfd_open(pid)

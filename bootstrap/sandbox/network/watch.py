"""What the kernel reports (netlink): changes of nftables, and removed routing rules."""

import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress

from bootstrap.errors import CannotStart
from bootstrap.sandbox import socket_filter
from bootstrap.sandbox.network import netlink

NFNLGRP_NFTABLES = 7
RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE = 8, 19
RTM_DELRULE = 33
_SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
# Map elements come and go with every job, and every transaction ends with a generation message.
_HARMLESS = (12, 14, 15)  # NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM, NFT_MSG_NEWGEN
_INVALID = -1

# <linux/bpf_common.h>: the instructions of the filter.
_LOAD_BYTE, _LOAD_HALF, _LOAD_PACKET_LENGTH, _LOAD_INDEX = 0x30, 0x28, 0x80, 0x61
_STORE, _TO_INDEX, _SHIFT_LEFT, _ADD_INDEX = 0x02, 0x07, 0x64, 0x0C
_IS, _IS_INDEX, _RETURN = 0x15, 0x1D, 0x06


def changes() -> socket.socket:
    """Return a socket that becomes readable on every change of nftables in this namespace.

    Unless it is harmless and the kernel can tell: with many jobs, each change of an element would
    wake up all who watch.
    """
    listener = _subscribed(netlink.NETFILTER, NFNLGRP_NFTABLES)
    with suppress(OSError):  # then what is harmless is left out when it is read
        _leave_out_harmless(listener)
    return listener


def _leave_out_harmless(listener: socket.socket) -> None:
    """Have the kernel drop each packet that is one harmless message (BPF, socket(7)).

    A packet with more messages is not dropped: its first one is all that the filter looks at.
    """
    if sys.byteorder != "little":  # as the filter reads length and kind
        return
    kinds = [struct.unpack(">H", struct.pack("=H", _SUBSYSTEM << 8 | one))[0] for one in _HARMLESS]
    program = [
        (_LOAD_BYTE, 0, 0, 0),
        (_STORE, 0, 0, 0),
        (_LOAD_BYTE, 0, 0, 1),
        (_SHIFT_LEFT, 0, 0, 8),
        (_LOAD_INDEX, 0, 0, 0),
        (_ADD_INDEX, 0, 0, 0),
        (_TO_INDEX, 0, 0, 0),
        (_LOAD_PACKET_LENGTH, 0, 0, 0),
        (_IS_INDEX, 0, 1 + len(kinds), 0),  # else it has more than one message
        (_LOAD_HALF, 0, 0, 4),
        *((_IS, len(kinds) - number, 0, kind) for number, kind in enumerate(kinds)),
        (_RETURN, 0, 0, 0xFFFFFFFF),
        (_RETURN, 0, 0, 0),
    ]
    socket_filter.attach(listener, program)


def rule_changes() -> socket.socket:
    """Return a socket that becomes readable on every change of routing rules (`ip rule`)."""
    return _subscribed(netlink.ROUTE, RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE)


def _subscribed(protocol: int, *groups: int) -> socket.socket:
    listener = netlink.connected(protocol, timeout=0)
    listener.bind((0, sum(1 << (group - 1) for group in groups)))
    return listener


def may_have_changed(listener: socket.socket) -> bool:
    """Drain the socket of `changes`; True if more than map elements changed, or one was lost."""
    kinds = list(_drained(listener))
    return any(
        kind == _INVALID or (kind >> 8 == _SUBSYSTEM and kind & 0xFF not in _HARMLESS)
        for kind in kinds
    )


def may_lack_rule(listener: socket.socket) -> bool:
    """Drain the socket of `rule_changes`; True if a rule was removed, or a message was lost."""
    kinds = list(_drained(listener))
    return _INVALID in kinds or RTM_DELRULE in kinds


def _drained(listener: socket.socket) -> Iterator[int]:
    """Yield the kind of every message that has come; _INVALID for those that were lost."""
    while True:
        try:
            yield from netlink.kinds(listener.recv(1 << 16))
        except BlockingIOError:
            return
        except OSError:  # ENOBUFS: messages were lost; EBADMSG: one is malformed
            yield _INVALID
            return


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

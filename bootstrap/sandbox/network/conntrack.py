"""Delete the tracked connections that an address has opened (ctnetlink).

A job's connections outlive it: the kernel tracks an idle TCP connection for five days, and a UDP
flow for as long as the peer keeps sending. The next container at the address would receive that.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address

from bootstrap.errors import CannotStart

PATIENCE = 5.0  # seconds for one answer from the kernel
ROUNDS = 5  # of two, the first deletes, the second finds nothing left
BATCH = 64  # requests at once: their answers fit into the socket's buffer

NETLINK_NETFILTER = 12
_GET, _DELETE = 0x0101, 0x0102  # NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_{GET,DELETE}
_REQUEST, _ACKNOWLEDGE, _DUMP = 0x1, 0x4, 0x300  # NLM_F_*
_ERROR, _DONE = 2, 3  # NLMSG_*
_TUPLE_ORIG, _ID, _ZONE, _FILTER = 1, 12, 18, 25  # CTA_*
_NESTED = 0x8000
_HEADER = struct.Struct("=IHHII")
_FAMILY = struct.pack("=BBH", socket.AF_INET, 0, 0)  # struct nfgenmsg
_ERRNO = struct.Struct("=i")


def forget(address: str) -> int:
    """Delete every tracked connection whose original source is `address`; return how many.

    Connections to the address stay: airlock.nft lets only answers through. Raises CannotStart if
    the kernel refuses, or if new ones appear as fast as they are deleted.
    """
    forgotten = 0
    try:
        with socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER
        ) as kernel:
            kernel.settimeout(PATIENCE)
            for _ in range(ROUNDS):
                entries = list(_opened_by(kernel, address))
                if not entries:
                    return forgotten
                _delete(kernel, entries)
                forgotten += len(entries)
    except OSError as refused:
        raise _failed(address, str(refused)) from refused
    raise _failed(address, f"{forgotten} were deleted, and new ones keep appearing")


def _opened_by(kernel: socket.socket, address: str) -> Iterator[bytes]:
    """Yield the attributes that identify each connection opened by `address`, for deletion.

    The kernel filters (since 5.8; an older one ignores that and lists all), because the table may
    have several hundred thousand entries.
    """
    source = IPv4Address(address).packed
    original = _attribute(1 | _NESTED, _attribute(1, source))  # CTA_TUPLE_IP: CTA_IP_V4_SRC
    flags = _attribute(1, struct.pack("=I", 1)) + _attribute(2, struct.pack("=I", 0))
    query = _attribute(_TUPLE_ORIG | _NESTED, original) + _attribute(_FILTER | _NESTED, flags)
    kernel.send(_message(_GET, _REQUEST | _DUMP, query))
    while True:
        for kind, payload in _messages(kernel.recv(1 << 16)):
            if kind == _DONE:
                return
            if kind == _ERROR:
                _raise(payload)
            entry = dict(_attributes(payload[len(_FAMILY) :]))
            if _source(entry) == source:
                yield b"".join(
                    _attribute(name | (_NESTED if name == _TUPLE_ORIG else 0), entry[name])
                    for name in (_TUPLE_ORIG, _ID, _ZONE)
                    if name in entry
                )


def _source(entry: dict[int, bytes]) -> bytes | None:
    inside = dict(_attributes(entry.get(_TUPLE_ORIG, b"")))
    return dict(_attributes(inside.get(1, b""))).get(1)


def _delete(kernel: socket.socket, entries: list[bytes]) -> None:
    """Delete these, except for those that have ended meanwhile."""
    for first in range(0, len(entries), BATCH):
        batch = entries[first : first + BATCH]
        kernel.send(b"".join(_message(_DELETE, _REQUEST | _ACKNOWLEDGE, one) for one in batch))
        left = len(batch)
        while left:
            for kind, payload in _messages(kernel.recv(1 << 16)):
                if kind == _ERROR:  # an acknowledgement is an error of number 0
                    left -= 1
                    _raise(payload, but=errno.ENOENT)


def _raise(payload: bytes, *, but: int = 0) -> None:
    number = -_ERRNO.unpack_from(payload)[0]
    if number not in (0, but):
        raise OSError(number, os.strerror(number))


def _message(kind: int, flags: int, attributes: bytes) -> bytes:
    body = _FAMILY + attributes
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, 0, 0) + body


def _messages(datagram: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + _HEADER.size <= len(datagram):
        length, kind, *_ = _HEADER.unpack_from(datagram, offset)
        if length < _HEADER.size:
            raise OSError(errno.EBADMSG, os.strerror(errno.EBADMSG))
        yield kind, datagram[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def _attribute(name: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), name) + value + b"\0" * (-len(value) % 4)


def _attributes(payload: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + 4 <= len(payload):
        length, name = struct.unpack_from("=HH", payload, offset)
        if length < 4:
            raise OSError(errno.EBADMSG, os.strerror(errno.EBADMSG))
        yield name & 0x3FFF, payload[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def _failed(address: str, why: str) -> CannotStart:
    return CannotStart(
        f"the tracked connections of earlier holders of {address} could not be deleted: {why}",
        hint="Airlock needs root and a kernel with ctnetlink (CONFIG_NF_CT_NETLINK): try "
        "`modprobe nf_conntrack_netlink`.",
    )

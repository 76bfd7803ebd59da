"""Requests to the kernel and its answers (netlink(7)), for all modules that talk to it directly.

A program such as `ip` or `nft` costs milliseconds of processor time per question, this costs
microseconds.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from bootstrap.errors import CannotStart

PATIENCE = 5.0  # seconds for one answer from the kernel
ROUNDS = 10  # for a listing during which what is listed changes

ROUTE, NETFILTER = 0, 12  # NETLINK_*
REQUEST, ACKNOWLEDGE, EXCLUSIVE, DUMP, CREATE = 0x1, 0x4, 0x200, 0x300, 0x400  # NLM_F_*
NESTED = 0x8000  # NLA_F_NESTED
_INTERRUPTED = 0x10  # NLM_F_DUMP_INTR
_ERROR, _DONE = 2, 3  # NLMSG_*
_HEADER = struct.Struct("=IHHII")
_ERRNO = struct.Struct("=i")


def connected(protocol: int, timeout: float = PATIENCE) -> socket.socket:
    """Return a socket to the kernel, in the network namespace of the calling thread."""
    kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    kernel.settimeout(timeout)
    return kernel


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Raise CannotStart for an OSError; `what` could not be done."""
    try:
        yield
    except OSError as refused:
        raise CannotStart(
            f"the kernel did not {what}: {refused.strerror or refused}",
            hint="Is Airlock running as root, on the host and not in a container?",
        ) from refused


def listed(kernel: socket.socket, kind: int, body: bytes) -> list[tuple[int, bytes]]:
    """Return kind and payload of each message of a listing. Raises OSError.

    It is repeated if something changed meanwhile, because entries may be missing then.
    """
    for _ in range(ROUNDS):
        kernel.send(message(kind, REQUEST | DUMP, body))
        found: list[tuple[int, bytes]] = []
        consistent = True
        for kind_of, flags, payload in _until_end(kernel):
            consistent &= not flags & _INTERRUPTED
            found.append((kind_of, payload))
        if consistent:
            return found
    raise OSError(errno.EINTR, os.strerror(errno.EINTR))


def asked(kernel: socket.socket, kind: int, body: bytes, flags: int = 0) -> list[tuple[int, bytes]]:
    """Make one request; return kind and payload of each answer. Raises OSError if it is refused."""
    kernel.send(message(kind, REQUEST | ACKNOWLEDGE | flags, body))
    return [(kind_of, payload) for kind_of, _, payload in _until_end(kernel)]


def acknowledged(kernel: socket.socket, number: int, *, but: int = 0) -> None:
    """Wait until `number` requests were acknowledged. Raises OSError for one that was refused.

    An error of the number `but` counts as an acknowledgement.
    """
    while number:
        for kind, _, payload in _messages(kernel.recv(1 << 16)):
            if kind == _ERROR:  # an acknowledgement is an error of number 0
                _raise(payload, but=but)
                number -= 1


def _until_end(kernel: socket.socket) -> Iterator[tuple[int, int, bytes]]:
    while True:
        for kind, flags, payload in _messages(kernel.recv(1 << 16)):
            if kind in (_ERROR, _DONE):
                _raise(payload)
                return
            yield kind, flags, payload


def _raise(payload: bytes, *, but: int = 0) -> None:
    number = -_ERRNO.unpack_from(payload)[0] if len(payload) >= _ERRNO.size else 0
    if number not in (0, but):
        raise OSError(number, os.strerror(number))


def message(kind: int, flags: int, body: bytes) -> bytes:
    """Return one message with its header."""
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, 0, 0) + body


def kinds(datagram: bytes) -> Iterator[int]:
    """Yield the kind of each message. Raises OSError at one whose length is impossible."""
    return (kind for kind, _, _ in _messages(datagram))


def _messages(datagram: bytes) -> Iterator[tuple[int, int, bytes]]:
    offset = 0
    while offset + _HEADER.size <= len(datagram):
        length, kind, flags, *_ = _HEADER.unpack_from(datagram, offset)
        if not _HEADER.size <= length <= len(datagram) - offset:
            raise OSError(errno.EBADMSG, os.strerror(errno.EBADMSG))
        yield kind, flags, datagram[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def attribute(name: int, value: bytes) -> bytes:
    """Return one attribute, padded."""
    return struct.pack("=HH", 4 + len(value), name) + value + b"\0" * (-len(value) % 4)


def nested(name: int, *inside: bytes) -> bytes:
    """Return an attribute whose value is attributes."""
    return attribute(name | NESTED, b"".join(inside))


def attributes(payload: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield name and value of each attribute. Raises OSError at one of an impossible length."""
    offset = 0
    while offset + 4 <= len(payload):
        length, name = struct.unpack_from("=HH", payload, offset)
        if not 4 <= length <= len(payload) - offset:
            raise OSError(errno.EBADMSG, os.strerror(errno.EBADMSG))
        yield name & 0x3FFF, payload[offset + 4 : offset + length]
        offset += (length + 3) & ~3

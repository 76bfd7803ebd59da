"""This host's resolvers, asked for a job from outside of its network namespace."""

import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bootstrap.policy.egress import EgressGrant
from bootstrap.sandbox.egress import messages
from bootstrap.sandbox.egress.messages import Found, UselessError

PATIENCE = 1.5  # seconds for one answer
ROUNDS = 2  # through all resolvers
TOGETHER = 4.5  # seconds: programs wait 5 s for an answer, and then ask again
PORT = 53
_MOST = 65535  # bytes of a message


def ask(servers: Sequence[str], name: str, grant: EgressGrant) -> Found:
    """Return what the first resolver that answers has for a name. Raises UselessError."""
    last: Exception = UselessError("this host has no resolver for jobs")
    for server, deadline in _turns(servers):
        try:
            return _ask(server, name, grant, deadline)
        except (OSError, UselessError) as useless:
            last = useless
    raise UselessError(f"no resolver of this host answered: {last}") from last


def relay(servers: Sequence[str], query: bytes, *, stream: bool) -> bytes | None:
    """Return what a resolver answers to a query as it is; None if none does. `stream` is TCP."""
    for server, deadline in _turns(servers):
        try:
            found = _over_tcp(server, query, deadline) if stream else _over_udp(
                server, query, deadline
            )  # fmt: skip
        except OSError:
            continue
        return found
    return None


def _turns(servers: Sequence[str]) -> Iterator[tuple[str, float]]:
    """Yield each resolver in its turn, with the time.monotonic() until which it is waited for."""
    end = time.monotonic() + TOGETHER
    for server in ROUNDS * tuple(servers):
        now = time.monotonic()
        if now >= end:
            return
        yield server, min(now + PATIENCE, end)


def _ask(server: str, name: str, grant: EgressGrant, deadline: float) -> Found:
    """The number and the port are drawn anew for each try, so nobody else answers in time."""
    number = int.from_bytes(os.urandom(2), "big")
    question = messages.question_for(name, number)
    wire = _over_udp(server, question, deadline)
    if messages.is_truncated(wire):
        wire = _over_tcp(server, question, deadline)
    return messages.found_in(wire, name, number, grant)


def _over_udp(server: str, question: bytes, deadline: float) -> bytes:
    """Return the first datagram with the question's number, from the port that was asked."""
    with _connected(server, socket.SOCK_DGRAM, deadline) as channel:
        channel.send(question)
        while True:
            channel.settimeout(_left(deadline))
            found = channel.recv(_MOST)
            if found[:2] == question[:2]:
                return found


def _over_tcp(server: str, question: bytes, deadline: float) -> bytes:
    with _connected(server, socket.SOCK_STREAM, deadline) as channel:
        channel.sendall(framed(question))
        return message_of(channel, deadline)


@contextmanager
def _connected(server: str, kind: int, deadline: float) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, kind | socket.SOCK_CLOEXEC) as channel:
        channel.settimeout(_left(deadline))
        channel.connect((server, PORT))
        yield channel


def framed(message: bytes) -> bytes:
    """Return a message with its length, as a stream has it (RFC 1035, 4.2.2)."""
    return len(message).to_bytes(2, "big") + message


def message_of(stream: socket.socket, deadline: float) -> bytes:
    """Return the next message of a stream. Raises OSError if there is none in time."""
    return _exactly(stream, int.from_bytes(_exactly(stream, 2, deadline), "big"), deadline)


def _exactly(stream: socket.socket, size: int, deadline: float) -> bytes:
    found = b""
    while len(found) < size:
        stream.settimeout(_left(deadline))
        chunk = stream.recv(size - len(found))
        if not chunk:
            raise ConnectionAbortedError
        found += chunk
    return found


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left

"""Receives one request from a launcher, in the worker that it is for.

The service itself reads nothing from a client and never has a client's descriptor: closing one may
block (a socket that lingers, a file of a filesystem that the client serves).
"""

import os
import socket
import stat
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from bootstrap.errors import CannotStart, WrongConfiguration
from bootstrap.service import protocol

PATIENCE = 5.0  # seconds for a whole request
_MOST_DESCRIPTORS = 32  # of one message; the kernel closes what is beyond


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What a launcher passes: its command, environment and descriptors."""

    command: str
    env: Mapping[str, str]
    stdio: tuple[int, int, int]


def receive(connection: socket.socket, patience: float = PATIENCE) -> Request:
    """Return the request. The working directory is not used, and closed.

    Raises an AirlockError if it is malformed or late; what was received is closed by then.
    """
    deadline = time.monotonic() + patience
    descriptors: list[int] = []
    try:
        header = _header(connection, deadline, descriptors)
        sizes = protocol.sizes(header)
        protocol.check_descriptors(len(descriptors))
        _check_streams(descriptors[:3])
        command = protocol.command(_exactly(connection, sizes.arguments, deadline))
        env = protocol.environment(_exactly(connection, sizes.environment, deadline))
    except BaseException:
        close(descriptors)
        raise
    stdin, stdout, stderr, directory = descriptors
    close([directory])
    return Request(command=command, env=env, stdio=(stdin, stdout, stderr))


def close(descriptors: list[int]) -> None:
    """Close descriptors of a client, whatever that reports."""
    for descriptor in descriptors:
        with suppress(OSError):
            os.close(descriptor)


def _header(connection: socket.socket, deadline: float, descriptors: list[int]) -> bytes:
    _wait(connection, deadline)
    try:
        # The descriptors come with the first byte. They are closed by every exec.
        space = socket.CMSG_SPACE(_MOST_DESCRIPTORS * 4)
        data, messages, flags, _ = connection.recvmsg(
            protocol.HEADER.size, space, socket.MSG_CMSG_CLOEXEC
        )
    except OSError as failed:
        raise _late(str(failed)) from failed
    for level, kind, payload in messages:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors += memoryview(payload[: len(payload) // 4 * 4]).cast("i").tolist()
    if flags & socket.MSG_CTRUNC:
        protocol.check_descriptors(len(descriptors) + 1)
    return data


def _check_streams(stdio: list[int]) -> None:
    """Raise WrongConfiguration if one is a socket of messages.

    Who receives a message may take it for root's (SCM_CREDENTIALS), as the journal does, and a job
    decides what is in it: a worker writes to the client's descriptors as root.
    """
    for descriptor in stdio:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            continue
        with socket.socket(fileno=os.dup(descriptor)) as found:
            if found.type != socket.SOCK_STREAM:
                raise WrongConfiguration(
                    "one of the launcher's standard streams is a socket of messages (type "
                    f"{int(found.type)}), expected a terminal, a pipe, a file or a stream",
                    hint="Let the agent start the launcher, or redirect its output.",
                )


def _exactly(connection: socket.socket, size: int, deadline: float) -> bytes:
    """Receive `size` bytes; descriptors that come with them are closed by the kernel."""
    data = bytearray(size)
    view = memoryview(data)
    while view:
        _wait(connection, deadline)
        try:
            received = connection.recv_into(view)
        except OSError as failed:
            raise _late(str(failed)) from failed
        if not received:
            raise _late(f"it ended {len(view)} bytes early")
        view = view[received:]
    return bytes(data)


def _wait(connection: socket.socket, deadline: float) -> None:
    left = deadline - time.monotonic()
    if left <= 0:
        raise _late("it took too long")
    connection.settimeout(left)


def _late(why: str) -> CannotStart:
    return CannotStart(
        f"the launcher's request is not complete: {why} (it may take {PATIENCE:.0f} s)",
        hint="Is this host overloaded, or was the launcher stopped? Retry the job.",
    )

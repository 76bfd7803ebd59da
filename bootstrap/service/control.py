"""Between the service and a worker: what the worker may begin with, and keeps for later.

Messages are bounded and whole (SOCK_SEQPACKET). Neither side waits for the other for long: a
worker outlives its service.
"""

import os
import select
import socket
from contextlib import suppress

MOST = 64 << 10  # bytes of a message
_MOST_NAME = 1024  # bytes
ANSWER = 2.0  # seconds for the service to answer a worker
LONGEST_TURN = 20.0  # seconds that a worker waits for its turn
# Kinds of messages: the first byte of each.
GO = b"g"  # service: it has no client's descriptor any more; or it is this worker's turn
TURN = b"t"  # worker: it is about to start a container
BEGUN = b"b"  # worker: its job has begun
KEEP = b"V"  # worker: a verdict, as a descriptor, about the job that is named
ASK = b"?"  # worker: is there a verdict about the job that is named?
KEPT = b"="  # service: here it is, as a descriptor
NOTHING = b"-"  # service: there is none
DONE = b"D"  # worker: it has closed all that came from the client, and ends


def _named(job: str) -> bytes:
    """Return a job's id as it is sent; one that is not UTF-8 names no verdict."""
    return job.encode("utf-8", "replace")[:_MOST_NAME]


class Control:
    """The worker's end. Once the service is gone, nothing is kept or found."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        channel.settimeout(ANSWER)

    def wait(self) -> bool:
        """Wait until the service lets this worker begin; False if it is gone."""
        self._channel.settimeout(None)
        try:
            return self._channel.recv(1) == GO
        finally:
            self._channel.settimeout(ANSWER)

    def turn(self, interrupted: int) -> None:
        """Wait until this worker may start its container, or until `interrupted` is readable.

        Without the service, or if that does not answer for too long, it starts too. The answer
        stays unread: nothing is asked later.
        """
        with suppress(OSError):
            self._channel.send(TURN)
            either = select.poll()
            either.register(self._channel, select.POLLIN)
            either.register(interrupted, select.POLLIN)
            either.poll(LONGEST_TURN * 1000)

    def begun(self) -> None:
        """Report that the job has begun, so that the next one has its turn."""
        with suppress(OSError):
            self._channel.send(BEGUN)

    def keep(self, job: str, packed: bytes) -> None:
        """Have the service keep a verdict, in memory that no other process can reach."""
        with suppress(OSError):
            descriptor = os.memfd_create("airlock-verdict", os.MFD_CLOEXEC)
            try:
                with os.fdopen(os.dup(descriptor), "wb") as file:
                    file.write(packed)
                socket.send_fds(self._channel, [KEEP + _named(job)], [descriptor])
            finally:
                os.close(descriptor)

    def kept(self, job: str) -> bytes | None:
        """Return the verdict about a job, which nobody gets again; None if there is none."""
        try:
            self._channel.send(ASK + _named(job))
            kind, descriptors, _, _ = socket.recv_fds(self._channel, 1, 1)
        except OSError:
            return None
        if kind != KEPT or not descriptors:
            return None
        with os.fdopen(descriptors[0], "rb") as file:
            file.seek(0)
            return file.read()

    def done(self) -> None:
        """Report that this worker is ending, before its launcher knows."""
        with suppress(OSError):
            self._channel.send(DONE)

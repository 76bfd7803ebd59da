"""A service for the launcher: it reads requests strictly, and answers what a test tells it to."""

import array
import os
import socket
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.lab import launcher

HEADER = struct.Struct("=4sIII")
SECONDS = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What the launcher has sent before the first signal."""

    args: tuple[bytes, ...]
    env: tuple[bytes, ...]
    descriptors: tuple[int, int, int, int]

    @property
    def streams(self) -> tuple[int, int, int]:
        return self.descriptors[:3]

    @property
    def directory(self) -> int:
        return self.descriptors[3]

    def close(self) -> None:
        for descriptor in self.descriptors:
            with suppress(OSError):
                os.close(descriptor)


class Connection:
    """One launcher's connection."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        connected.settimeout(SECONDS)

    def request(self, *, chunk: int = 1 << 16) -> Request:
        """Read a request, at most `chunk` bytes at a time, and check its form."""
        head, ancillary, flags, _ = self._socket.recvmsg(HEADER.size, 4096)
        assert len(head) == HEADER.size
        assert not flags & socket.MSG_CTRUNC
        magic, args_size, env_size, zero = HEADER.unpack(head)
        assert (magic, zero) == (b"ALR1", 0)
        ((level, kind, data),) = ancillary
        assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
        descriptors = array.array("i")
        descriptors.frombytes(data)
        stdin, stdout, stderr, directory = descriptors
        return Request(
            args=_strings(self.read(args_size, chunk)),
            env=_strings(self.read(env_size, chunk)),
            descriptors=(stdin, stdout, stderr, directory),
        )

    def read(self, size: int, chunk: int = 1 << 16) -> bytes:
        """Read exactly `size` bytes, without the descriptors of a later message."""
        parts = []
        while size:
            part = self._socket.recv(min(size, chunk))
            assert part, "the launcher has closed the connection"
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def send(self, answer: bytes) -> None:
        """Send a part of the answer, if the launcher still reads it."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(answer)

    def is_at_end(self) -> bool:
        """Wait for the next byte or for the end. Return whether it is the end."""
        try:
            return self._socket.recv(1) == b""
        except ConnectionResetError:  # it was killed before it read the answer
            return True

    def narrow(self) -> None:
        """Make the buffer of what is received as small as the kernel allows."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()


class Peer:
    """The listening socket."""

    def __init__(self, path: Path, *, backlog: int = 16) -> None:
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(backlog)
        self._listener.settimeout(SECONDS)

    def command(self, *args: str) -> list[str]:
        return [str(launcher.binary()), "--socket", str(self.path), *args]

    @contextmanager
    def launched(self, *args: str, **how: object) -> Iterator[subprocess.Popen[bytes]]:
        """Run a launcher; its streams are pipes unless `how` names others."""
        streams = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        }
        command = self.command(*args)
        with subprocess.Popen(command, **{**streams, **how}) as process:  # type: ignore[call-overload]
            try:
                yield process
            finally:
                process.kill()

    def accept(self) -> Connection:
        return Connection(self._listener.accept()[0])

    def close(self) -> None:
        self._listener.close()


@contextmanager
def listening(path: Path, *, backlog: int = 16) -> Iterator[Peer]:
    """Listen at a path until this closes."""
    peer = Peer(path, backlog=backlog)
    try:
        yield peer
    finally:
        peer.close()
        path.unlink(missing_ok=True)


def ended_with(peer: Peer, answer: bytes, args: Sequence[str] = ()) -> tuple[int, str]:
    """Run a launcher that is answered this. Return its status and what it has printed."""
    with peer.launched(*args, stderr=subprocess.STDOUT) as process:
        with peer.accept() as connection:
            connection.request().close()
            connection.send(answer)
        output, _ = process.communicate(timeout=SECONDS)
    return process.returncode, output.decode(errors="surrogateescape")


def _strings(data: bytes) -> tuple[bytes, ...]:
    assert not data or data.endswith(b"\0")
    return tuple(data.split(b"\0")[:-1])

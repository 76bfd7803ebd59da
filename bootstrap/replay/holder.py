"""Requests to launcher/holder.c, which runs in the network namespace of a replayed job.

Nobody but root may change that namespace, and this process is not root. The holder's container has
the capability for it, and has given it up when the job's container joins the namespace.
"""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Self, cast

from bootstrap.errors import CannotStart

PATIENCE = 10.0  # seconds for the holder to connect, and for one answer
_SOCKET, _LISTEN, _SEND, _RECEIVE, _NAMESPACE, _SEAL = range(1, 7)
_REQUEST = struct.Struct("=Iiii")
_RESULT = struct.Struct("=i")
_SIZE = 64 << 10  # bytes of a message


class Control:
    """The socket at which the holder's container asks for work: `path` is mounted there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.settimeout(PATIENCE)
        # By its directory's descriptor: a socket's name has at most 107 bytes.
        directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._listener.bind(f"/proc/self/fd/{directory}/{path.name}")
        finally:
            os.close(directory)
        # The holder is root without the right to pass over modes. The directory is this user's.
        path.chmod(0o666)
        self._listener.listen(1)

    def close(self) -> None:
        """Close it; a holder that has connected goes on."""
        self._listener.close()

    def connected(self) -> "Holder":
        """Return the holder once it has connected. Raises CannotStart."""
        try:
            connection, _ = self._listener.accept()
        except TimeoutError as absent:
            raise CannotStart(
                f"the holder of the job's network did not start within {PATIENCE:.0f} s",
                hint="Does this Docker run on this very kernel? One in a virtual machine cannot "
                "share a socket with this process.",
            ) from absent
        connection.settimeout(PATIENCE)
        return Holder(connection)


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Raise CannotStart for an OSError of a holder, which could not do that."""
    try:
        yield
    except OSError as refused:
        raise CannotStart(
            f"the holder of the job's network could not {what}: {refused.strerror or refused}",
            hint="Nothing of the job has run. This machine's kernel has to have nftables, with the "
            "expressions that docs/replay.md#the-network names: distributions' kernels have them.",
        ) from refused


class Holder:
    """One holder. Every method raises OSError if the kernel refuses what is asked for."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the holder: the namespace goes on for as long as there are sockets or processes."""
        self._connection.close()

    def opened(self, family: int, kind: int) -> socket.socket:
        """Return a socket of the namespace."""
        _, made = self._asked(_SOCKET, (family, kind, 0))
        return _one(made)

    def listener(self, address: IPv4Address, port: int) -> socket.socket:
        """Return a TCP socket that listens there in the namespace; port 0 is any free one."""
        (number,) = struct.unpack("=i", address.packed)
        _, made = self._asked(_LISTEN, (number, port, 0))
        return _one(made)

    def kernel(self, protocol: int) -> socket.socket:
        """Return what the functions of netlink.py take for a socket to the namespace's kernel."""
        return cast("socket.socket", _Kernel(self, protocol))

    def namespace(self) -> int:
        """Return the inode number of the namespace, as addresses.namespace does."""
        content, _ = self._asked(_NAMESPACE)
        return int(content.decode().removeprefix("net:[").removesuffix("]"))

    def seal(self) -> None:
        """Have it give up its capabilities. It answers nothing but refusals from then on."""
        self._asked(_SEAL)

    def send(self, protocol: int, content: bytes) -> None:
        """Send to the kernel."""
        self._asked(_SEND, (protocol, 0, 0), content)

    def receive(self, protocol: int) -> bytes:
        """Return the kernel's next datagram."""
        content, _ = self._asked(_RECEIVE, (protocol, 0, 0))
        return content

    def _asked(
        self, operation: int, numbers: tuple[int, int, int] = (0, 0, 0), content: bytes = b""
    ) -> tuple[bytes, list[int]]:
        self._connection.send(_REQUEST.pack(operation, *numbers) + content)
        received, descriptors, _, _ = socket.recv_fds(self._connection, _RESULT.size + _SIZE, 1)
        if len(received) < _RESULT.size:
            raise ConnectionAbortedError("the holder of the job's network has ended")
        (result,) = _RESULT.unpack_from(received)
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        return received[_RESULT.size :], descriptors


class _Kernel:
    """Sends and receives as a netlink socket of the namespace would."""

    def __init__(self, holder: Holder, protocol: int) -> None:
        self._holder = holder
        self._protocol = protocol

    def send(self, content: bytes) -> int:
        self._holder.send(self._protocol, content)
        return len(content)

    def recv(self, _size: int) -> bytes:
        return self._holder.receive(self._protocol)


def _one(descriptors: list[int]) -> socket.socket:
    if len(descriptors) != 1:
        raise ConnectionAbortedError("the holder of the job's network has passed no socket")
    return socket.socket(fileno=descriptors[0])

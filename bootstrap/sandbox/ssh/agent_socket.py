"""Unix sockets of the ssh agent: none of these calls ever waits."""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BACKLOG = 128


def peer_uid(client: socket.socket) -> int:
    """Return the uid, on this host, of the process that connected (unix(7), SO_PEERCRED)."""
    credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])


def listen(path: Path, uid: int) -> socket.socket:
    """Listen at `path`, to which only `uid` can connect. Raises OSError."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        with _short(path) as name:
            listener.bind(name)
            os.chown(name, uid, uid)
            Path(name).chmod(0o600)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    listener.settimeout(0)
    return listener


def connect(path: Path) -> socket.socket:
    """Connect to `path`. Raises OSError, also if the listener's queue is full."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(0)
    try:
        with _short(path) as name:
            connection.connect(name)
    except BlockingIOError as full:
        connection.close()
        raise ConnectionRefusedError from full
    except OSError:
        connection.close()
        raise
    return connection


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """Yield a name for `path` that fits the 107 bytes of a socket address."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)

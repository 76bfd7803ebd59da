"""The other end of launcher/builder.c: it gives a builder its users, its socket and its log.

Only root may map a range of users; the alternative, newuidmap(1), is set-uid, which containers
with no-new-privileges ignore.
"""

import os
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bootstrap.errors import CannotStart
from bootstrap.files import give
from bootstrap.sandbox.builds import plan

PATIENCE = 20.0  # seconds for the builder's container to do each of its steps
_CREDENTIALS = struct.Struct("=iII")  # struct ucred of unix(7)


@contextmanager
def listening(directory: Path, name: str, owner: int) -> Iterator[socket.socket]:
    """Yield a socket that listens at `directory`/`name`, where only `owner` can connect."""
    with socket.socket(socket.AF_UNIX) as listener:
        # By its directory's descriptor: a socket's name has at most 107 bytes.
        opened = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            listener.bind(f"/proc/self/fd/{opened}/{name}")
        finally:
            os.close(opened)
        (directory / name).chmod(0o600)
        give(directory / name, owner)
        listener.listen(128)
        yield listener


def connected(listener: socket.socket) -> tuple[socket.socket, int]:
    """Return the connection of the builder that has its user namespace, and its pid on this host.

    Raises CannotStart with the reason that it sends, or if it does not come.
    """
    listener.settimeout(PATIENCE)
    with ExitStack() as undone:
        try:
            connection, _ = listener.accept()
            undone.callback(connection.close)
            connection.settimeout(PATIENCE)
            _expect(connection.recv(128), b"\n")
        except OSError as silent:
            raise failed(f"its first program does not answer: {silent}") from silent
        undone.pop_all()
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, _, _ = _CREDENTIALS.unpack(raw)
    return connection, pid


def ended(listener: socket.socket) -> CannotStart:
    """Return the error for a builder that has ended, with the reason if it has sent one."""
    listener.settimeout(0.0)
    try:
        connection, _ = listener.accept()
        with connection:
            _expect(connection.recv(128), b"\n")
    except OSError:  # it did not come
        pass
    except CannotStart as reason:
        return reason
    return failed("its first program has ended")


def begin(connection: socket.socket, descriptors: Sequence[int]) -> None:
    """Have the builder go on, with its listener and its log. Returns once BuildKit runs.

    Raises CannotStart.
    """
    try:
        socket.send_fds(connection, [b"\n"], list(descriptors))
        # The end of the connection: it is closed by the exec.
        _expect(connection.recv(128), b"")
    except OSError as silent:
        raise failed(f"its first program does not go on: {silent}") from silent


def map_users(process: int, users: range) -> None:
    """Map the user namespace of the process at `process`, a descriptor of /proc/PID."""
    for file in ("uid_map", "gid_map"):
        descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC, dir_fd=process)
        try:
            os.write(descriptor, plan.mapping(users))
        finally:
            os.close(descriptor)


@contextmanager
def explained() -> Iterator[None]:
    """Raise CannotStart for an OSError: the builder has ended, or the kernel refuses a step."""
    try:
        yield
    except OSError as refused:
        raise failed(str(refused)) from refused


def _expect(received: bytes, expected: bytes) -> None:
    if received == expected:
        return
    step, _, number = received.decode("ascii", "replace").strip().partition(" ")
    why = os.strerror(int(number)) if number.isdecimal() else number
    raise failed(f"{step}: {why}" if step else "its first program has ended")


def failed(why: str) -> CannotStart:
    """Return the error for a builder that cannot be started."""
    return CannotStart(
        f"the BuildKit of the job could not be started: {why}",
        hint="Nothing of the job has run. docs/builds.md lists what this host's kernel "
        "has to allow (#how-it-is-confined), and what "
        "BuildKit's image has to have (#what-an-operator-writes).",
    )

"""The service's socket: systemd's, or its own, which only one service at a time can have."""

import fcntl
import os
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bootstrap.errors import CannotStart, WrongConfiguration

BACKLOG = 1024
FIRST_PASSED = 3  # the first descriptor that systemd passes (sd_listen_fds)
PATIENCE = 5.0  # seconds for a service that is ending
_PAUSE = 0.05
_CREDENTIALS = struct.Struct("=3i")  # struct ucred: pid, uid, gid


@dataclass(frozen=True, kw_only=True, slots=True)
class Listener:
    """A listening socket; `lock` is the descriptor of its lock where the socket is our own."""

    socket: socket.socket
    path: Path
    lock: int | None

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What a service that is started anew in this process needs of it."""
        return (self.socket.fileno(), *(() if self.lock is None else (self.lock,)))

    def remove(self) -> None:
        """Let no further launcher connect: they wait for the next service."""
        if self.lock is not None:
            with suppress(OSError):
                self.path.unlink()


def listener(path: Path, gid: int, process_env: Mapping[str, str]) -> Listener:
    """Return the socket that systemd passes, else one of our own, for this group alone.

    Raises CannotStart if another service has it, or if it cannot be created.
    """
    if passed := _passed(process_env):
        return Listener(socket=passed, path=path, lock=None)
    try:
        lock = _locked(path)
        with suppress(FileNotFoundError):
            path.unlink()  # of a service that was killed: the lock shows that it is gone
        return Listener(socket=_bound(path, gid), path=path, lock=lock)
    except OSError as failed:
        raise CannotStart(
            f"the socket {path} cannot be created: {failed.strerror}",
            hint="Does the directory exist, and is it neither full nor read-only? The service "
            "runs as root.",
        ) from failed


def inherited(process_env: Mapping[str, str], kept: tuple[int, ...]) -> socket.socket | None:
    """Return the socket to which launchers connect also while no service runs, if there is one.

    It is systemd's, or the first of the descriptors that the service before this one kept.
    """
    if kept:
        return socket.socket(fileno=kept[0])
    try:
        return _passed(process_env)
    except (WrongConfiguration, OSError):  # another number of descriptors, or another kind
        return None


def resumed(path: Path, descriptors: tuple[int, ...]) -> Listener:
    """Return the listener whose descriptors the service kept while it was started anew."""
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)  # noqa: FBT003
    listening, *lock = descriptors
    own = socket.socket(fileno=listening)
    own.settimeout(0)
    return Listener(socket=own, path=path, lock=lock[0] if lock else None)


def _passed(process_env: Mapping[str, str]) -> socket.socket | None:
    """Return systemd's socket. Raises WrongConfiguration if it is not one that launchers use."""
    if process_env.get("LISTEN_PID") != str(os.getpid()):
        return None
    count = process_env.get("LISTEN_FDS", "")
    if count != "1":
        raise WrongConfiguration(
            f"systemd passed {count or 'no'} sockets, expected one",
            hint="The socket unit needs exactly one ListenStream=.",
        )
    os.set_inheritable(FIRST_PASSED, False)  # noqa: FBT003
    found = socket.socket(fileno=FIRST_PASSED)
    listens = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if (found.family, found.type) != (socket.AF_UNIX, socket.SOCK_STREAM) or not listens:
        raise WrongConfiguration(
            f"systemd passed a socket of {found.family.name}, {found.type.name}; expected a "
            "listening Unix stream socket",
            hint="The socket unit needs ListenStream= with a path, and Accept=no.",
        )
    found.settimeout(0)
    return found


def _locked(path: Path) -> int:
    """Lock the socket's lock file, which stays: a file that is removed excludes nobody."""
    lock = path.with_name(f"{path.name}.lock")
    descriptor = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise CannotStart(
                    f"another service has the socket {path}",
                    hint="Stop it first (`systemctl stop airlock`); `systemctl reload airlock` "
                    "replaces a service while jobs run.",
                ) from None
            time.sleep(_PAUSE)
        else:
            return descriptor


def _bound(path: Path, gid: int) -> socket.socket:
    own = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    mask = os.umask(0o777)  # nobody connects before the socket has its group
    try:
        own.bind(str(path))
    finally:
        os.umask(mask)
    os.chown(path, 0, gid)
    path.chmod(0o660)
    own.listen(BACKLOG)
    return own


def waiting(listening: socket.socket) -> Iterator[socket.socket]:
    """Accept and yield the connections that wait now; some, if more come meanwhile."""
    for _ in range(BACKLOG):
        try:
            connection, _ = listening.accept()
        except OSError:  # there is none, or none can be accepted
            return
        yield connection


def peer(connection: socket.socket) -> int:
    """Return the uid of the process that connected, as it was then."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    uid: int = _CREDENTIALS.unpack(data)[1]
    return uid

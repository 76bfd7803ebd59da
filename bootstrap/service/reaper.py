"""The service's reaper: one process that clears what killed workers leave, for all of them.

Each worker has one end of a socket pair, and its death closes that. The reaper outlives its
service, and ends when it has neither a service nor a worker to watch. The service keeps the other
end of each pair too, the notice: if the reaper is killed, another one goes on with all of them.
"""

import gc
import os
import select
import signal
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import NoReturn

from bootstrap.host import oom
from bootstrap.host.config import Host
from bootstrap.sandbox.leases import lease
from bootstrap.service import children

NAME = "reaper"
AGAIN = 1.0  # seconds until a process that could not be created is tried again
_MOST = 4096  # bytes of a notice


class Reapers:
    """Keeps a reaper at work, one for each configuration that jobs have begun with."""

    def __init__(self) -> None:
        self._current: _Reaper | None = None
        self._all: list[_Reaper] = []

    def prepare(self, host: Host) -> None:
        """Have a reaper for workers with this configuration. Raises OSError if it cannot be forked.

        That of another configuration ends with its last worker.
        """
        current = self._current
        if current is None or current.host is not host:
            if current is not None:
                current.close()
            current = self._current = _Reaper(host=host)
            self._all = [*(one for one in self._all if one.kept), current]
        if not current.pid:
            current.fork()

    def watch(self, worker: int, notice: int) -> None:
        """Have a worker watched: it has the other end of `notice`, which is kept here."""
        if self._current is None:
            raise ValueError("a worker without a reaper")
        self._current.watch(worker, notice)

    def worker_ended(self, worker: int) -> None:
        """Keep what is kept of a worker only until its lease is gone: its reaper may be killed."""
        for reaper in self._all:
            if (notice := reaper.notices.pop(worker, None)) is not None:
                reaper.unsettled.append(notice)
            reaper.settle()

    def includes(self, pid: int) -> bool:
        """Return whether this is a reaper."""
        return any(reaper.pid == pid for reaper in self._all)

    def ended(self, pid: int, status: int) -> None:
        """Go on with another one if this was killed, with this status of `waitpid`.

        One that has ended by itself had nothing left to watch, and no service.
        """
        for reaper in self._all:
            if reaper.pid == pid:
                reaper.pid = 0
                reaper.settle(by_itself=status == 0)
                if reaper is self._current or (status and reaper.kept):
                    with suppress(OSError):  # the next worker needs one, and tries again
                        reaper.fork()
                if reaper is not self._current:
                    reaper.close()


@dataclass(slots=True)
class _Reaper:
    host: Host
    pid: int = 0
    channel: socket.socket | None = None
    notices: dict[int, int] = field(default_factory=dict)  # by the worker's pid
    unsettled: list[int] = field(default_factory=list)  # notices of workers that have ended

    @property
    def kept(self) -> tuple[int, ...]:
        """The notices that the next reaper needs."""
        return (*self.notices.values(), *self.unsettled)

    def settle(self, *, by_itself: bool = False) -> None:
        """Close the notices of workers without a lease; all, if the reaper ended `by_itself`."""
        jobs = self.host.paths.runtime / "jobs"
        waiting = []
        for notice in self.unsettled:
            token = "" if by_itself else lease.unfinished(_content(notice))
            if token and (jobs / token).exists():
                waiting.append(notice)
            else:
                os.close(notice)
        self.unsettled = waiting

    def fork(self) -> None:
        """Fork it, with all notices. Raises OSError."""
        self.close()
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            run = partial(_run, self.host, its, self.kept)
            self.pid = children.fork(run, (its.fileno(), *self.kept))
        except OSError:
            ours.close()
            raise
        finally:
            its.close()
        ours.settimeout(0)
        self.channel = ours

    def watch(self, worker: int, notice: int) -> None:
        """Keep one more notice, and pass it on."""
        self.notices[worker] = notice
        if self.channel is None:
            return
        try:
            socket.send_fds(self.channel, [b"n"], [notice])
        except BlockingIOError:  # it does not read any more: the next one is forked with all
            os.kill(self.pid, signal.SIGKILL)
        except OSError:  # it was killed
            pass

    def close(self) -> None:
        """Have it end once its last worker has."""
        if self.channel is not None:
            self.channel.close()
            self.channel = None


def _run(host: Host, channel: socket.socket, notices: Iterable[int]) -> NoReturn:
    children.be_named(NAME)
    lease.ignore_signals()
    gc.enable()
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1):
        os.dup2(null, standard)
    os.close(null)
    watcher = Watcher(host, channel)
    for notice in notices:
        watcher.add(notice)
    watcher.run()
    os._exit(0)


class Watcher:
    """What a reaper does: wait for ends of workers, and clear in a process for each lease.

    A notice is looked at, never read: if this is killed, the next reaper finds the same in it.
    """

    def __init__(self, host: Host, channel: socket.socket) -> None:
        self._host = host
        self._channel = channel
        self._events = select.epoll()
        self._watched = {channel.fileno()}
        self._events.register(channel, select.EPOLLIN)
        self._due: list[tuple[int, str]] = []  # notices and leases to clear, without a process yet
        self._clearing: set[int] = set()

    def add(self, notice: int) -> None:
        """Watch one more worker."""
        self._watched.add(notice)
        self._events.register(notice, 0)  # its end is reported all the same

    def run(self) -> None:
        """Return when there is neither a service nor anything to watch or to clear."""
        while self._watched or self._due or self._clearing:
            waits = bool(self._due or self._clearing)
            for descriptor, _ in self._events.poll(AGAIN if waits else None):
                if descriptor == self._channel.fileno():
                    self._take()
                else:
                    self._ended(descriptor)
            self._clear()
            self._collect()
        self._events.close()

    def _take(self) -> None:
        """Take the notice that the service passes, or note that there is no service any more."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self._channel, 1, 1)
        except OSError:
            data, descriptors = b"", []
        for descriptor in descriptors:
            self.add(descriptor)
        if not data:
            self._forget(self._channel.fileno())
            self._channel.close()

    def _forget(self, descriptor: int) -> None:
        self._watched.remove(descriptor)
        self._events.unregister(descriptor)

    def _ended(self, notice: int) -> None:
        self._forget(notice)
        if token := lease.unfinished(_content(notice)):
            self._due.append((notice, token))
        else:
            os.close(notice)

    def _clear(self) -> None:
        while self._due:
            notice, token = self._due[0]
            try:
                self._clearing.add(children.fork(partial(_clear, self._host, token), ()))
            except OSError:  # no process can be created now
                return
            os.close(notice)
            del self._due[0]

    def _collect(self) -> None:
        for pid in list(self._clearing):
            if os.waitpid(pid, os.WNOHANG) != (0, 0):
                self._clearing.remove(pid)


def _content(notice: int) -> bytes:
    """Return what a worker wrote before it ended, which may be nothing."""
    with socket.socket(fileno=os.dup(notice)) as looked_at, suppress(OSError):
        return looked_at.recv(_MOST, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    return b""


def _clear(host: Host, token: str) -> None:
    children.be_named("clear")
    lease.ignore_signals()
    oom.be_ordinary()
    lease.clear_until_gone(host, token)

"""The service's workers: whose they are, and the channel to each."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from bootstrap.service import children, control
from bootstrap.service.configuration import Configuration
from bootstrap.service.reaper import Reapers
from bootstrap.service.turns import Turns
from bootstrap.service.worker import Worker

# Seconds: a job whose start takes longer waits for AWS or an image, not for processors. Longer than
# a turn: on a host under load, a start takes that long too.
STARTING = 10.0


@dataclass(slots=True)
class _Forked:
    uid: int
    channel: socket.socket | None  # None: forked before an upgrade of the service
    busy: bool = True  # until it has released all that its client sent


class Workers:
    """Counts workers by the user whose agent they are for."""

    def __init__(self) -> None:
        self._forked: dict[int, _Forked] = {}
        self._turns = Turns()
        self._starting: dict[int, float] = {}  # since when, of those that have asked for a turn
        self.reapers = Reapers()
        self.last_start = 0.0  # time.monotonic() of the last report of one that starts a job

    def fork(
        self, connection: socket.socket, uid: int, configuration: Configuration
    ) -> tuple[int, socket.socket]:
        """Fork a worker, which waits until it may begin; return its pid and the channel to it.

        Its reaper watches it already. Raises OSError.
        """
        self.reapers.prepare(configuration.last_valid)
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        notice, writer = (end.detach() for end in socket.socketpair())
        worker = Worker(
            connection=connection, channel=its, reaper=writer, uid=uid, configuration=configuration
        )
        try:
            pid = children.fork(worker.run, (connection.fileno(), its.fileno(), writer))
        except OSError:
            ours.close()
            os.close(notice)
            raise
        finally:
            its.close()
            os.close(writer)
        self.reapers.watch(pid, notice)
        ours.settimeout(0)
        self.add(pid, uid, ours)
        return pid, ours

    def add(self, pid: int, uid: int, channel: socket.socket | None = None) -> None:
        """Take note of a worker."""
        self._forked[pid] = _Forked(uid=uid, channel=channel)

    def busy(self, uid: int) -> int:
        """Return how many workers are at work for this user."""
        return sum(worker.busy for worker in self._forked.values() if worker.uid == uid)

    def reported(self, pid: int, kind: bytes) -> None:
        """Take note of how far a worker is: it needs a turn, its job has begun, or it ends."""
        if kind != control.DONE:
            self.last_start = time.monotonic()
        if kind == control.TURN:
            self._turns.ask(pid, self.uid(pid))
            self._starting[pid] = self.last_start
            return
        self._over(pid)
        if kind == control.DONE:
            self._forked[pid].busy = False

    def _over(self, pid: int) -> None:
        self._turns.over(pid)
        self._starting.pop(pid, None)

    def let_start(self) -> None:
        """Let those go on whose turn it is to start a container."""
        for pid in self._turns.next():
            if channel := self.channel(pid):
                with suppress(OSError):  # it has ended, and with it its turn
                    channel.send(control.GO)

    @property
    def starting(self) -> bool:
        """Whether a job waits for its turn, or is being started, for STARTING seconds at most."""
        oldest = time.monotonic() - STARTING
        return self._turns.waiting or any(since > oldest for since in self._starting.values())

    def patience(self) -> float | None:
        """Return the seconds until a turn ends by itself; None if nobody waits for that."""
        return self._turns.patience()

    def uid(self, pid: int) -> int:
        """Return the user of a worker."""
        return self._forked[pid].uid

    def channel(self, pid: int) -> socket.socket | None:
        """Return the channel to a worker, None if there is no such worker, or no channel."""
        worker = self._forked.get(pid)
        return worker.channel if worker else None

    def close(self, pid: int) -> None:
        """Close the channel to a worker, which has closed its end."""
        worker = self._forked[pid]
        if worker.channel is not None:
            worker.channel.close()
            worker.channel = None

    def remove(self, pid: int) -> bool:
        """Forget a process that has ended; return whether it was a worker."""
        self._over(pid)
        self.reapers.worker_ended(pid)
        return self._forked.pop(pid, None) is not None

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield the pid and the uid of each worker."""
        return ((pid, worker.uid) for pid, worker in self._forked.items())

    def __len__(self) -> int:
        return len(self._forked)

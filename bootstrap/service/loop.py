"""The service itself: one thread, which waits for events and for nothing else.

It reads nothing from a client: it looks whose process connects, and forks a worker that reads the
request. So a client can delay or confuse its own worker only.
"""

import os
import selectors
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum

from bootstrap.errors import CannotStart, WrongConfiguration
from bootstrap.service import control, preload, upgrade
from bootstrap.service.chores import Chores
from bootstrap.service.configuration import Configuration
from bootstrap.service.listener import Listener, peer, waiting
from bootstrap.service.rate import Rate
from bootstrap.service.refusing import Refuser, refusal
from bootstrap.service.signalled import signalled
from bootstrap.service.verdicts import Verdicts
from bootstrap.service.workers import Workers
from bootstrap.text import counted

AT_ONCE = 64  # connections that are accepted before other events have their turn
PAUSE = 0.1  # seconds without accepting, when this process or the host has no more of something


class End(Enum):
    """Why the loop has ended."""

    STOPPED = "stopped"
    UPGRADED = "replaced by a new version"


class Service:
    """Forks a worker for each connection, and keeps what workers need of each other."""

    def __init__(
        self,
        listener: Listener,
        configuration: Configuration,
        *,
        chores: Chores,
        log: Callable[[str], object],
        workers: Workers,
    ) -> None:
        self._listener = listener
        self._configuration = configuration
        self._chores = chores
        self._log = log
        self._workers = workers
        self._verdicts = Verdicts()
        self._refuser = Refuser()
        self._rate = Rate()
        self._selector = selectors.DefaultSelector()
        self._accepts_from = 0.0  # time.monotonic() from which connections are accepted
        self._end: End | None = None
        self._check = 0  # the pid of the process that tries whether an upgrade can start

    def run(self) -> End:
        """Serve until a signal ends that."""
        self._end = None
        with signalled(self._selector, self._drain):
            self._reap()
            with suppress(OSError):  # the first worker needs it, and tries again
                self._workers.reapers.prepare(self._configuration.last_valid)
            self._chores.ready()
            while self._end is None:
                self._step()
        self._chores.stopping(upgrading=self._end is End.UPGRADED)
        if self._end is End.STOPPED:
            self._refuse_waiting()
        self._refuser.finish()
        return self._end

    def state(self) -> upgrade.State:
        """Return what a new service in this process takes over."""
        return upgrade.State(listener=self._listener.descriptors, workers=tuple(self._workers))

    def _step(self) -> None:
        """Wait for events and handle them; connections last.

        What a worker has sent before its launcher ended is handled before the agent's next
        launcher.
        """
        self._watch_listener()
        ready = [key for key, _ in self._selector.select(self._patience())]
        for key in ready:
            if key.data is not None:
                key.data(key.fileobj)
        self._verdicts.expire()
        self._workers.let_start()
        self._chores.run()
        if any(key.data is None for key in ready):
            self._accept()

    def _patience(self) -> float | None:
        waits = [self._chores.patience(), self._workers.patience()]
        if len(self._verdicts):
            waits.append(10.0)
        if self._pausing():
            waits.append(PAUSE)
        return min((wait for wait in waits if wait is not None), default=None)

    def _pausing(self) -> bool:
        return self._refuser.waits or time.monotonic() < self._accepts_from

    def _watch_listener(self) -> None:
        """Wait for connections, unless they would only wake this loop for nothing."""
        self._refuser.proceed()
        watched = self._listener.socket in self._selector.get_map()
        if self._pausing() and watched:
            self._selector.unregister(self._listener.socket)
        elif not self._pausing() and not watched:
            self._selector.register(self._listener.socket, selectors.EVENT_READ, None)

    # Connections

    def _accept(self) -> None:
        if self._configuration.refresh():
            preload.load_optional(self._configuration.last_valid)
            for line in self._configuration.summary():
                self._log(line)
        for _ in range(AT_ONCE):
            if self._pausing():
                return
            try:
                connection, _ = self._listener.socket.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as failed:
                self._log(f"no connection can be accepted: {failed}")
                self._accepts_from = time.monotonic() + PAUSE
                return
            self._take(connection)

    def _take(self, connection: socket.socket) -> None:
        """Fork a worker for a connection, or have it refused."""
        uid = peer(connection)
        try:
            self._require_admissible(uid)
            self._fork(connection, uid)
        except OSError as failed:
            why = CannotStart(f"no worker can be started: {failed}", hint="Retry.")
            self._refuse(connection, why, "failed")
        except WrongConfiguration as refusal:
            self._refuse(connection, refusal, "uid")
        except CannotStart as refusal:
            self._refuse(connection, refusal, "too_many")
        else:
            self._chores.accepted()

    def _require_admissible(self, uid: int) -> None:
        """Raise unless this user may have one more worker."""
        if uid not in self._configuration.agents.uids:
            raise WrongConfiguration(
                f"uid {uid} may not start jobs on this host",
                hint="Add the agent's user to service.agents in airlock.toml.",
            )
        limit = self._limit()
        if not self._rate.allows(uid, limit):
            raise CannotStart(
                f"the agents of uid {uid} connect too often for {counted(limit, 'job')} at once",
                hint="Which process connects? No agent does so more than twice for a job.",
            )
        if self._workers.busy(uid) >= limit:
            raise CannotStart(
                f"the agents of uid {uid} have {counted(limit, 'job')} on this host already",
                hint="Retry later, or raise service.jobs-per-agent in airlock.toml.",
            )

    def _fork(self, connection: socket.socket, uid: int) -> None:
        pid, channel = self._workers.fork(connection, uid, self._configuration)
        connection.close()  # the worker has it, and keeps it until it may go on
        self._selector.register(channel, selectors.EVENT_READ, lambda _: self._received(pid))
        with suppress(OSError):  # it has ended
            channel.send(control.GO)

    def _refuse(
        self, connection: socket.socket, why: WrongConfiguration | CannotStart, kind: str
    ) -> None:
        self._chores.refused(kind, why.problem)
        self._refuser.refuse(connection, refusal(why))

    def _refuse_waiting(self) -> None:
        """Refuse those who connected to a socket that is about to go, instead of leaving them."""
        if self._listener.lock is None:
            return  # they wait in systemd's socket for the next service
        self._listener.remove()
        why = CannotStart("the service is stopping", hint="Retry the job.")
        for connection in waiting(self._listener.socket):
            self._refuse(connection, why, "stopping")

    # Workers

    def _received(self, pid: int) -> None:
        """Handle what a worker has sent."""
        channel = self._workers.channel(pid)
        if channel is None:
            return
        try:
            while self._message(pid, channel):
                pass
        except BlockingIOError:
            return
        except OSError:
            pass
        self._selector.unregister(channel)
        self._workers.close(pid)

    def _message(self, pid: int, channel: socket.socket) -> bool:
        """Handle one message; False at the end of all."""
        data, descriptors, _, _ = socket.recv_fds(channel, control.MOST, 1)
        kind, content = data[:1], data[1:]
        uid = self._workers.uid(pid)
        match kind:
            case control.KEEP if descriptors:
                job = content.decode("utf-8", "replace")
                self._verdicts.keep(uid, job, descriptors.pop(), limit=self._limit())
            case control.ASK:
                self._answer(channel, self._verdicts.take(uid, content.decode("utf-8", "replace")))
            case control.TURN | control.BEGUN | control.DONE:
                self._workers.reported(pid, kind)
            case _:
                pass
        return bool(data)

    def _limit(self) -> int:
        host = self._configuration.last_valid
        return host.service.jobs_limit(host.sandbox.slots)

    def _answer(self, channel: socket.socket, descriptor: int | None) -> None:
        with suppress(OSError):
            if descriptor is None:
                channel.send(control.NOTHING)
            else:
                socket.send_fds(channel, [control.KEPT], [descriptor])
        if descriptor is not None:
            os.close(descriptor)

    def _reap(self) -> None:
        """Take note of every child that has ended.

        Reapers first: the next one has to know of the workers that have ended with it.
        """
        ended = []
        with suppress(ChildProcessError):
            while (one := os.waitpid(-1, os.WNOHANG)) != (0, 0):
                ended.append(one)
        for pid, status in sorted(
            ended, key=lambda one: not self._workers.reapers.includes(one[0])
        ):
            self._ended(pid, status)

    def _ended(self, pid: int, status: int) -> None:
        self._received(pid)  # its last messages
        if self._workers.remove(pid):
            self._chores.worker_ended(status)
            return
        self._refuser.ended(pid)
        self._workers.reapers.ended(pid, status)
        if pid == self._check:
            self._checked(status)
        else:
            self._chores.ended(pid, status)

    # Signals

    def _drain(self, numbers: frozenset[int]) -> None:
        if signal.SIGTERM in numbers or signal.SIGINT in numbers:
            self._end = End.STOPPED
        if signal.SIGHUP in numbers and not self._check:
            self._try_upgrade()
        self._reap()  # whatever came: full buffers lose signals

    def _try_upgrade(self) -> None:
        self._log("trying whether the service can be started anew")
        try:
            self._check = upgrade.check()
        except OSError as failed:
            self._log(f"it cannot, and goes on as it is: {failed}")

    def _checked(self, status: int) -> None:
        self._check = 0
        if status == 0:
            self._end = self._end or End.UPGRADED
        else:
            self._log("it cannot, for the reason above, and goes on as it is")

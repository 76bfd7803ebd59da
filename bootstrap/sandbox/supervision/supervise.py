"""From opening the start gate to the job's end: one loop, the only place where state changes."""

import math
import os
import selectors
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import TYPE_CHECKING

from bootstrap import memory
from bootstrap.alerts import Alerts
from bootstrap.sandbox import engine
from bootstrap.sandbox.leases import first_process
from bootstrap.sandbox.model import (
    Abandoned,
    Breached,
    Cancelled,
    Ended,
    Evicted,
    Exited,
    Overdue,
    Running,
    SandboxGrace,
    Unknown,
)
from bootstrap.sandbox.supervision import eviction
from bootstrap.sandbox.supervision.fullness import TIME
from bootstrap.sandbox.supervision.guard import Guard
from bootstrap.sandbox.supervision.outcome import KERNEL, Outcome, outcome
from bootstrap.sandbox.supervision.process_end import ProcessEnd
from bootstrap.sandbox.supervision.pump import Pump
from bootstrap.sandbox.supervision.signals import Cancellation, translated
from bootstrap.sandbox.workspace import SandboxDirectory

if TYPE_CHECKING:
    from bootstrap.sandbox.engine_client import Client

DRAIN = 10.0  # seconds for the last output after the container has ended
CLEARING = 1.2  # seconds for what remains to be done before the agent kills Airlock
SETTLED = 0.3  # seconds for the kernel's report about a container that was overdue
KILLED = 10.0  # seconds for a killed container to end

_Killed = Abandoned | Breached | Evicted | Overdue


@dataclass(slots=True)
class _End:
    """Why the job is ending, filled in as it happens."""

    by: Signals | None = None
    forwarded: Signals | None = None
    deadline: float | None = None  # time.monotonic() at which the container is killed
    overdue: bool = False
    evicted: str | None = None
    abandoned: bool = False  # the launcher was killed, and nobody waits for the status
    failed: str | None = None  # a bug in the loop, because of which the container was killed


class Supervision:
    """Supervises one container, from the start gate to its end."""

    def __init__(
        self,
        client: "Client",
        running: Running,
        *,
        guard: Guard,
        grace: SandboxGrace,
        directory: SandboxDirectory,
        timeout_marker: Path | None,
        disk: eviction.Watch,
        process_end: ProcessEnd,
        alerts: Alerts,
    ) -> None:
        self._client = client
        self._running = running
        self._guard = guard
        self._grace = grace
        self._directory = directory
        self._timeout_marker = timeout_marker
        self._disk = disk
        self._process_end = process_end
        self._alerts = alerts
        self._end = _End()

    def until_end(self, pump: Pump, cancellation: Cancellation) -> Ended:
        """Open the start gate, forward cancellation, and return how the job ended.

        Raises only what keeps the gate shut. From then on a failure is an alert, or what ended the
        job: no exception may take the place of a job's result.
        """
        events = selectors.DefaultSelector()
        events.register(self._guard.process, selectors.EVENT_READ, "ended")
        events.register(cancellation.descriptor, selectors.EVENT_READ, "cancelled")
        events.register(pump.broken, selectors.EVENT_READ, "log broken")
        events.register(self._guard.breach, selectors.EVENT_READ, "breach")
        events.register(self._disk.descriptor, selectors.EVENT_READ, "disk full")
        hangup = pump.hangup()
        events.register(hangup, selectors.EVENT_READ, "agent gone")
        self._directory.open_start_gate()
        memory.give_back()  # what the steps before took: a job may wait for hours
        with self._ending_the_job(), events, hangup:
            while not self._step(events, cancellation):
                pass
        with self._alerts.instead("what the job used up is not known"):
            self._disk.fullness.look()  # the engine soon removes what counts its processes
        with self._alerts.instead("the end of the log may be missing"):
            pump.finish(DRAIN, lambda: self._left(cancellation))
        try:
            return self._ended(cancellation)
        except BaseException as bug:  # noqa: BLE001 - no bug may take the place of a result
            self._alerts.report("how the job ended was not found out", bug)
            return Unknown(why=f"Airlock failed ({type(bug).__name__})")

    @contextmanager
    def _ending_the_job(self) -> Iterator[None]:
        """Kill the container if the loop fails: nobody would watch it any more."""
        try:
            yield
        except BaseException as bug:  # noqa: BLE001 - see above
            self._end.failed = f"Airlock failed while the job ran ({type(bug).__name__})"
            self._guard.kill()
            self._alerts.report("the job was killed, because Airlock failed", bug)
            first_process.has_ended(self._guard.process, KILLED)

    def _left(self, cancellation: Cancellation) -> float:
        """Return the seconds until Airlock has to end, so that the agent does not kill it."""
        if cancellation.abandoned:
            return 0.0  # nobody reads the rest of the log
        if cancellation.received is None:
            return math.inf
        return cancellation.received + self._grace.agent_kills - CLEARING - time.monotonic()

    def _step(self, events: selectors.BaseSelector, cancellation: Cancellation) -> bool:
        """Wait for the next events and handle them; True when the container has ended."""
        for key, _ in events.select(self._patience()):
            match key.data:
                case "ended":
                    return True
                case "cancelled":
                    os.read(key.fd, 16)
                    if cancellation.abandoned:
                        events.unregister(key.fileobj)
                        self._end.abandoned = True
                        self._guard.kill()
                    else:
                        self._cancel(cancellation.first or Signals.SIGTERM)
                case "log broken" | "agent gone":
                    events.unregister(key.fileobj)
                    # The first is closed after the output, readable with a byte if writing failed.
                    if key.data == "agent gone" or os.read(key.fd, 1):
                        self._cancel(Signals.SIGHUP)
                case "breach":  # the guard has killed the container
                    events.unregister(key.fileobj)
                case "disk full":
                    events.unregister(key.fileobj)
                    if self._disk.why:
                        self._end.evicted = self._disk.why
                        self._guard.kill()
        self._kill_if_overdue()
        return False

    def _patience(self) -> float | None:
        if self._end.deadline is None or self._end.overdue:
            return None
        return max(0.0, self._end.deadline - time.monotonic())

    def _cancel(self, by: Signals) -> None:
        """Forward exactly one signal: after a second one the bootstrap skips its hooks."""
        if self._end.by is not None or self._guard.why or self._end.evicted:
            return
        self._end.by = by
        self._end.forwarded = translated(by)
        self._end.deadline = time.monotonic() + self._grace.kill_after
        if self._timeout_marker and self._timeout_marker.exists():
            self._directory.mark_timed_out()
            self._disk.fullness.add(TIME)
        self._guard.signal(self._end.forwarded)

    def _kill_if_overdue(self) -> None:
        if self._end.deadline and not self._end.overdue and not self._patience():
            self._end.overdue = True
            self._guard.kill()

    def _ended(self, cancellation: Cancellation) -> Ended:
        killed = self._killed()
        # It may have ended by itself in the moment before: then its status is its own. The first
        # process ends long before its pidfd says so, if the others of its namespace take long.
        if killed and self._settled(killed, cancellation) in {None, 128 + Signals.SIGKILL}:
            return killed
        found = outcome(
            self._process_end.status,
            lambda seconds: engine.outcome(self._client, self._running.id, timeout=seconds),
            left=lambda: self._left(cancellation),
            cancelled=cancellation.received is not None,
        )
        return self._ended_by_itself(found)

    def _settled(self, killed: _Killed, cancellation: Cancellation) -> int | None:
        """Return what the kernel reports; a shim that is slow to reap the process delays that."""
        patience = SETTLED if isinstance(killed, Overdue) else KERNEL
        return self._process_end.status(min(patience, max(self._left(cancellation), SETTLED)))

    def _killed(self) -> _Killed | None:
        if self._guard.why:
            return Breached(why=self._guard.why)
        if self._end.evicted:
            return Evicted(why=self._end.evicted)
        if self._end.abandoned:
            return Abandoned()
        if self._end.by and self._end.overdue:
            return Overdue(by=self._end.by, after=self._grace.kill_after)
        return None

    def _ended_by_itself(self, found: Outcome) -> Ended:
        # After a bug the container was killed, unless it had ended already with its own status.
        if self._end.failed and found.code in {None, 128 + Signals.SIGKILL}:
            return Unknown(why=self._end.failed)
        if found.code is None:
            return Unknown(why=found.why)
        if self._end.by and self._end.forwarded:
            return Cancelled(by=self._end.by, forwarded=self._end.forwarded, code=found.code)
        return Exited(code=found.code, out_of_memory=found.out_of_memory)

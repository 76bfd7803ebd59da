"""From opening the start gate to the job's end: one loop, the only place where state changes."""

import os
import selectors
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import TYPE_CHECKING

from bootstrap.errors import CannotStart
from bootstrap.sandbox import engine, eviction
from bootstrap.sandbox.guard import Guard
from bootstrap.sandbox.model import (
    Breached,
    Cancelled,
    Ended,
    Evicted,
    Exited,
    Overdue,
    Running,
    SandboxGrace,
)
from bootstrap.sandbox.pump import Pump
from bootstrap.sandbox.signals import Cancellation, translated
from bootstrap.sandbox.workspace import SandboxDirectory

if TYPE_CHECKING:
    from docker import APIClient

DRAIN = 10.0  # seconds for the last output after the container has ended


@dataclass(slots=True)
class _End:
    """Why the job is ending, filled in as it happens."""

    by: Signals | None = None
    forwarded: Signals | None = None
    deadline: float | None = None  # time.monotonic() at which the container is killed
    overdue: bool = False
    breach: str = ""
    evicted: str | None = None


class Supervision:
    """Supervises one container, from the start gate to its end."""

    def __init__(
        self,
        client: "APIClient",
        running: Running,
        *,
        guard: Guard,
        grace: SandboxGrace,
        directory: SandboxDirectory,
        timeout_marker: Path | None,
        disk: eviction.Watch,
    ) -> None:
        self._client = client
        self._running = running
        self._guard = guard
        self._grace = grace
        self._directory = directory
        self._timeout_marker = timeout_marker
        self._disk = disk
        self._end = _End()

    def until_end(self, pump: Pump, cancellation: Cancellation) -> Ended:
        """Open the start gate, forward cancellation, and return how the job ended.

        Raises CannotStart if the engine does not report the exit status.
        """
        self._directory.open_start_gate()
        with ExitStack() as stack:
            events = stack.enter_context(selectors.DefaultSelector())
            events.register(self._guard.process, selectors.EVENT_READ, "ended")
            events.register(cancellation.descriptor, selectors.EVENT_READ, "cancelled")
            events.register(pump.broken, selectors.EVENT_READ, "log broken")
            events.register(self._guard.breach, selectors.EVENT_READ, "breach")
            events.register(self._disk.descriptor, selectors.EVENT_READ, "disk full")
            while not self._step(events, cancellation):
                pass
        self._end.breach = self._guard.why
        pump.finish(self._patience_after_end(cancellation, DRAIN))
        return self._ended(cancellation)

    def _step(self, events: selectors.BaseSelector, cancellation: Cancellation) -> bool:
        """Wait for the next events and handle them; True when the container has ended."""
        for key, _ in events.select(self._patience()):
            match key.data:
                case "ended":
                    return True
                case "cancelled":
                    events.unregister(cancellation.descriptor)
                    self._cancel(cancellation.first or Signals.SIGTERM)
                case "log broken":
                    events.unregister(key.fileobj)
                    # Closed at the end of output, readable with a byte if writing failed.
                    if os.read(key.fd, 1):
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
        self._guard.signal(self._end.forwarded)

    def _kill_if_overdue(self) -> None:
        if self._end.deadline and not self._end.overdue and not self._patience():
            self._end.overdue = True
            self._guard.kill()

    def _patience_after_end(self, cancellation: Cancellation, usual: float) -> float:
        if cancellation.received is None:
            return usual
        left = cancellation.received + self._grace.kill_after - time.monotonic()
        return max(0.3, min(usual, left))

    def _ended(self, cancellation: Cancellation) -> Ended:
        if self._end.breach:
            return Breached(why=self._end.breach)
        if self._end.evicted:
            return Evicted(why=self._end.evicted)
        if self._end.by and self._end.overdue:
            return Overdue(by=self._end.by, after=self._grace.kill_after)
        patience = self._patience_after_end(cancellation, engine.TIMEOUT)
        try:
            code, out_of_memory = engine.outcome(self._client, self._running.id, timeout=patience)
        except CannotStart:
            if not self._end.forwarded:
                raise
            code, out_of_memory = 128 + self._end.forwarded, False
        if self._end.by and self._end.forwarded:
            return Cancelled(by=self._end.by, forwarded=self._end.forwarded, code=code)
        return Exited(code=code, out_of_memory=out_of_memory)

"""Guards one running container: notices its end, and ends it if its protection is breached.

That is the ruleset and, where the container has joined the network namespace of a holder
(ahead/holder.py), the holder's process: once that has ended, the engine takes the network away and
gives its address to another container. All of that is checked in a thread of its own, because
programs that read the rules may hang or be killed, and the supervising loop has to handle
cancellation meanwhile.
"""

import os
import selectors
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from signal import Signals
from typing import TYPE_CHECKING

from bootstrap.errors import CannotStart
from bootstrap.sandbox.leases import first_process
from bootstrap.sandbox.network import addresses, watch

if TYPE_CHECKING:
    import socket

# Seconds and attempts that the ruleset may stay unreadable before the container is killed. Attempts
# too, because the whole machine may have been paused.
UNREADABLE, ATTEMPTS = 5.0, 3
RETRY = 0.5  # seconds between two attempts to read the ruleset
ROUTING_RETRY = 5.0  # seconds between two attempts to restore the routing rules
CHANGED = "table inet airlock was changed or removed while the job ran"
HOLDER_ENDED = "the container that holds the job's network has ended before the job"


@dataclass(frozen=True, kw_only=True, slots=True)
class Protection:
    """How to check what protects a container, and what becomes readable when that may be needed.

    The sockets are those of `watch`, opened before anything was read, so that no change is missed.
    `is_unchanged` and `restore_routing` are those of `firewall`; both raise CannotStart. `report`
    is called from a thread, at most once per text.
    """

    changes: "socket.socket"
    rule_changes: "socket.socket"
    is_unchanged: Callable[[], bool]
    restore_routing: Callable[[], bool]
    report: Callable[[str], object]

    def close(self) -> None:
        """Close the sockets."""
        self.changes.close()
        self.rule_changes.close()


class Guard:
    """Guards the container whose first process is `pid`, and whose network `holder` holds, if any.

    `process` becomes readable when the container ends. `breach` becomes readable after it was
    killed because of its protection; `why` then has the reason, and is "" otherwise. Raises
    CannotStart if one of the two processes has ended.
    """

    def __init__(self, pid: int, protection: Protection, holder: int | None = None) -> None:
        with ExitStack() as undone:
            undone.callback(protection.close)
            self.process = watch.wait_for_exit(pid)
            undone.callback(os.close, self.process)
            held = () if holder is None else (_holder(pid, holder),)
            undone.pop_all()
        self.breach, writer = os.pipe2(os.O_CLOEXEC)
        stopped, self._stop = os.pipe2(os.O_CLOEXEC)
        self._checks = _Checks(
            os.dup(self.process), protection, held, stopped=stopped, breach=writer
        )
        self._checks.thread.start()

    @property
    def why(self) -> str:
        """The reason of a breach, set before the container is killed."""
        return self._checks.why

    def kill_with_it(self, process: int) -> None:
        """If the protection is breached, kill this process too: a service's. Takes the pidfd."""
        self._checks.others.append(process)

    def close(self) -> None:
        """End the checks. One that is under way ends later, and changes nothing."""
        for descriptor in (self._stop, self.breach, self.process):
            os.close(descriptor)

    def signal(self, number: Signals) -> None:
        """Signal the first process: the engine's init, which passes it to the bootstrap."""
        first_process.send(self.process, number)

    def kill(self) -> None:
        """Kill the first process of the PID namespace; the kernel ends all the others."""
        self.signal(Signals.SIGKILL)


class _Checks:
    """The thread. It owns its descriptors and closes them: `Guard.close` does not wait for it."""

    def __init__(
        self,
        process: int,
        protection: Protection,
        held: tuple[int, ...],
        *,
        stopped: int,
        breach: int,
    ) -> None:
        self.why = ""
        self.others: list[int] = []  # pidfds of what shares the container's network
        self.thread = threading.Thread(target=self._run, name="ruleset", daemon=True)
        self._process = process
        self._protection = protection
        self._held = held  # the pidfd of the holder, if there is one
        self._stopped = stopped
        self._breach = breach
        self._unreadable_since = 0.0  # time.monotonic() of the first of `_failures` in a row
        self._failures = 0
        self._routing_is_due = False
        self._reported: set[str] = set()

    def _run(self) -> None:
        protection = self._protection
        with closing(protection), selectors.DefaultSelector() as events:
            watched: tuple[int | socket.socket, ...] = (self._stopped, *self._held)
            for what in (*watched, protection.changes, protection.rule_changes):
                events.register(what, selectors.EVENT_READ)
            try:
                while self._step(events):
                    pass
            except Exception as bug:  # noqa: BLE001 - without the watch the job must not go on
                self._end_container(f"the watch of table inet airlock failed: {bug!r}")
            finally:
                own = (self._stopped, *self._held, self._breach, self._process, *self.others)
                for descriptor in own:
                    os.close(descriptor)

    def _step(self, events: selectors.BaseSelector) -> bool:
        """Wait for the next change or attempt; False when there is nothing left to watch."""
        ready = {key.fileobj for key, _ in events.select(self._patience())}
        if self._stopped in ready:
            return False
        if ready.intersection(self._held):
            self._end_container(HOLDER_ENDED)
            return False
        changed = watch.may_have_changed(self._protection.changes)
        self._routing_is_due |= watch.may_lack_rule(self._protection.rule_changes)
        if (changed or self._failures) and (why := self._breach_found()):
            self._end_container(why)
            return False
        if self._routing_is_due:
            self._routing_is_due = not self._restored_routing()
        return True

    def _patience(self) -> float | None:
        if self._failures:
            return RETRY
        return ROUTING_RETRY if self._routing_is_due else None

    def _breach_found(self) -> str:
        """Read the ruleset: it is breached if it differs, or if it stays unreadable."""
        if not self._failures:
            self._unreadable_since = time.monotonic()
        try:
            unchanged = self._protection.is_unchanged()
        except CannotStart as unreadable:
            self._failures += 1
            elapsed = time.monotonic() - self._unreadable_since
            if elapsed < UNREADABLE or self._failures < ATTEMPTS:
                return ""
            return (
                f"table inet airlock could not be read for {UNREADABLE:.0f} s while the job ran, "
                f"so it is unknown whether it still protects: {unreadable.problem}"
            )
        self._failures = 0
        return "" if unchanged else CHANGED

    def _restored_routing(self) -> bool:
        """Put the routing rule back if it is gone. The job goes on: the ruleset still protects."""
        try:
            if self._protection.restore_routing():
                self._report(
                    "another program removed the routing rule that is the second protection of "
                    "the metadata address (`ip rule`); Airlock put it back. The first one, table "
                    "inet airlock, is checked on its own"
                )
        except CannotStart as failed:
            self._report(
                "another program removed the routing rule that is the second protection of the "
                f"metadata address (`ip rule`), and it cannot be put back: {failed.problem}. The "
                "first one, table inet airlock, is checked on its own"
            )
            return False
        return True

    def _report(self, text: str) -> None:
        if text not in self._reported:
            self._reported.add(text)
            self._protection.report(text)

    def _end_container(self, why: str) -> None:
        if not first_process.has_ended(self._process):
            self.why = why
            for process in (self._process, *self.others):
                first_process.send(process, Signals.SIGKILL)


def _holder(pid: int, holder: int) -> int:
    """Return a pidfd of the holder. Raises CannotStart unless it has the container's network."""
    with ExitStack() as undone, suppress(FileNotFoundError, ProcessLookupError):
        descriptor = os.pidfd_open(holder)
        undone.callback(os.close, descriptor)
        # Looked at once it is open: what is compared is what the descriptor stands for.
        if addresses.namespace(holder) == addresses.namespace(pid):
            undone.pop_all()
            return descriptor
    raise CannotStart(HOLDER_ENDED, hint="Retry the job.")

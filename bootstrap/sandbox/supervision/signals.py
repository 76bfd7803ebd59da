"""Cancellation by the agent: one signal to the process group.

Its steps and deadlines: docs/agent-contract.md#cancellation
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from signal import Signals
from types import FrameType
from typing import TypeVar

CANCEL = (
    Signals.SIGTERM,
    Signals.SIGINT,
    Signals.SIGHUP,
    Signals.SIGQUIT,
    Signals.SIGUSR1,
    Signals.SIGUSR2,
)

# The bootstrap inside handles four signals; any other ends it without its hooks. A hangup means
# that the agent is gone and will not signal again, so it counts as an ordinary cancellation.
_TRANSLATED = {
    Signals.SIGHUP: Signals.SIGTERM,
    Signals.SIGUSR1: Signals.SIGTERM,
    Signals.SIGUSR2: Signals.SIGTERM,
}


class CancelledEarly(BaseException):
    """The agent cancelled the job before anything of it ran.

    As with KeyboardInterrupt, no handler of failures may take it for one: botocore would retry it,
    and a policy store that was interrupted would count as one that does not answer.
    """

    def __init__(self, by: Signals) -> None:
        super().__init__(by.name)
        self.by = by


class Cancellation:
    """Turns the first signal into a byte on `descriptor`, and into CancelledEarly at the start."""

    def __init__(self, descriptor: int, writer: int) -> None:
        self.descriptor = descriptor
        self.first: Signals | None = None
        self.received: float | None = None  # time.monotonic() of the first one
        self.abandoned = False
        self._writer = writer
        self._interrupting = False

    def note(self, number: int, _frame: FrameType | None = None) -> None:
        """Handle a signal: the first one counts, later ones mean the same."""
        if self.first is None:
            self.first, self.received = Signals(number), time.monotonic()
            os.write(self._writer, b"!")
        if self._interrupting:
            raise CancelledEarly(self.first)

    def abandon(self) -> None:
        """Take note that nobody waits for the job's status any more: it ends at once.

        Where nothing of it ran yet, this is a cancellation by SIGKILL, which its launcher got.
        """
        if self.abandoned:
            return
        self.abandoned = True
        if self.first is None:
            self.first, self.received = Signals.SIGKILL, time.monotonic()
        os.write(self._writer, b"!")
        if self._interrupting:
            raise CancelledEarly(self.first)

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Within this, a signal raises CancelledEarly, and so does one that came before.

        It does so at the end at the latest: an exception that a signal raises in a callback, such
        as an object's finalizer, gets no further, and cleaning up may fail on its way out.
        """
        self._check()
        self._interrupting = True
        try:
            yield
        except Exception as failed:
            if self.first is not None:
                raise CancelledEarly(self.first) from failed
            raise
        finally:
            self._interrupting = False
        self._check()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Within this, a signal waits: it raises CancelledEarly at the end, if it would have."""
        before, self._interrupting = self._interrupting, False
        try:
            yield
        finally:
            self._interrupting = before
        if before:
            self._check()

    def _check(self) -> None:
        if self.first is not None:
            raise CancelledEarly(self.first)


_Kind = TypeVar("_Kind", bound=Cancellation)


@contextmanager
def cancellation() -> Iterator[Cancellation]:
    """Handle the cancel signals until this closes, and ignore them from then on.

    What follows is this process's own end, with a status that is decided.
    """
    with cancellation_of(Cancellation) as received:
        yield received


@contextmanager
def cancellation_of(kind: type[_Kind]) -> Iterator[_Kind]:
    """Do as `cancellation`, with a kind of it that treats later signals in another way."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    received = kind(reader, writer)
    for number in CANCEL:
        signal.signal(number, received.note)
    try:
        yield received
    finally:
        for number in CANCEL:
            signal.signal(number, signal.SIG_IGN)
        os.close(reader)
        os.close(writer)


def translated(by: Signals) -> Signals:
    """Return the signal to forward to the container for the one received."""
    return _TRANSLATED.get(by, by)


def die_by(number: Signals) -> None:
    """End this process by `number`, so that the agent sees the signal itself."""
    if number is not Signals.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)

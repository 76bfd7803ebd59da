"""Cancellation as the agent does it: one signal to the process group.

Its steps and deadlines: docs/agent-contract.md#cancellation
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from signal import Signals
from types import FrameType

CANCEL = (
    Signals.SIGTERM,
    Signals.SIGINT,
    Signals.SIGHUP,
    Signals.SIGQUIT,
    Signals.SIGUSR1,
    Signals.SIGUSR2,
)

# The bootstrap inside knows four signals and dies of any other without its hooks. A hangup means
# that the agent is gone: nobody will ask again, so it counts as the ordinary end.
_TRANSLATED = {
    Signals.SIGHUP: Signals.SIGTERM,
    Signals.SIGUSR1: Signals.SIGTERM,
    Signals.SIGUSR2: Signals.SIGTERM,
}


class CancelledEarly(Exception):
    """The agent cancelled the job before anything of it ran."""

    def __init__(self, by: Signals) -> None:
        super().__init__(by.name)
        self.by = by


class Cancellation:
    """Turns signals into bytes on `descriptor`, and into CancelledEarly while `interrupting`."""

    def __init__(self, descriptor: int, writer: int) -> None:
        self.descriptor = descriptor
        self.first: Signals | None = None
        self._writer = writer
        self._interrupting = False

    def note(self, number: int, _frame: FrameType | None = None) -> None:
        """Remember the first signal; any later one means the same."""
        if self.first is None:
            self.first = Signals(number)
            os.write(self._writer, b"!")
        if self._interrupting:
            raise CancelledEarly(self.first)

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Within this, a signal ends whatever is going on by raising CancelledEarly."""
        if self.first is not None:
            raise CancelledEarly(self.first)
        self._interrupting = True
        try:
            yield
        finally:
            self._interrupting = False


@contextmanager
def cancellation() -> Iterator[Cancellation]:
    """Take over the cancel signals until this closes."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    noted = Cancellation(reader, writer)
    before = {number: signal.signal(number, noted.note) for number in CANCEL}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)


def translated(by: Signals) -> Signals:
    """Say which signal the room gets for the one we got."""
    return _TRANSLATED.get(by, by)


def die_by(number: Signals) -> None:
    """End this process by `number`, so that the agent sees the signal itself."""
    if number is not Signals.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)

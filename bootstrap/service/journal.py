"""The service's own log: plain lines on standard error, which systemd puts into the journal.

What is about a job is in the job's log and in the audit trail.
"""

import os
import select
from collections.abc import Callable
from contextlib import suppress

from bootstrap.errors import AirlockError
from bootstrap.log import JobLog, Write
from bootstrap.text import counted

PERIOD = 60.0  # seconds in which a repeated line is printed ...
BURST = 10  # ... this many times


def without_waiting(descriptor: int) -> Write:
    """Return a writer that leaves out what its reader has no space for.

    A journal that does not read must not stop the service. The descriptor stays as it is: other
    processes share it.
    """
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)

    def write(line: bytes) -> None:
        with suppress(OSError):
            if poll.poll(0) == [(descriptor, select.POLLOUT)]:
                os.write(descriptor, line[: select.PIPE_BUF])

    return write


class Journal(JobLog):
    """One line for each event. Secrets that were given to `mask` are masked in all of them."""

    def group(self, title: str) -> None:
        """Journals have no groups."""
        self.note(title)

    def note(self, text: str) -> None:
        """Add a line."""
        self._line(f"airlock: {self._shown(text, 500)}")

    def alert(self, text: str) -> None:
        """Add a line about what an operator should look at."""
        self._line(f"airlock: warning: {self._shown(text, 500)}")

    def failure(self, error: AirlockError, of: str = "") -> None:
        """Add what happened, its details, and what to do. `of` is the chore that failed."""
        problem = f"{of} failed: {error.problem}" if of else error.problem
        self._line(f"airlock: error: {self._shown(problem, 2000)}")
        for detail in error.details:
            self._line(f"airlock:   {self._shown(detail, 500)}")
        self._line(f"airlock:   what to do: {self._shown(error.hint, 1000)}")


class Limited:
    """Passes lines on, but of each kind at most BURST in PERIOD seconds; then says how many more.

    Whoever can connect to the socket could otherwise fill the journal.
    """

    def __init__(self, line: Callable[[str], object]) -> None:
        self._line = line
        self._since: dict[str, float] = {}
        self._count: dict[str, int] = {}

    def __call__(self, kind: str, text: str, now: float) -> None:
        """Pass on a line of one kind, of which there have to be few."""
        if now - self._since.setdefault(kind, now) >= PERIOD:
            self.flush(now)
            self._since[kind] = now
        self._count[kind] = self._count.get(kind, 0) + 1
        if self._count[kind] <= BURST:
            self._line(text)

    def flush(self, now: float) -> None:
        """Print how many lines were left out of each kind whose period is over."""
        for kind, since in list(self._since.items()):
            if now - since >= PERIOD:
                if (more := self._count.pop(kind, 0) - BURST) > 0:
                    self._line(f"{kind}: {counted(more, 'more line')} in {PERIOD:.0f} s left out")
                del self._since[kind]

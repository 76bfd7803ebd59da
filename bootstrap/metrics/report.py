"""Reports of this process to the service's meter, by a named pipe that never makes it wait.

A pipe holds a bounded number of bytes, and a line of at most PIPE_BUF bytes is written whole or not
at all. What does not fit is lost and counted. Where no meter reads, nothing is reported.
"""

import fcntl
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from bootstrap.metrics import catalogue
from bootstrap.metrics.catalogue import Metric
from bootstrap.metrics.events import Sample

PIPE = "metrics"  # its name in paths.runtime
LONGEST = 4096  # PIPE_BUF of Linux
SIZE = 1 << 20  # bytes that wait at most: some thousand jobs' ends


class _Reporter:
    """This process's end of the pipe: like its standard error, there is one for all of it.

    A process that was forked has to open its own: it may have closed this one, and another file may
    have its number by now.
    """

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self._process = 0
        self.runtime: Path | None = None
        self.lost = 0

    def use(self, descriptor: int | None) -> None:
        if self._descriptor is not None and self._process == os.getpid():
            os.close(self._descriptor)
        self._descriptor, self._process, self.lost = descriptor, os.getpid(), 0

    def descriptor(self) -> int | None:
        return self._descriptor if self._process == os.getpid() else None


_REPORTER = _Reporter()


def create(runtime: Path) -> int:
    """Create the pipe and return a descriptor to read from it, which keeps it open for writers.

    This process reports to it too. Raises OSError.
    """
    path = runtime / PIPE
    with suppress(FileExistsError):
        os.mkfifo(path, 0o600)
    reader = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    with suppress(OSError):
        fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, SIZE)
    to(runtime)
    return reader


def to(runtime: Path) -> None:
    """Report to the meter of this host from now on, if there is one."""
    try:
        descriptor = os.open(runtime / PIPE, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # there is no pipe, or nobody reads it
        descriptor = None
    _REPORTER.use(descriptor)
    _REPORTER.runtime = runtime


def again() -> None:
    """Report as before from now on, in a process that was just forked."""
    if _REPORTER.runtime is not None:
        to(_REPORTER.runtime)


def report(metric: Metric, amount: float = 1.0, **labels: str) -> None:
    """Add `amount` to a counter or histogram. Never waits and never raises."""
    report_all((Sample(metric, labels, amount),))


def report_all(samples: Iterable[Sample]) -> None:
    """Report several samples, whole or not at all, if they fit into one line."""
    descriptor = _REPORTER.descriptor()
    found = list(samples) if descriptor is not None else []
    if descriptor is None or not found:
        return
    lost = [Sample(catalogue.REPORTS_LOST, {}, _REPORTER.lost)] if _REPORTER.lost else []
    line = encoded([*found, *lost])
    try:
        whole = len(line) <= LONGEST and os.write(descriptor, line) == len(line)
    except OSError:
        whole = False
    _REPORTER.lost = 0 if whole else _REPORTER.lost + len(found)


def encoded(samples: Iterable[Sample]) -> bytes:
    """Return samples as one line; only what the catalogue lists is in it."""
    rows = [[s.metric.name, list(s.metric.key(s.labels)), s.amount] for s in samples]
    return json.dumps(rows, separators=(",", ":")).encode() + b"\n"

"""Failures of Airlock after a job has begun: lines in its log, never its status."""

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from bootstrap.errors import AirlockError
from bootstrap.log import JobLog
from bootstrap.record import Record
from bootstrap.text import printable

_LINES, _WIDTH = 60, 300  # of a traceback


class Alerts:
    """Reports failures in the job's log, and those that are bugs in the audit trail too."""

    def __init__(self, log: JobLog, record: Record) -> None:
        self._log = log
        self._record = record

    def report(self, what: str, failure: BaseException) -> None:
        """Say that `what` is the consequence of `failure`. Never raises."""
        with suppress(BaseException):
            self._log.alert(f"{what}: {named(failure)}")
            if not isinstance(failure, AirlockError | OSError):
                self._record.internal_error(what, traced(failure, self._log.masked))

    @contextmanager
    def instead(self, what: str) -> Iterator[None]:
        """Report every failure within this instead of raising it: the job's result stays."""
        try:
            yield
        except BaseException as failure:  # noqa: BLE001 - no bug may change a job's result
            self.report(what, failure)


def traced(failure: BaseException, masked: Callable[[str], str]) -> list[str]:
    """Return the traceback line by line, without what `masked` removes, bounded from the front."""
    lines = masked("".join(traceback.format_exception(failure))).splitlines()
    return [printable(line, limit=_WIDTH) for line in lines[-_LINES:]]


def named(failure: BaseException) -> str:
    """Return what has failed: a bug by its class too, whose message alone may say nothing."""
    if isinstance(failure, AirlockError):
        return failure.problem
    if isinstance(failure, OSError) and failure.strerror:
        return f"{failure.strerror} ({failure.filename})" if failure.filename else failure.strerror
    return f"{type(failure).__name__}: {failure}"

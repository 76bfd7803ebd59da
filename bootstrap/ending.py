"""A job's end: its result, and everything that is still to be done without changing it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from signal import Signals

from bootstrap.alerts import Alerts
from bootstrap.log import JobLog
from bootstrap.record import Record
from bootstrap.sandbox.model import Ended
from bootstrap.sandbox.supervision import fullness
from bootstrap.sandbox.supervision.exitstatus import DieBy, ExitStatus, ExitWith, explain, resolve

NOT_REMOVED = (
    "the sandbox was not removed as a whole (the next job on this host, or `airlock gc`, does it)"
)
_KINDS: dict[type[ExitStatus], str] = {ExitWith: "exit", DieBy: "signal"}


class Result:
    """How the job ended, once it has; before that, every failure is what ends it."""

    def __init__(self, alerts: Alerts) -> None:
        self.ended: Ended | None = None
        self._alerts = alerts

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Report, instead of raising it, what fails in here after `ended` is set."""
        try:
            yield
        except BaseException as failure:
            if self.ended is None:
                raise
            self._alerts.report(NOT_REMOVED, failure)


def concluded(
    ended: Ended,
    alerts: Alerts,
    *,
    problems: Sequence[str],
    full: Sequence[str],
    log: JobLog,
    record: Record,
) -> ExitStatus:
    """Explain and record the end, and return the status for the agent. Never raises.

    `problems` are reasons why a part of the log may be missing, `full` is what the job used up.
    """
    status = resolve(ended)
    with alerts.instead("how the job ended is not explained here"):
        for problem in problems:
            log.alert(problem)
        explain(ended, log)
        fullness.explain(ended, full, log)
    with alerts.instead("the job's end is not in the audit record"):
        record.ended(
            status={"kind": _KINDS[type(status)], **_fields(status)},
            ended={"kind": type(ended).__name__.lower(), **_fields(ended)},
            used_up=full,
        )
    return status


def _fields(value: ExitStatus | Ended) -> dict[str, object]:
    """Return the fields, signals by their names."""
    return {k: v.name if isinstance(v, Signals) else v for k, v in asdict(value).items()}

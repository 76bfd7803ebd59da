"""`airlock bootstrap`: what the agent starts for every job."""

import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import assert_never

from bootstrap.alerts import Alerts, traced
from bootstrap.caller import Caller, alone
from bootstrap.errors import AirlockError, CannotStart, InternalError
from bootstrap.host import config, oom
from bootstrap.log import JobLog, to_descriptor
from bootstrap.metrics import report
from bootstrap.record import Record
from bootstrap.run import run
from bootstrap.sandbox.supervision.exitstatus import DieBy, ExitStatus, ExitWith
from bootstrap.sandbox.supervision.signals import Cancellation, CancelledEarly, die_by
from bootstrap.text import counted

PASSING = 0.05  # seconds


def bootstrap(*, config_path: Path, process_env: Mapping[str, str], out: int) -> int:
    """Run one job and return its exit status; a cancelled one dies by the signal it was sent."""
    status = job_status(alone(config_path), process_env, out)
    match status:
        case ExitWith(code=code):
            return code
        case DieBy(signal=signal):
            die_by(signal)
            return 128 + signal
        case _:
            assert_never(status)


def job_status(caller: Caller, process_env: Mapping[str, str], out: int) -> ExitStatus:
    """Run one job and return the status for the agent: alone, and in a worker of the service."""
    log = JobLog(to_descriptor(out))
    status: ExitStatus
    try:
        with caller.signals() as requested:
            status = _run(caller, process_env, log, requested, out)
    except CancelledEarly as cancelled:
        log.note("cancelled before the job began")
        status = DieBy(signal=cancelled.by, whose="airlock")
    except AirlockError as error:
        log.failure(error)
        status = ExitWith(code=error.exit_code, whose="airlock")
    _let_output_pass(out)
    return status


def _let_output_pass(out: int) -> None:
    """Wait until a terminal's last lines have reached the agent.

    The kernel passes them on from a work queue, and discards what is left there when the leader of
    the terminal's session ends, which is this process, or the launcher. Nothing reports when it is
    done: without this, one of 80 refusals had no text in its log.
    """
    if os.isatty(out):
        time.sleep(PASSING)


def _run(
    caller: Caller,
    process_env: Mapping[str, str],
    log: JobLog,
    requested: Cancellation,
    out: int,
) -> ExitStatus:
    config.require_root()
    oom.be_ordinary()
    host = caller.host()
    log.mask(*host.secrets)
    report.to(host.paths.runtime)
    record = Record(host.paths.records, f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")
    alerts = Alerts(log, record)
    try:
        return run(
            process_env, host, caller, log=log, record=record, cancellation=requested, out=out
        )  # fmt: skip
    except CancelledEarly as cancelled:
        with alerts.instead("the cancellation is not in the audit record"):
            record.cancelled(cancelled.by.name)
        raise
    except Exception as failure:
        error = _explained(failure)
        bug = traced(failure, log.masked) if isinstance(error, InternalError) else ()
        with alerts.instead("the failure is not in the audit record"):
            record.failed(error, bug)
        if error is failure:
            raise
        raise error from failure
    finally:
        _save(record, host.paths.state / "records", caller.uid, log, alerts)


def _explained(failure: Exception) -> AirlockError:
    """Return what a failure before the job's begin means, by its class."""
    match failure:
        case AirlockError():
            return failure
        case OSError():
            return CannotStart(
                f"this host refused a call: {failure}",
                hint="Is a disk or /run full (`df -h`, `df -i`), or mounted read-only? Airlock "
                "writes to what [paths] in airlock.toml names.",
            )
        case _:
            return InternalError(
                f"{type(failure).__name__}: {failure}",
                hint="Please report it with the lines of paths.records for this job: its event "
                "`failed` has the traceback.",
            )


def _save(record: Record, directory: Path, uid: int, log: JobLog, alerts: Alerts) -> None:
    """A failure is only reported: the audit trail has the same events already."""
    with alerts.instead(f"the job's own record could not be written to {directory}"):
        record.save(directory, uid)
    with alerts.instead("the audit record is not complete"):
        if count := record.unwritten():
            log.alert(
                f"{counted(count, 'event')} of this job could not be written to the audit record"
            )

"""`airlock bootstrap`: what the agent starts for every job."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import assert_never

from bootstrap.errors import AirlockError, InternalError
from bootstrap.host import config
from bootstrap.log import JobLog, to_descriptor
from bootstrap.record import Record
from bootstrap.run import run
from bootstrap.sandbox.exitstatus import DieBy, ExitStatus, ExitWith
from bootstrap.sandbox.signals import Cancellation, CancelledEarly, cancellation, die_by


def bootstrap(*, config_path: Path, process_env: Mapping[str, str], out: int) -> int:
    """Run one job and return its exit status; a cancelled one dies by the signal it was sent."""
    log = JobLog(to_descriptor(out))
    try:
        with cancellation() as requested:
            status = _run(config_path, process_env, log, requested, out)
    except CancelledEarly as cancelled:
        log.note("cancelled before the job began")
        status = DieBy(signal=cancelled.by, whose="airlock")
    except AirlockError as error:
        log.failure(error)
        status = ExitWith(code=error.exit_code, whose="airlock")
    match status:
        case ExitWith(code=code):
            return code
        case DieBy(signal=signal):
            die_by(signal)
            return 128 + signal
        case _:
            assert_never(status)


def _run(
    config_path: Path,
    process_env: Mapping[str, str],
    log: JobLog,
    requested: Cancellation,
    out: int,
) -> ExitStatus:
    host = config.load(config_path)
    log.mask(*host.secrets)
    config.require_root()
    record = Record(host.paths.records, f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")
    try:
        return run(process_env, host, log=log, record=record, cancellation=requested, out=out)
    except AirlockError as error:
        record.failed(error)
        raise
    except CancelledEarly as cancelled:
        record.cancelled(cancelled.by.name)
        raise
    except Exception as bug:
        failure = InternalError(
            f"{type(bug).__name__}: {bug}",
            hint="Please report it with the lines of paths.records for this job.",
        )
        record.failed(failure)
        raise failure from bug
    finally:
        _save(record, host.paths.state / "records", log)


def _save(record: Record, directory: Path, log: JobLog) -> None:
    """A failure is only reported: the audit trail has the same events already."""
    try:
        record.save(directory)
    except OSError as unwritable:
        log.alert(f"the job's own record could not be written: {unwritable}")

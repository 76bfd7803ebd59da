"""Every exception that may occur once a job has begun, and that none of them becomes its status."""

import errno
import json
from collections.abc import Callable
from pathlib import Path
from signal import Signals

import pytest

from bootstrap.alerts import Alerts
from bootstrap.ending import Result, concluded
from bootstrap.errors import CannotStart, InternalError, Refused, WrongConfiguration
from bootstrap.log import JobLog
from bootstrap.record import Record
from bootstrap.sandbox.model import Exited
from bootstrap.sandbox.supervision.exitstatus import ExitWith
from bootstrap.sandbox.supervision.signals import CancelledEarly
from bootstrap.secret import Secret
from tests.test_record import events

ENDED = Exited(code=7, out_of_memory=False)

FAILURES: tuple[BaseException, ...] = (
    CannotStart("Docker does not answer", hint="x"),
    WrongConfiguration("no", hint="x"),
    Refused("no", hint="x"),
    InternalError("no", hint="x"),
    CancelledEarly(Signals.SIGTERM),
    BrokenPipeError(errno.EPIPE, "the reaper is dead"),
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EMFILE, "Too many open files"),
    FileNotFoundError(errno.ENOENT, "/run/airlock is gone"),
    TimeoutError("timed out"),
    UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    ValueError("I/O operation on closed file"),
    RuntimeError("can't start new thread"),
    RecursionError("too deep"),
    MemoryError(),
    KeyError("a bug"),
    AssertionError(),
    KeyboardInterrupt(),
    SystemExit(1),
)
IDS = [f"{number}-{type(failure).__name__}" for number, failure in enumerate(FAILURES)]


def made(directory: Path) -> tuple[list[bytes], JobLog, Record]:
    lines: list[bytes] = []
    log, record = JobLog(lines.append), Record(directory / "records.jsonl", "now")
    record.job(organization="o", pipeline="p", job="j", build="1", agent="a", env={})
    record.began(log.alert)
    return lines, log, record


@pytest.mark.parametrize("failure", FAILURES, ids=IDS)
def test_a_failure_after_the_end_is_a_line_and_the_result_stays(
    tmp_path: Path, failure: BaseException
) -> None:
    lines, log, record = made(tmp_path)
    result = Result(Alerts(log, record))
    with result.kept():
        result.ended = ENDED
        raise failure
    assert result.ended == ENDED
    assert b"the sandbox was not removed as a whole" in lines[0]


@pytest.mark.parametrize("failure", FAILURES, ids=IDS)
def test_a_failure_before_the_end_is_raised(tmp_path: Path, failure: BaseException) -> None:
    _, log, record = made(tmp_path)
    result = Result(Alerts(log, record))
    with pytest.raises(type(failure)) as raised, result.kept():
        raise failure
    assert raised.value is failure


@pytest.mark.parametrize("failure", FAILURES, ids=IDS)
def test_a_log_or_a_record_that_fails_does_not_change_the_status(
    tmp_path: Path, failure: BaseException
) -> None:
    def fail(*_: object) -> None:
        raise failure

    _, log, record = made(tmp_path)
    broken: list[tuple[JobLog, Record]] = [(JobLog(fail), record), (log, _failing(tmp_path, fail))]
    for one_log, one_record in broken:
        alerts = Alerts(one_log, one_record)
        lost = ("a part of the log may be missing",)
        status = concluded(
            ENDED, alerts, problems=lost, full=("/tmp was full",), log=one_log, record=one_record
        )
        assert status == ExitWith(code=7, whose="job")


def test_what_a_job_has_used_up_is_recorded_also_if_it_did_not_fail(tmp_path: Path) -> None:
    lines, log, record = made(tmp_path)
    full = ("/tmp, in memory, was full",)
    ended = Exited(code=0, out_of_memory=False)
    concluded(ended, Alerts(log, record), problems=(), full=full, log=log, record=record)
    assert lines == []
    (event,) = events(tmp_path / "records.jsonl")
    assert event["used_up"] == ["/tmp, in memory, was full"]


def _failing(directory: Path, fail: Callable[..., None]) -> Record:
    """Return a record whose every event fails as `fail` does, at the file."""
    record = Record(directory / "other.jsonl", "now")
    record.began(lambda _: None)
    record._file._catch_up = fail  # type: ignore[method-assign]  # noqa: SLF001
    return record


def test_a_bug_has_its_traceback_in_the_record_masked_and_bounded(tmp_path: Path) -> None:
    lines, log, record = made(tmp_path)
    log.mask(Secret("hunter2\nhunter3"))

    def deep(depth: int) -> None:
        if depth:
            deep(depth - 1)
        raise KeyError("hunter2\nhunter3", "https://ci:s3cret@h/", "\x1b[2J", "x" * 5000)

    with Alerts(log, record).instead("the sandbox was not removed"):
        deep(100)
    (event,) = events(tmp_path / "records.jsonl")
    assert event["event"] == "internal_error"
    assert event["problem"] == "the sandbox was not removed"
    assert len(event["traceback"]) <= 60
    assert all(len(line) <= 300 for line in event["traceback"])
    assert "in deep" in "".join(event["traceback"])
    whole = json.dumps(event) + b"".join(lines).decode()
    assert "\x1b[2J" not in "".join(event["traceback"])
    assert "s3cret" not in whole

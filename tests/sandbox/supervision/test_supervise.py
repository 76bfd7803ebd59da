"""From the start gate to a job's end: what fails in between, and what ends at the same moment."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bootstrap.alerts import Alerts
from bootstrap.log import JobLog
from bootstrap.record import Record
from bootstrap.sandbox.leases.first_process import has_ended
from bootstrap.sandbox.model import (
    Breached,
    Ended,
    Evicted,
    Exited,
    Overdue,
    Running,
    SandboxGrace,
    Unknown,
)
from bootstrap.sandbox.supervision.process_end import ProcessEnd
from bootstrap.sandbox.supervision.pump import Pump
from bootstrap.sandbox.supervision.signals import Cancellation
from bootstrap.sandbox.supervision.supervise import Supervision
from tests.sandbox.supervision.test_pump import never
from tests.test_record import events

GRACE = SandboxGrace(inner=0.3, kill_after=0.6, agent_kills=3.0)
# A process that is no child of the test, as no container is a child of Airlock.
STARTED = """
import subprocess, sys
script = "trap '' TERM; echo $$; read line; " + sys.argv[1]
subprocess.run(["/bin/sh", "-c", script])
"""


class Process:
    """A process that begins when its start gate opens; also the guard that may kill it."""

    def __init__(self, command: str) -> None:
        self.middle = subprocess.Popen(
            [sys.executable, "-c", STARTED, command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.middle.stdout
        self.pid = int(self.middle.stdout.readline())
        self.process = os.pidfd_open(self.pid)
        self.breach, self._writer = os.pipe()
        self.why = ""

    def open_start_gate(self) -> None:
        assert self.middle.stdin
        self.middle.stdin.write(b"go\n")
        self.middle.stdin.flush()

    def mark_timed_out(self) -> None:
        raise AssertionError("nothing times out here")

    def signal(self, number: Signals) -> None:
        if not has_ended(self.process):
            signal.pidfd_send_signal(self.process, number)

    def kill(self) -> None:
        self.signal(Signals.SIGKILL)

    def close(self) -> None:
        self.kill()
        for file in (self.middle.stdin, self.middle.stdout):
            assert file
            file.close()
        self.middle.wait()
        for descriptor in (self.process, self.breach, self._writer):
            os.close(descriptor)


class Disk:
    """A watch of the disk that reports what `reason` returns, once `report` is called.

    `look` is what looking at what the job used up does.
    """

    def __init__(self, reason: Callable[[], str], look: Callable[[], object] = list) -> None:
        self.fullness = SimpleNamespace(look=look)
        self.descriptor, self._writer = os.pipe()
        self._reason = reason

    @property
    def why(self) -> str:
        return self._reason()

    def report(self) -> None:
        os.write(self._writer, b"!")

    def look(self) -> None:
        self.looked = True

    def close(self) -> None:
        for descriptor in (self.descriptor, self._writer):
            os.close(descriptor)


@dataclass
class Case:
    """One supervised process, without an engine."""

    directory: Path
    lines: list[bytes] = field(default_factory=list)
    marker: Path | None = None

    def run(
        self, process: Process, disk: Disk, *, by: Signals | None = None, out: int = 1
    ) -> Ended:
        log = JobLog(self.lines.append)
        record = Record(self.directory / "records.jsonl", "now")
        record.began(log.alert)
        one, other = socket.socketpair()
        pump = Pump(one, out, never)
        other.close()
        pump.start()
        pump.finish(10)
        supervision = Supervision(
            cast("Any", None),  # no engine: asking it is a TypeError
            Running(id="c", name="c", pid=process.pid, address="x", gateway="x"),
            guard=cast("Any", process), grace=GRACE, directory=cast("Any", process),
            timeout_marker=self.marker, disk=cast("Any", disk),
            process_end=ProcessEnd(process.pid, process.process), alerts=Alerts(log, record),
        )  # fmt: skip
        reader, writer = os.pipe()
        cancellation = Cancellation(reader, writer)
        if by:
            cancellation.note(by)
        try:
            return supervision.until_end(pump, cancellation)
        finally:
            pump.close()
            disk.close()
            for descriptor in (reader, writer):
                os.close(descriptor)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


@pytest.fixture
def start() -> Iterator[Callable[[str], Process]]:
    started: list[Process] = []

    def begin(command: str) -> Process:
        started.append(Process(command))
        end = ProcessEnd(started[-1].pid, started[-1].process)
        knows = end._events is not None or end.status(0) is None  # noqa: SLF001
        end.close()
        assert knows
        return started[-1]

    yield begin
    for process in started:
        process.close()


def broken() -> str:
    raise KeyError("a bug in the loop")


def full() -> str:
    return "the disk is nearly full"


Start = Callable[[str], Process]


def test_a_status_that_the_kernel_reports_needs_no_engine(case: Case, start: Start) -> None:
    """Asking the engine fails here in a way that nobody expected."""
    assert case.run(start("exit 7"), Disk(full)) == Exited(code=7, out_of_memory=None)


def test_what_a_job_used_up_is_looked_at_once_when_it_has_ended(case: Case, start: Start) -> None:
    """Later is too late: the engine removes the control group, and the count of refused forks."""
    process, looked = start("exit 7"), list[bool]()
    disk = Disk(full, lambda: looked.append(has_ended(process.process)))
    assert case.run(process, disk) == Exited(code=7, out_of_memory=None)
    assert looked == [True]


def test_a_look_that_fails_is_a_line_of_the_log(case: Case, start: Start) -> None:
    assert case.run(start("exit 7"), Disk(full, broken)) == Exited(code=7, out_of_memory=None)
    assert b"what the job used up is not known: KeyError" in case.lines[0]


def test_a_bug_in_the_loop_kills_the_job_and_is_not_its_status(case: Case, start: Start) -> None:
    process, disk = start("exec sleep 60"), Disk(broken)
    disk.report()
    ended = case.run(process, disk)
    assert ended == Unknown(why="Airlock failed while the job ran (KeyError)")
    assert has_ended(process.process)
    assert b"the job was killed, because Airlock failed" in case.lines[0]
    (event,) = events(case.directory / "records.jsonl")
    assert event["event"] == "internal_error"
    assert "a bug in the loop" in event["traceback"][-1]


class EndedAtOnce(Process):
    """Its job has ended by the time anybody looks, and what is reported is reported too."""

    def __init__(self, command: str, disk: Disk) -> None:
        super().__init__(command)
        self._disk = disk

    def open_start_gate(self) -> None:
        self._disk.report()
        super().open_start_gate()
        assert has_ended(self.process, 10)


@pytest.mark.parametrize("reason", [broken, full])
def test_a_job_that_had_ended_by_itself_keeps_its_status(
    case: Case, reason: Callable[[], str]
) -> None:
    disk = Disk(reason)
    process = EndedAtOnce("exit 7", disk)
    try:
        assert case.run(process, disk) == Exited(code=7, out_of_memory=None)
    finally:
        process.close()


def test_a_job_that_had_ended_before_the_breach_keeps_its_status(case: Case) -> None:
    """The guard asks whether it still runs, and then sets the reason and kills it."""
    disk = Disk(full)
    process = EndedAtOnce("exit 7", disk)
    process.why = "the ruleset was changed"
    try:
        assert case.run(process, disk) == Exited(code=7, out_of_memory=None)
    finally:
        process.close()


def test_a_killed_job_by_a_breach_is_breached(case: Case, start: Start) -> None:
    process = start("kill -9 $$")
    process.why = "the ruleset was changed"
    assert case.run(process, Disk(full)) == Breached(why="the ruleset was changed")


class ReapedLate(EndedAtOnce):
    """Its parent, the container's shim, does not run when it ends."""

    def open_start_gate(self) -> None:
        self.middle.send_signal(Signals.SIGSTOP)
        super().open_start_gate()
        threading.Timer(1.0, self.middle.send_signal, (Signals.SIGCONT,)).start()


def test_a_job_that_is_reaped_late_keeps_its_status(case: Case) -> None:
    disk = Disk(full)
    process = ReapedLate("exit 7", disk)
    try:
        assert case.run(process, disk) == Exited(code=7, out_of_memory=None)
    finally:
        process.close()


def test_a_job_that_fills_the_disk_is_killed(case: Case, start: Start) -> None:
    disk = Disk(full)
    disk.report()
    assert case.run(start("exec sleep 60"), disk) == Evicted(why="the disk is nearly full")


def test_a_cancelled_job_is_killed_when_its_time_is_over(case: Case, start: Start) -> None:
    process = start("exec sleep 60")
    ended = case.run(process, Disk(full), by=Signals.SIGTERM)
    assert ended == Overdue(by=Signals.SIGTERM, after=0.6)


def test_a_job_whose_log_nobody_reads_any_more_is_cancelled(case: Case, start: Start) -> None:
    """It prints nothing, so that no write fails: the agent was killed, and had no terminal."""
    reader, out = os.pipe()
    os.close(reader)
    ended = case.run(start("sleep 60"), Disk(lambda: ""), out=out)
    os.close(out)
    assert ended == Overdue(by=Signals.SIGHUP, after=GRACE.kill_after)


def test_what_keeps_the_gate_shut_is_raised(case: Case, start: Start) -> None:
    process = start("exit 7")
    assert process.middle.stdin
    process.middle.stdin.close()
    with pytest.raises(ValueError, match="closed file"):
        case.run(process, Disk(full))

"""Chores are processes: one at a time, killed if overdue, gone with the service."""

import os
import select
import signal
import time
from contextlib import suppress

import pytest

from bootstrap.errors import CannotStart
from bootstrap.service.journal import Journal
from bootstrap.service.lanes import Lane, Lanes, Work
from bootstrap.service.schedule import Chore, Schedule

CHORE = Chore(name="gc", every=300.0, limit=60.0)


class Running:
    """Lanes with one lane, whose lines are kept."""

    def __init__(self, work: Work) -> None:
        self.lines: list[str] = []
        self.schedule = Schedule([CHORE], 0.0, spread=lambda: 0.0)
        lane = Lane(schedule=self.schedule, works={"gc": work})
        self.lanes = Lanes([lane], Journal(lambda line: self.lines.append(line.decode())))

    def wait(self, now: float) -> int:
        """Wait for the chore's end and report it; return its wait status."""
        pid, status = os.waitpid(-1, 0)
        assert self.lanes.ended(pid, status, now)
        return status


def blocked() -> int:
    """Work that goes on until its process is killed."""
    signal.pause()
    return 0


def test_chore_runs_in_a_process_of_its_own_and_is_due_again_later() -> None:
    running = Running(lambda: 0)
    running.lanes.tick(0.0)
    assert os.waitstatus_to_exitcode(running.wait(1.0)) == 0
    assert running.schedule.wake(1.0) == CHORE.every
    assert running.lines == []


@pytest.mark.parametrize(
    ("failure", "status", "lines"),
    [
        (
            CannotStart("Docker does not answer", hint="start it"), 125,
            ["error: gc failed: Docker does not answer", "  what to do: start it"],
        ),
        (
            OSError(28, "No space left on device"), 125,
            ["warning: gc failed: this host refused a call: [Errno 28] No space left on device"],
        ),
        (KeyError("a"), 70, ["warning: gc failed by a bug of Airlock", "warning: KeyError: 'a'"]),
    ],
)  # fmt: skip
def test_failure_is_printed_with_the_chores_name_and_tried_again(
    failure: Exception, status: int, lines: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    def work() -> int:
        raise failure

    lane = Lane(schedule=Schedule([CHORE], 0.0, spread=lambda: 0.0), works={"gc": work})
    lanes = Lanes([lane], Journal(lambda text: os.write(2, text) and None))
    lanes.tick(0.0)
    pid, ended = os.waitpid(-1, 0)
    assert os.waitstatus_to_exitcode(ended) == status
    assert lanes.ended(pid, ended, 0.0)
    printed = capfd.readouterr().err.splitlines()
    assert [one for one in lines if f"airlock: {one}" not in printed] == []
    assert lane.schedule.wake(0.0) == 5.0


def test_overdue_chore_is_killed_and_started_again() -> None:
    running = Running(blocked)
    running.lanes.tick(0.0)
    running.lanes.tick(59.0)
    assert running.lanes.patience(59.0) == 1.0
    running.lanes.tick(60.0)
    running.lanes.tick(60.1)  # it is killed once, however long it takes to end
    assert os.waitstatus_to_exitcode(running.wait(60.2)) == -signal.SIGKILL
    assert running.lines == ["airlock: warning: gc took too long and was killed\n"]
    running.lanes.tick(65.2)
    assert running.schedule.running == "gc"
    running.lanes.stop()
    running.wait(66.0)


def test_killed_chore_is_started_again_with_a_pause() -> None:
    running = Running(blocked)
    running.lanes.tick(0.0)
    running.lanes.stop()
    running.wait(1.0)
    assert running.lines == ["airlock: warning: gc was killed by SIGKILL\n"]
    running.lanes.tick(2.0)
    assert running.lanes.patience(2.0) == 4.0
    assert running.schedule.running is None


def test_other_children_are_not_chores() -> None:
    running = Running(blocked)
    if (worker := os.fork()) == 0:
        os._exit(3)
    pid, status = os.waitpid(worker, 0)
    assert not running.lanes.ended(pid, status, 0.0)


def test_chore_has_none_of_the_services_descriptors_and_handlers() -> None:
    reader, writer = os.pipe()
    previous = signal.signal(signal.SIGTERM, lambda *_: None)

    def work() -> int:
        with suppress(OSError):
            os.write(writer, b"x")
            return 1
        return 0 if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL else 2

    try:
        running = Running(work)
        running.lanes.tick(0.0)
        assert os.waitstatus_to_exitcode(running.wait(0.0)) == 0
    finally:
        signal.signal(signal.SIGTERM, previous)
        os.close(reader)
        os.close(writer)


def test_chore_ends_with_a_killed_service() -> None:
    """A new service starts its own: two would do everything twice."""
    reader, writer = os.pipe()
    if (service := os.fork()) == 0:
        os.close(reader)
        running = Running(blocked)
        running.lanes.tick(0.0)
        os.write(writer, str(next(iter(running.lanes._pids))).encode())  # noqa: SLF001
        signal.pause()
    os.close(writer)
    pid = int(os.read(reader, 100))
    chore = os.pidfd_open(pid)
    os.kill(service, signal.SIGKILL)
    os.waitpid(service, 0)
    assert select.select([chore], [], [], 10.0)[0] == [chore]
    os.close(chore)
    os.close(reader)


def test_tick_does_not_wait() -> None:
    running = Running(blocked)
    began = time.monotonic()
    for turn in range(1000):
        running.lanes.tick(turn / 1000)
    assert time.monotonic() - began < 1.0
    running.lanes.stop()
    running.wait(2.0)

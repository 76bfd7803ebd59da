"""The service's chores, each in a process of its own: the loop itself never waits for anything."""

import gc
import os
import signal
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from bootstrap.errors import AirlockError, CannotStart, InternalError
from bootstrap.host import oom
from bootstrap.libc import LIBC
from bootstrap.metrics import catalogue
from bootstrap.metrics.report import report
from bootstrap.service import children
from bootstrap.service.journal import Journal
from bootstrap.service.schedule import Schedule
from bootstrap.text import printable

Work = Callable[[], int]  # returns an exit status
IDLE = 19  # niceness
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Lane:
    """Lanes of which one runs at a time, and what each of them does."""

    schedule: Schedule
    works: Mapping[str, Work]
    niceness: int = IDLE


class Lanes:
    """Starts the chores of every lane when they are due. No method waits."""

    def __init__(self, lanes: Sequence[Lane], journal: Journal) -> None:
        self._lanes = tuple(lanes)
        self._journal = journal
        self._pids: dict[int, Lane] = {}
        self._overdue: set[int] = set()

    def tick(self, now: float) -> None:
        """Start what is due, and kill what is overdue."""
        for pid, lane in self._pids.items():
            if lane.schedule.is_overdue(now) and pid not in self._overdue:
                self._journal.alert(f"{lane.schedule.running} took too long and was killed")
                self._overdue.add(pid)
                _kill(pid)
        for lane in self._lanes:
            if name := lane.schedule.start(now):
                self._start(lane, name, now)

    def patience(self, now: float) -> float:
        """Return in how many seconds to call `tick`, if nothing happens before."""
        idle = (lane for lane in self._lanes if not self._overdue & self._pids_of(lane))
        return min((lane.schedule.wake(now) for lane in idle), default=3600.0)

    def ended(self, pid: int, status: int, now: float) -> bool:
        """Take the wait status of a child that ended; False if it was not one of these."""
        lane = self._pids.pop(pid, None)
        if lane is None:
            return False
        name, code = str(lane.schedule.running), os.waitstatus_to_exitcode(status)
        result = "ok" if code == 0 else "killed" if code < 0 else "failed"
        if pid in self._overdue:
            self._overdue.remove(pid)
            result = "overdue"
        elif code < 0:
            self._journal.alert(f"{name} was killed by {signal.Signals(-code).name}")
        report(catalogue.CHORE_RUNS, chore=name, result=result)
        lane.schedule.ended(now, succeeded=code == 0)
        return True

    def stop(self) -> None:
        """Kill what runs. Each chore can be killed at any moment: the next one goes on with it."""
        for pid in self._pids:
            _kill(pid)

    def _pids_of(self, lane: Lane) -> set[int]:
        return {pid for pid, other in self._pids.items() if other is lane}

    def _start(self, lane: Lane, name: str, now: float) -> None:
        try:
            self._pids[_forked(name, lane, self._journal)] = lane
        except OSError as failed:  # no process could be created
            self._journal.alert(f"{name} could not be started: {failed.strerror}")
            lane.schedule.ended(now, succeeded=False)


def _kill(pid: int) -> None:
    """The number is still its own: nobody has waited for it."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _forked(name: str, lane: Lane, journal: Journal) -> int:
    service = os.getpid()

    def run() -> None:
        children.be_named(name)
        _become_chore(service, lane.niceness)
        os._exit(_status(name, lane.works[name], journal))

    return children.fork(run, ())


def _status(name: str, work: Work, journal: Journal) -> int:
    try:
        return work()
    except AirlockError as failure:
        journal.failure(failure, name)
        return failure.exit_code
    except OSError as failure:
        journal.alert(f"{name} failed: this host refused a call: {failure}")
        return CannotStart.exit_code
    except Exception:  # noqa: BLE001 - the journal is where a bug is looked for
        journal.alert(f"{name} failed by a bug of Airlock")
        for line in traceback.format_exc().splitlines():
            journal.alert(printable(line))
        return InternalError.exit_code


def _become_chore(service: int, niceness: int) -> None:
    """End when the service does, whatever ends that; its successor starts chores of its own."""
    if LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0 or os.getppid() != service:
        os._exit(CannotStart.exit_code)
    oom.be_ordinary()
    gc.enable()
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    os.nice(niceness)

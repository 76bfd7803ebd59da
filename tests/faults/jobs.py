"""Many faults at once: each in a job of its own, with one honest job running beside all of them."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.faults.direct import Direct, direct
from tests.faults.stepper import Point, killed_at, points, traced
from tests.lab.agent import reaper_of
from tests.lab.engine import eventually
from tests.lab.lab import GATE, Fleet, Lab, fleet, open_gate
from tests.lab.leftovers import everything, expires

AT_ONCE = 6  # on two processors
DONE = 20.0  # seconds until everything of a dead job has to be gone


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """A host where faults happen: its jobs, and all that it has while only the neighbour runs."""

    jobs: Direct
    base: Path
    before: frozenset[str]

    def left(self) -> list[str]:
        """Name what is there now and was not before, and what was there before and is gone."""
        now = set(everything(self.jobs.fleet))
        gone = (one for one in self.before - now if not expires(one))
        return sorted(now - self.before) + [f"missing: {one}" for one in gone]

    def settled(self, seconds: float = DONE) -> list[str]:
        """Return what is left as soon as it is nothing, or after `seconds`."""
        try:
            eventually(lambda: not self.left(), "everything is removed", seconds)
        except TimeoutError:
            return self.left()
        return []

    def reference(self) -> list[Point]:
        """Return the steps of a job that nothing disturbs."""
        trace = self.base / "reference"
        run_to_end(self.jobs.start(tracer=traced(trace)))
        return points(trace)

    def running(self, command: str = "sleep 60") -> subprocess.Popen[bytes]:
        """Return the wrapper of a job that runs."""
        return self.all_running(1, command)[0]

    def all_running(self, number: int, command: str = "sleep 60") -> list[subprocess.Popen[bytes]]:
        """Start jobs at once, and return their wrappers when all run."""
        jobs = [self.jobs.start(command) for _ in range(number)]
        for job in jobs:
            assert job.stdout
            log = list(iter_until(job.stdout, b"the job runs"))
            assert job.poll() is None, b"".join(log).decode()
        return jobs

    def dead(self, number: int = 1) -> None:
        """Leave all that running jobs have: wrappers and reapers are killed at once."""
        for job in self.all_running(number):
            kill(reaper_of(job.pid), job.pid)
            job.communicate(timeout=60)


def iter_until(lines: IO[bytes], last: bytes) -> Iterator[bytes]:
    """Yield lines up to the one that begins with `last`."""
    for line in lines:
        yield line
        if line.startswith(last):
            return


def kill(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def run_to_end(job: subprocess.Popen[bytes], seconds: float = 180) -> str:
    """Return the log of a job that has to succeed."""
    output, _ = job.communicate(timeout=seconds)
    assert job.returncode == 0, output.decode()
    return output.decode()


@contextmanager
def host(lab: Lab, base: Path, *, neighbour: bool = True) -> Iterator[Host]:
    """Prepare a host. With a `neighbour`, an honest job runs there until this closes.

    It must end then as if nothing had happened.
    """
    with ExitStack() as held:
        made = held.enter_context(fleet(lab, base / "fleet"))
        jobs = held.enter_context(direct(made))
        run_to_end(jobs.start())
        jobs.gc()
        if neighbour:
            held.enter_context(_undisturbed(made))
        eventually(
            lambda: not any("direct.toml" in one for one in everything(made)), "no other job runs"
        )
        yield Host(jobs=jobs, base=base, before=frozenset(everything(made)))


@contextmanager
def _undisturbed(made: Fleet) -> Iterator[None]:
    command = f"echo begun; {GATE}; echo still here; exit 7"
    with made.agent(name="neighbour"):
        job = made.control.enqueue(made.env(command, BUILDKITE_AGENT_NAME="neighbour"))
        made.control.wait(job, lambda one: b"\nbegun" in one.log)
        yield
        open_gate(job)
        result = made.control.finished(job)
    assert result == ("7", "", ""), job.log.decode()
    assert b"\nstill here" in job.log


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What one fault did: where the process was killed ("" if it ended first), what was left."""

    point: Point
    killed: str
    left: tuple[str, ...]


class Faults:
    """Injects faults in batches, as their results are asked for."""

    def __init__(
        self, points: Sequence[Point], batch: Callable[[Sequence[Point]], Sequence[Outcome]]
    ) -> None:
        self._points = points
        self._batch = batch
        self._known: dict[int, Outcome] = {}

    def outcome(self, number: int) -> Outcome:
        """Return the outcome of one point, injecting those of its batch if that has not been."""
        if number not in self._known:
            first = number - number % AT_ONCE
            numbers = range(first, min(first + AT_ONCE, len(self._points)))
            found = self._batch([self._points[one] for one in numbers])
            self._known |= dict(zip(numbers, found, strict=True))
        return self._known[number]

    def survived(self, number: int) -> None:
        """Fail if this point's batch has left anything."""
        found = self.outcome(number)
        assert not found.left, "\n".join((f"killed at {found.point.shown()}", *found.left))

    def __len__(self) -> int:
        return len(self._points)


def sample(steps: Sequence[Point], number: int) -> list[Point]:
    """Return `number` of the steps, evenly spread; all of them, some repeatedly, if fewer."""
    return [steps[one * len(steps) // number] for one in range(number)]


def kill_wrappers(host: Host, chosen: Sequence[Point]) -> list[Outcome]:
    """Kill a wrapper at each of these points, all at once; wait until nothing of them is left."""
    traces = [host.base / f"trace-{number}" for number in range(len(chosen))]
    started = [
        host.jobs.start(tracer=traced(trace, point))
        for trace, point in zip(traces, chosen, strict=True)
    ]
    for one in started:
        one.communicate(timeout=180)
    return _outcomes(chosen, traces, host.settled())


def _outcomes(chosen: Sequence[Point], traces: Sequence[Path], left: list[str]) -> list[Outcome]:
    return [
        Outcome(point=point, killed=killed_at(trace), left=tuple(left))
        for trace, point in zip(traces, chosen, strict=True)
    ]

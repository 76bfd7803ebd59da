"""The worker is killed at any step: its launcher ends with 125 or 79, and nothing of it stays.

Its launcher connects before strace attaches to the worker, and sends the request afterwards. By
default a sample of all steps; AIRLOCK_LONG=1 is every step.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.direct import Direct, direct
from tests.faults.jobs import AT_ONCE, run_to_end, sample
from tests.faults.stepper import Point, attached, killed_at, points, traced
from tests.lab.engine import eventually
from tests.lab.lab import Lab, fleet
from tests.lab.leftovers import leftovers
from tests.lab.service import Serving, serving
from tests.service import client

pytestmark = pytest.mark.lab

LONG = os.environ.get("AIRLOCK_LONG") == "1"
SAMPLES = 400 if LONG else 18
COULD_NOT_START, STATUS_UNKNOWN = 125, 79
BEGUN = re.compile(r'^sendto\(.*"B", 1, .* = 1$', re.MULTILINE)
ENDED = re.compile(r'^sendto\(.*"E.*", 2, .* = 2$', re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """A launcher, and the tracer of its worker."""

    launcher: subprocess.Popen[bytes]
    tracer: subprocess.Popen[bytes]

    def end(self) -> tuple[int, str]:
        """Return how the launcher ends, and the job's log."""
        output, _ = self.launcher.communicate(timeout=180)
        self.tracer.wait(60)
        return self.launcher.returncode, output.decode(errors="replace")


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """A service, and jobs of it whose workers are traced from their first step on."""

    service: Serving
    jobs: Direct
    base: Path
    codes: list[int]  # with which launchers of killed workers have ended

    def start(self, trace: Path, point: Point | None = None) -> Started:
        """Start a job, its worker traced and killed at `point`."""
        program = (sys.executable, "-I", client.__file__, str(self.service.socket), "--held")
        before = set(self.service.workers())
        launcher = self.jobs.start(program=program, stdin=subprocess.PIPE)
        eventually(lambda: set(self.service.workers()) - before, "it has a worker")
        (worker,) = set(self.service.workers()) - before
        with trace.with_suffix(".log").open("wb") as log:
            tracer = subprocess.Popen([*traced(trace, point), "-p", str(worker)], stderr=log)
        eventually(lambda: attached(worker), "strace has attached")
        assert launcher.stdin
        launcher.stdin.write(b"\n")
        launcher.stdin.flush()
        return Started(launcher=launcher, tracer=tracer)

    def reference(self) -> list[Point]:
        """Return the steps of a worker that nothing disturbs."""
        trace = self.base / "reference"
        code, log = self.start(trace).end()
        assert code == 0, log
        return points(trace)

    def kill(self, chosen: Sequence[Point]) -> list[str]:
        """Kill workers at these points, all at once; return what is wrong with their ends."""
        traces = [self.base / f"trace-{number}" for number in range(len(chosen))]
        started = [self.start(trace, one) for trace, one in zip(traces, chosen, strict=True)]
        wrong = []
        for one, trace in zip(started, traces, strict=True):
            code, log = one.end()
            if killed_at(trace):
                self.codes.append(code)
            if code != (expected := status(trace)):
                wrong.append(f"{code}, not {expected}, at {killed_at(trace)}: {log[-500:]}")
        eventually(lambda: not leftovers(self.jobs.fleet), "all of the jobs is cleared", 30)
        return wrong


def status(trace: Path) -> int:
    """Return how the launcher of a worker with these steps has to end."""
    text = trace.read_text(errors="replace")
    if not killed_at(trace):
        return 0
    if ENDED.search(text):
        return 0
    return STATUS_UNKNOWN if BEGUN.search(text) else COULD_NOT_START


@pytest.fixture(scope="module")
def site(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    base = tmp_path_factory.mktemp("workers")
    with (
        fleet(lab, base / "fleet") as made,
        direct(made) as jobs,
        serving(made, config=jobs.config) as service,
    ):
        run_to_end(jobs.start(program=service.launcher))
        eventually(lambda: not service.workers(), "the service has done what it does at its start")
        yield Site(service=service, jobs=jobs, base=base, codes=[])


@pytest.fixture(scope="module")
def chosen(site: Site) -> list[Point]:
    steps = site.reference()
    assert not LONG or len(steps) <= SAMPLES
    return sample(steps, SAMPLES)


@pytest.mark.parametrize("number", range(0, SAMPLES, AT_ONCE))
def test_workers_killed_at_any_step_leave_nothing(
    site: Site, chosen: list[Point], number: int
) -> None:
    assert site.kill(chosen[number : number + AT_ONCE]) == []


def test_workers_were_killed_before_and_after_the_begin(site: Site, chosen: list[Point]) -> None:
    assert len(site.codes) > len(chosen) // 2
    assert {COULD_NOT_START, STATUS_UNKNOWN} <= set(site.codes)

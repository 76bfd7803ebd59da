"""Kills reapers, wrappers together with their reapers, and `airlock gc`, each at chosen steps.

None of these clears up after itself; what they leave is cleared by the next job or by `airlock gc`.
"""

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from tests.faults.direct import Direct
from tests.faults.jobs import Host, Outcome, kill, run_to_end
from tests.faults.stepper import Point, attached, killed_at, points, traced
from tests.lab.agent import reaper_of
from tests.lab.engine import eventually


@contextmanager
def _traced(pid: int, trace: Path, point: Point | None = None) -> Iterator[None]:
    """Trace a running process until it has ended."""
    with subprocess.Popen([*traced(trace, point), "-p", str(pid)]) as tracer:
        eventually(lambda: attached(pid), "strace has attached")
        yield
        tracer.wait(60)


def reaper_steps(host: Host) -> list[Point]:
    """Return the steps of a reaper's first round: later ones repeat it and find nothing."""
    trace = host.base / "reference-reaper"
    job = host.running()
    with _traced(reaper_of(job.pid), trace):
        kill(job.pid)
        job.communicate(timeout=60)
    steps = points(trace)
    first = steps[0].shown()
    rounds = [index for index, step in enumerate(steps) if step.shown() == first]
    return steps[: rounds[1]] if len(rounds) > 1 else steps


def kill_reapers(host: Host, chosen: Sequence[Point]) -> list[Outcome]:
    """Kill a reaper at each of these points, all at once."""
    traces = [host.base / f"trace-reaper-{number}" for number in range(len(chosen))]
    jobs = host.all_running(len(chosen))
    tracers = []
    for job, trace, point in zip(jobs, traces, chosen, strict=True):
        reaper = reaper_of(job.pid)
        tracers.append(subprocess.Popen([*traced(trace, point), "-p", str(reaper)]))
        eventually(partial(attached, reaper), "strace has attached")
    for job in jobs:
        kill(job.pid)
        job.communicate(timeout=60)
    for tracer in tracers:
        tracer.wait(60)
    return cleared(host, chosen, traces)


def kill_both(host: Host, chosen: Sequence[Point]) -> list[Outcome]:
    """Kill wrappers at these points, all at once, and before that the reaper of each."""
    traces = [host.base / f"trace-both-{number}" for number in range(len(chosen))]
    started = [
        host.jobs.start(tracer=traced(trace, point))
        for trace, point in zip(traces, chosen, strict=True)
    ]
    seen: dict[int, int] = {}
    for tracer in started:
        eventually(partial(_without_reaper, tracer, seen), "the reaper is killed", 180)
    for tracer in started:
        tracer.communicate(timeout=180)
    return cleared(host, chosen, traces)


def _without_reaper(tracer: subprocess.Popen[bytes], seen: dict[int, int]) -> bool:
    """Kill the reaper of a traced wrapper; True once that is done, or the wrapper has ended.

    A program that was just forked runs the wrapper's own for a moment: only what is there at two
    looks in a row is the reaper.
    """
    if tracer.poll() is not None:
        return True
    try:
        found = reaper_of(_child(tracer.pid))
    except (OSError, ValueError, IndexError, StopIteration):
        return False
    if seen.get(tracer.pid) != found:
        seen[tracer.pid] = found
        return False
    with suppress(ProcessLookupError):
        kill(found)
    return True


def _is_stopped(trace: Path) -> bool:
    return trace.exists() and b"--- stopped by SIGSTOP" in trace.read_bytes()


def _child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def kill_collectors(host: Host, chosen: Sequence[Point]) -> list[Outcome]:
    """Kill an `airlock gc` at each of these points, all at once, while two dead jobs lie there."""
    traces = [host.base / f"trace-gc-{number}" for number in range(len(chosen))]
    host.dead(2)
    started = [
        subprocess.Popen(
            [*traced(trace, point), *host.jobs.airlock("gc")],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for trace, point in zip(traces, chosen, strict=True)
    ]  # fmt: skip
    for one in started:
        one.wait(120)
    return cleared(host, chosen, traces)


def collector_steps(host: Host) -> list[Point]:
    """Return the steps of an `airlock gc` that finds one dead job."""
    trace = host.base / "reference-gc"
    host.dead()
    subprocess.run(
        [*traced(trace), *host.jobs.airlock("gc")], check=True, capture_output=True, timeout=120
    )
    return points(trace)


def cleared(host: Host, chosen: Sequence[Point], traces: Sequence[Path]) -> list[Outcome]:
    """Have what is left cleared: by the next job, or by `airlock gc` after an odd first point."""
    if chosen[0].nth % 2:
        host.jobs.gc()
    else:
        run_to_end(host.jobs.start())
    left = tuple(host.settled())
    return [
        Outcome(point=point, killed=killed_at(trace), left=left)
        for trace, point in zip(traces, chosen, strict=True)
    ]


def stop_at(jobs: Direct, trace: Path, point: Point) -> tuple[subprocess.Popen[bytes], int]:
    """Start a job and return it, and its wrapper, stopped right after this point."""
    job = jobs.start(tracer=traced(trace, point, signal="STOP"))
    eventually(
        lambda: trace.exists() and b"--- stopped by SIGSTOP" in trace.read_bytes(),
        "the wrapper stops at its point",
        60,
    )
    return job, _child(job.pid)


def go_on(wrapper: int) -> None:
    """Continue a wrapper that `stop_at` has stopped."""
    os.kill(wrapper, signal.SIGCONT)

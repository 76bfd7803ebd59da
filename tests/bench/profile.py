"""`python -m tests.bench.profile [service|alone]`: where the time and the CPU of ONE job go.

Prints a line per step, program and request in the order in which they ended: when, how long, and
the processor time of Airlock's own process and of the programs that it ran. Then the processor time
by group, which other programs on the machine do not change. `JOBS=n` takes the median job of n.
With `FUNCTIONS=1` follows what each function of Python uses, from the claims to the job's end; the
profiler about doubles it.
"""

import json
import os
import pstats
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.bench import machine
from tests.bench.jobs import run_well
from tests.bench.machine import Cpu
from tests.bench.results import Table, median
from tests.bench.ways import Way, Ways, ways
from tests.lab.lab import fleet, lab
from tests.lab.launcher import binary
from tests.lab.service import serving

JOBS = int(os.environ.get("JOBS", "5"))
FUNCTIONS = os.environ.get("FUNCTIONS") == "1"
MARKED = Path(__file__).with_name("marked.py")
Mark = Mapping[str, Any]


def main(arguments: Sequence[str]) -> int:
    """Profile one way."""
    mode = arguments[0] if arguments else "service"
    if mode not in ("service", "alone"):
        sys.stderr.write(f"profile: expected service or alone, got {mode!r}\n")
        return 2
    with ExitStack() as held:
        base = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="airlock-profile-")))
        in_lab = held.enter_context(lab())
        cpu = held.enter_context(machine.cpu(in_lab))
        made = held.enter_context(fleet(in_lab, base / "fleet"))
        prepared = ways(made)
        marks = base / "marks"
        if FUNCTIONS:
            marks.with_name("marks.functions").touch()
        python = [sys.executable, "-I", str(MARKED), str(marks)]
        if mode == "service":
            running = held.enter_context(serving(made, program=tuple(python)))
            launcher = [str(binary()), "--socket", str(running.socket)]
            prepared = replace(prepared, launcher=launcher)
            way: Way = prepared.service
        else:
            prepared = replace(prepared, python=python)
            way = prepared.alone
        _profiled(prepared, way, cpu, marks)
        if FUNCTIONS:
            _print_functions(marks)
    return 0


def _profiled(prepared: Ways, way: Way, cpu: Cpu, marks: Path) -> None:
    for _ in range(2):
        run_well(way("true", 1))
    base: dict[str, float] = {}
    jobs: list[tuple[float, dict[str, float], float, list[Mark]]] = []
    for _ in range(JOBS):
        base = _used(cpu, prepared.bare)[1]
        marks.write_text("")
        for path in marks.parent.glob("marks.*.*") if not jobs else ():
            path.unlink()  # those of the warm-up
        began = time.monotonic()
        seconds, used = _used(cpu, way)
        lines = [json.loads(line) for line in marks.read_text().splitlines()]
        jobs.append((seconds, used, began, lines))
    jobs.sort(key=lambda job: job[0])
    seconds, used, began, lines = jobs[len(jobs) // 2]
    print(f"\nThe median of {JOBS} jobs: first byte after {seconds * 1000:.0f} ms\n")
    print(_timeline(lines, began))
    groups = [name for name in used if name != "machine"]
    rows = [
        [
            name,
            f"{median(job[1][name] for job in jobs) * 1000:.0f}",
            f"{base[name] * 1000:.0f}",
        ]
        for name in groups
    ]
    print(Table(title="CPU by group, ms", header=("", "job", "docker run"), rows=rows))


def _print_functions(marks: Path) -> None:
    files = [str(path) for path in marks.parent.glob("marks.*.*")]
    print(f"\nProcessor time by function, of {JOBS} jobs")
    pstats.Stats(*files).strip_dirs().sort_stats("cumtime").print_stats(100)


def _used(cpu: Cpu, way: Way) -> tuple[float, dict[str, float]]:
    start = way("true", 1)
    before = cpu.read()
    ran = run_well(start)
    return ran.first, cpu.since(before)


def _timeline(lines: Sequence[Mark], began: float) -> Table:
    """Return the marks in order. A step is everything since the step before, in one process."""
    steps: dict[int, Mark] = {}
    latest: dict[int, Mark] = {}
    rows = []
    for line in lines:
        pid, is_step = line["pid"], line["kind"] == "step"
        before = (steps if is_step else latest).get(pid, _START | {"at": began})
        rows.append(_row(line, before, began))
        latest[pid] = line
        if is_step:
            steps[pid] = line
    return Table(
        title="Steps; above each, its programs and requests, which are part of it",
        header=("", "process", "at ms", "took ms", "CPU ms", "CPU of programs ms"),
        rows=rows,
    )


_START: dict[str, Any] = {"cpu": 0.0, "children": 0.0}


def _row(line: Mark, before: Mark, began: float) -> list[str]:
    took = {"step": line["at"] - before["at"], "program": line["at"] - line.get("began", 0)}
    shown = f"{took[line['kind']] * 1000:.1f}" if line["kind"] in took else ""
    text = line["what"] if line["kind"] == "step" else f"    {line['what']}"
    return [
        text[:72],
        str(line["pid"]),
        f"{(line['at'] - began) * 1000:.1f}",
        shown,
        *(f"{(line[key] - before[key]) * 1000:.1f}" for key in ("cpu", "children")),
    ]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""`python -m tests.bench.profile [service|alone]`: where the time and the CPU of ONE job go.

Prints a line per step, program and request in the order in which they ended: when, how long, and
the processor time of Airlock's own process and of the programs that it ran. Then the processor time
by group, which other programs on the machine do not change. `JOBS=n` takes the median job of n.
"""

import json
import os
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
from tests.bench.service import launcher, service
from tests.bench.ways import Way, Ways, ways
from tests.lab.lab import fleet, lab

JOBS = int(os.environ.get("JOBS", "5"))
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
        made = held.enter_context(fleet(in_lab, base / "fleet"))
        prepared = ways(made)
        marks = base / "marks"
        python = [sys.executable, "-I", str(MARKED), str(marks)]
        if mode == "service":
            running = held.enter_context(service(made.config, python=python))
            program = launcher(base)
            prepared = replace(prepared, launcher=[str(program), "--socket", str(running.socket)])
            way: Way = prepared.service
        else:
            prepared = replace(prepared, python=python)
            way = prepared.alone
        cpu = held.enter_context(machine.cpu(in_lab))
        _profiled(prepared, way, cpu, marks)
    return 0


def _profiled(prepared: Ways, way: Way, cpu: Cpu, marks: Path) -> None:
    for _ in range(2):
        run_well(way("true", 1))
    base: dict[str, float] = {}
    jobs = []
    for _ in range(JOBS):
        base = _used(cpu, prepared.bare)[1]
        marks.write_text("")
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


def _used(cpu: Cpu, way: Way) -> tuple[float, dict[str, float]]:
    start = way("true", 1)
    before = cpu.read()
    ran = run_well(start)
    return ran.first, cpu.since(before)


def _timeline(lines: Sequence[Mark], began: float) -> Table:
    """Return the marks in order; CPU times are those since the mark before, of the same process."""
    last: dict[int, Mark] = {}
    rows: list[Sequence[str | float]] = []
    for line in lines:
        before = last.get(line["pid"], {"at": began, "cpu": 0.0, "children": 0.0})
        begin = line.get("began") if line["kind"] == "program" else before["at"]
        took = line["at"] - begin
        indent = "" if line["kind"] == "step" else "    "
        rows.append(
            [
                f"{indent}{line['what']}"[:72],
                str(line["pid"]),
                f"{(line['at'] - began) * 1000:.1f}",
                "" if line["kind"] == "request" else f"{took * 1000:.1f}",
                f"{(line['cpu'] - before['cpu']) * 1000:.1f}",
                f"{(line['children'] - before['children']) * 1000:.1f}",
            ]
        )
        last[line["pid"]] = line
    return Table(
        title="Steps; above each, its programs and requests",
        header=("", "process", "at ms", "took ms", "CPU ms", "CPU of programs ms"),
        rows=rows,
    )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

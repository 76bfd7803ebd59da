"""Many jobs started at the same moment: the first byte of each, failures, and CPU time per job."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench import plot
from tests.bench.bench import Bench
from tests.bench.jobs import run_at_once
from tests.bench.results import Findings, Goal, Table, median
from tests.bench.ways import Way

COUNTS = tuple(int(count) for count in os.environ.get("AT_ONCE", "1,10,50").split(","))
ROUNDS = 3  # of few jobs; of many, each round is many measurements
BARE = "docker run"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Batch:
    """All jobs of one way and one number."""

    firsts: Sequence[float]  # seconds of those that did not fail
    failures: Sequence[str]
    seconds: float  # until the last has ended, of one round
    cpu: float  # seconds per job

    def json(self) -> dict[str, Any]:
        known = {"median": median(self.firsts), "max": max(self.firsts)} if self.firsts else {}
        return {
            **known, "failed": len(self.failures), "jobs": len(self.firsts) + len(self.failures),
            "seconds": self.seconds, "cpu_seconds_per_job": self.cpu,
            "failures": sorted(set(self.failures))[:3],
        }  # fmt: skip


def at_once(bench: Bench) -> Findings:
    """Start each number of jobs each way; the ways take turns."""
    ways = _ways(bench)
    for way in (ways[BARE], ways["service"]):  # the directories of all agents
        run_at_once([way("true", agent) for agent in range(max(COUNTS))])
    batches: dict[int, dict[str, _Batch]] = {}
    for count in COUNTS:
        rounds = [
            {name: _batch(bench, way, count) for name, way in ways.items()}
            for _ in range(ROUNDS if count < 20 else 1)
        ]
        batches[count] = {name: _joined([one[name] for one in rounds]) for name in ways}
    return Findings(
        tables=[_table(batches)],
        goals=_goals(batches),
        data={
            str(count): {name: batch.json() for name, batch in of.items()}
            for count, of in batches.items()
        },
        plots={"at-once": _plot(batches)},
    )


def _ways(bench: Bench) -> dict[str, Way]:
    ways = bench.ways
    return {
        BARE: ways.bare,
        "shell script": ways.shell,
        "service": ways.service,
        "service, with hook": ways.service_with_hook,
        "alone": ways.alone,
    }


def _batch(bench: Bench, way: Way, count: int) -> _Batch:
    starts = [way("true", agent) for agent in range(count)]
    bench.settle()
    before, began = bench.cpu.read(), time.monotonic()
    ran = run_at_once(starts)
    seconds = time.monotonic() - began
    bench.settle()
    used = bench.cpu.since(before)
    return _Batch(
        firsts=[one.first for one in ran if not one.failed],
        failures=[one.failed.strip()[-300:] for one in ran if one.failed],
        seconds=seconds,
        cpu=used["all"] / count,
    )


def _joined(rounds: Sequence[_Batch]) -> _Batch:
    return _Batch(
        firsts=[first for one in rounds for first in one.firsts],
        failures=[failure for one in rounds for failure in one.failures],
        seconds=median(one.seconds for one in rounds),
        cpu=median(one.cpu for one in rounds),
    )


def _table(batches: Mapping[int, Mapping[str, _Batch]]) -> Table:
    rows: list[Sequence[str | float]] = []
    notes = []
    for count, of in batches.items():
        bare = of[BARE]
        for name, one in of.items():
            shown = one.firsts or [float("nan")]
            rows.append(
                [
                    f"{count} at once: {name}",
                    median(shown) / median(bare.firsts),
                    f"{median(shown) * 1000:.0f}",
                    f"{max(shown) * 1000:.0f}",
                    f"{one.seconds:.1f}",
                    f"{one.cpu * 1000:.0f}",
                    str(len(one.failures)),
                ]
            )
            notes += [f"{count} at once: {name}: {text}" for text in sorted(set(one.failures))[:2]]
    return Table(
        title="First byte of jobs that start at the same moment",
        header=("", "ratio", "median ms", "max ms", "all ended s", "CPU ms per job", "failed"),
        rows=rows,
        notes=notes,
    )


def _goals(batches: Mapping[int, Mapping[str, _Batch]]) -> list[Goal]:
    count = max(batches)
    of = batches[count]
    if not of["service"].firsts:
        return [Goal(what=f"{count} at once, jobs that did not fail", measured=0, least=count)]
    ratio = median(of["service"].firsts) / median(of[BARE].firsts)
    failed = float(len(of["service"].failures))
    return [
        Goal(what=f"{count} at once, service, median to docker run", measured=ratio, most=1.10),
        Goal(what=f"{count} at once, service, jobs that failed", measured=failed, most=0.0),
    ]


def _plot(batches: Mapping[int, Mapping[str, _Batch]]) -> str:
    lines = [
        plot.Bar(
            name=f"{count} at once: {name}",
            parts=[(name, median(one.firsts) / median(of[BARE].firsts))],
            label=f"{median(one.firsts) / median(of[BARE].firsts):.2f}  "
            f"({median(one.firsts):.2f} s, max {max(one.firsts):.2f} s)",
        )
        for count, of in batches.items()
        for name, one in of.items()
        if one.firsts
    ]
    return plot.bars("Median first byte, docker run = 1", lines, goal=1.10)

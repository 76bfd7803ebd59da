"""Memory of jobs that wait: the proportional set size of Airlock's processes on the host, per job.

What runs inside of the container is left out: it is the same each way.
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.bench import plot
from tests.bench.bench import Bench
from tests.bench.jobs import started, wait_for_first_byte
from tests.bench.results import Findings, Goal, Table
from tests.bench.ways import Way
from tests.lab.lab import Fleet
from tests.lab.service import WORKER

JOBS = 10
WAITING = "until test -e go; do sleep 0.2; done"  # in its build directory
SETTLE = 1.0
GOAL = 15.0  # MiB per job


@dataclass(frozen=True, kw_only=True, slots=True)
class _Weighed:
    """MiB per job, by kind of process, and how much more all of them use than before the jobs."""

    kinds: Mapping[str, float]
    more: float

    @property
    def total(self) -> float:
        return sum(self.kinds.values())


def memory(bench: Bench) -> Findings:
    """Weigh ten jobs of each way."""
    ways = {
        "docker run": (bench.ways.bare, ("docker",)),
        "service": (bench.ways.service, ("launcher", "worker", "reaper")),
        "alone": (bench.ways.alone, ("wrapper", "reaper")),
    }
    weighed = {name: _weighed(bench, way, kinds) for name, (way, kinds) in ways.items()}
    kinds = list(dict.fromkeys(kind for one in weighed.values() for kind in one.kinds))
    table = Table(
        title=f"Memory of {JOBS} waiting jobs, PSS in MiB per job",
        header=("", "MiB", *kinds, "all of it, against no job"),
        rows=[
            [name, one.total, *(one.kinds.get(kind, "-") for kind in kinds), one.more]
            for name, one in weighed.items()
        ],
        notes=[
            "The last column also counts what the service itself shares with its workers: the sum "
            "of all",
            "processes while the jobs wait, less the service without jobs, divided by the jobs.",
        ],
    )
    goal = Goal(
        what="memory per job, service", measured=weighed["service"].total, most=GOAL, unit=" MiB"
    )
    lines = [plot.Bar(name=name, parts=list(one.kinds.items())) for name, one in weighed.items()]
    chart = plot.bars("PSS per waiting job, MiB", lines, unit=" MiB", goal=GOAL)
    data = {
        name: {"mib": one.total, **one.kinds, "more": one.more} for name, one in weighed.items()
    }
    return Findings(tables=[table], goals=[goal], data=data, plots={"memory": chart})


def _weighed(bench: Bench, way: Way, kinds: Sequence[str]) -> _Weighed:
    """`kinds` names a job's processes: what the agent starts, then what comes below that."""
    service = bench.service.pid if "worker" in kinds else 0
    before = sum(_pss(pid) for pid, _ in _family(service)) if service else 0.0
    with ExitStack() as held:
        jobs = [held.enter_context(started(way(WAITING, agent))) for agent in range(JOBS)]
        for process in jobs:
            wait_for_first_byte(process)
        time.sleep(SETTLE)
        found: dict[str, float] = defaultdict(float)
        for process in jobs:
            for pid, depth in _family(process.pid):
                found[kinds[min(depth, len(kinds) - 1)]] += _pss(pid)
        for pid, depth in _family(service) if service else ():
            found[_kind(pid, depth)] += _pss(pid)
        of_service = found.pop("service", 0.0)
        more = sum(found.values()) + of_service - before
        _let_go(bench.made)
    return _Weighed(kinds={kind: found[kind] / JOBS for kind in kinds}, more=more / JOBS)


def _kind(pid: int, depth: int) -> str:
    """Name a process of the service's: jobs share its reaper."""
    name = Path(f"/proc/{pid}/comm").read_text().strip()
    if name == "airlock:reaper":
        return "reaper"
    return "service" if depth == 0 or (name.startswith("airlock:") and name != WORKER) else "worker"


def _let_go(made: Fleet) -> None:
    """Have all jobs end. Their build directories are created anew, or the file is removed."""
    files = [path / "go" for path in made.base.glob("**/builds")]
    for file in files:
        file.touch()
    time.sleep(SETTLE)
    for file in files:
        file.unlink()


def _family(pid: int, depth: int = 0) -> Iterator[tuple[int, int]]:
    """Yield a process and all below it, each with how far below."""
    yield pid, depth
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in path.read_text().split():
            yield from _family(int(child), depth + 1)


def _pss(pid: int) -> float:
    """Return the MiB of a process, with each shared page divided among those who share it."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0

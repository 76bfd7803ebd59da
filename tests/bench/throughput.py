"""How many bytes of log a second arrive, unchanged, and what a gigabyte costs in CPU time.

The job is `docker run` with the docker program attached, or the same through Airlock. It writes
lines as fast as it can; whoever reads keeps them in memory and compares their digest afterwards.
"""

import hashlib
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO

from tests.bench import plot
from tests.bench.bench import Bench
from tests.bench.jobs import started, wait_for_first_byte
from tests.bench.results import Findings, Goal, Table, median
from tests.bench.ways import Start, Way

SIZE = int(os.environ.get("LOG_MB", "512")) * 1_000_000
ROUNDS = 3
# Lines of 100 bytes, written in large blocks: the writer is never what is measured.
_LINE = "0123456789abcdef" * 6 + "xyz"
_COMMAND = f"yes {_LINE} | head -c {SIZE}; echo"
_CHUNK = 1 << 20
BARE = "docker run, attached"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Copied:
    """One job's log."""

    seconds: float
    used: Mapping[str, float]
    intact: bool

    @property
    def rate(self) -> float:
        return SIZE / 1e6 / self.seconds


def throughput(bench: Bench) -> Findings:
    """Copy the same log each way, in turn."""
    ways: dict[str, Way] = {
        BARE: bench.ways.bare,
        "service": bench.ways.service,
        "alone": bench.ways.alone,
    }
    copied: dict[str, list[_Copied]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            copied[name].append(_copied(bench, way(_COMMAND, 1)))
    rates = {name: median(one.rate for one in of) for name, of in copied.items()}
    costs = {name: _cost(of) for name, of in copied.items()}
    intact = {name: all(one.intact for one in of) for name, of in copied.items()}
    groups = sorted({group for cost in costs.values() for group in cost} - {"all", "machine"})
    rows = [
        [name, rates[name] / rates[BARE], f"{rates[name]:.0f}",
         costs[name]["all"], *(costs[name][group] for group in groups),
         "equal" if intact[name] else "NOT EQUAL"]
        for name in ways
    ]  # fmt: skip
    table = Table(
        title=f"Log of {SIZE / 1e6:.0f} MB, median of {ROUNDS} in turn",
        header=("", "ratio", "MB/s", "CPU s per GB", *(f"of {g}" for g in groups), "bytes"),
        rows=rows,
    )
    lines = [
        plot.Bar(name=name, parts=[("", rate)], label=f"{rate:.0f} MB/s")
        for name, rate in rates.items()
    ]
    return Findings(
        tables=[table],
        goals=_goals(rates, intact),
        data={
            name: {"mb_per_second": rates[name], "cpu_seconds_per_gb": costs[name],
                   "bytes_equal": intact[name]}
            for name in ways
        },
        plots={"throughput": plot.bars("Megabytes of log a second", lines, goal=100)},
    )  # fmt: skip


def _goals(rates: Mapping[str, float], intact: Mapping[str, bool]) -> list[Goal]:
    wrong = float(sum(not one for one in intact.values()))
    return [
        *(
            Goal(what=f"log, {name}", measured=rates[name], least=100, unit=" MB/s")
            for name in ("service", "alone")
        ),
        Goal(what="ways that changed a byte of the log", measured=wrong, most=0),
    ]


def _cost(of: list[_Copied]) -> dict[str, float]:
    return {group: median(one.used[group] for one in of) / (SIZE / 1e9) for group in of[0].used}


def _copied(bench: Bench, start: Start) -> _Copied:
    with tempfile.TemporaryFile(dir="/dev/shm") as kept:
        with started(start) as process:
            log = wait_for_first_byte(process)
            before, began = bench.cpu.read(), time.monotonic()
            received = kept.write(log.peek()[:SIZE])  # what was read ahead
            kept.flush()
            log.read(received)
            while received < SIZE:
                received += _moved(log, kept, SIZE - received)
            seconds, used = time.monotonic() - began, bench.cpu.since(before)
            log.read()
        kept.seek(0)
        intact = hashlib.file_digest(kept, "sha256").digest() == _expected()
    return _Copied(seconds=seconds, used=used, intact=intact)


def _moved(source: IO[bytes], target: IO[bytes], most: int) -> int:
    """Move bytes without copying them into this process; 0 bytes mean that the job has ended."""
    moved = os.splice(source.fileno(), target.fileno(), min(most, _CHUNK))
    if not moved:
        raise RuntimeError("the log is shorter than what the job wrote")
    return moved


def _expected() -> bytes:
    digest = hashlib.sha256()
    block = f"{_LINE}\n".encode() * 10_000
    for _ in range(SIZE // len(block)):
        digest.update(block)
    digest.update(block[: SIZE % len(block)])
    return digest.digest()

"""The meter: the process that adds up all reports and writes them for Prometheus.

It is one of the service's chores, and never ends by itself. So neither a slow disk nor a firewall
that does not answer delays the service's loop. Workers and other commands of Airlock write to a
named pipe; what they write while the meter is started again waits there.
"""

import math
import os
import select
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from bootstrap import files
from bootstrap.commands.gc import SUCCEEDED
from bootstrap.errors import AirlockError
from bootstrap.host import storage
from bootstrap.host.config import Host
from bootstrap.metrics import catalogue, exposition
from bootstrap.metrics.report import create
from bootstrap.metrics.totals import Growth, Totals
from bootstrap.sandbox.leases import lease
from bootstrap.sandbox.network import firewall
from bootstrap.service.journal import Journal

PERIOD = 15.0  # seconds between two files, and between two looks at the ruleset's counters
_STARTS = "service-starts"  # in paths.runtime, which is empty after the machine has started
_CHUNK = 1 << 16
_LONGEST = 1 << 20  # bytes without an end of line, which no report has


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """When the service started, in seconds since the epoch, and how often on this boot."""

    at: float
    count: int


def started(runtime: Path, now: float) -> Started:
    """Count a start of the service. Raises OSError."""
    path = runtime / _STARTS
    try:
        before = int(path.read_text())
    except (FileNotFoundError, ValueError):
        before = 0
    files.write(path, str(before + 1).encode())
    return Started(at=now, count=before + 1)


def run(
    host: Host, textfile: Path, start: Started, journal: Journal, *, period: float = PERIOD
) -> NoReturn:
    """Write the metrics to `textfile` until this process is ended."""
    reader = create(host.paths.runtime)
    meter = Meter(host, textfile, start, journal)
    due = time.monotonic()
    while True:
        if (left := due - time.monotonic()) <= 0:
            meter.write(time.time())
            due = time.monotonic() + period
            continue
        if select.select([reader], [], [], left)[0]:
            meter.received(os.read(reader, _CHUNK))


class Meter:
    """What is known so far, and the file that it is written to."""

    def __init__(self, host: Host, textfile: Path, start: Started, journal: Journal) -> None:
        self._host = host
        self._textfile = textfile
        self._journal = journal
        self._totals = Totals()
        self._totals.add(catalogue.SERVICE_STARTS, {}, start.count)
        self._totals.set(catalogue.SERVICE_STARTED, start.at)
        self._totals.set(catalogue.GC_LAST, 0.0)
        self._packets = Growth()
        self._buffered = b""
        self._reported: set[str] = set()

    def received(self, chunk: bytes) -> None:
        """Add the whole lines of what was read from the pipe."""
        *lines, rest = (self._buffered + chunk).split(b"\n")
        self._buffered = rest if len(rest) <= _LONGEST else b""
        for line in lines:
            self._totals.add_line(line)

    def write(self, now: float) -> None:
        """Write the file, whole or not at all; a failure is printed once and tried again."""
        for name, look in {
            "the ruleset": self._look_at_ruleset,
            "the jobs": self._look_at_jobs,
            "the disks": self._look_at_disks,
            "the caches": lambda: self._look_at_caches(now),
            "gc": self._look_at_gc,
        }.items():
            self._tried(f"{name} could not be measured", look)
        self._totals.set(catalogue.WRITTEN, now)
        self._tried(f"the metrics could not be written to {self._textfile}", self._replace)

    def _replace(self) -> None:
        # node_exporter has a user of its own, and nothing in it is secret.
        files.write(self._textfile, exposition.text(self._totals), mode=0o644)

    def _tried(self, what: str, work: Callable[[], None]) -> None:
        try:
            work()
        except (AirlockError, OSError) as failed:
            if what not in self._reported:
                self._journal.alert(f"{what}: {failed}")
            self._reported.add(what)
        else:
            self._reported.discard(what)

    def _look_at_ruleset(self) -> None:
        grown = self._packets.since(firewall.refused_packets())
        self._totals.add(catalogue.REFUSED_PACKETS, {}, grown)

    def _look_at_jobs(self) -> None:
        jobs = self._host.paths.runtime / "jobs"
        names = {path.name for path in jobs.iterdir()} if jobs.is_dir() else set()
        dead = names & set(lease.dead(self._host))
        self._totals.set(catalogue.RUNNING_JOBS, len(names) - len(dead))
        self._totals.set(catalogue.DEAD_JOBS, len(dead))
        self._totals.set(catalogue.SLOTS, self._host.sandbox.slots, state="configured")
        self._totals.set(catalogue.SLOTS, len(names), state="taken")

    def _look_at_disks(self) -> None:
        limits, space = self._host.storage, storage.space(self._host.paths.state)
        values: Mapping[str, tuple[float, float]] = {
            "free": (space.bytes, math.nan if space.inodes is None else space.inodes),
            "min_free": (limits.min_free, limits.min_free_inodes),
            "floor": (limits.floor, limits.floor_inodes),
        }
        for what, (size, inodes) in values.items():
            self._totals.set(catalogue.DISK_BYTES, size, what=what)
            self._totals.set(catalogue.DISK_INODES, inodes, what=what)
        memory = os.statvfs(self._host.paths.runtime)
        self._totals.set(catalogue.RUNTIME_BYTES, memory.f_bavail * memory.f_frsize, what="free")
        self._totals.set(catalogue.RUNTIME_BYTES, memory.f_blocks * memory.f_frsize, what="size")

    def _look_at_gc(self) -> None:
        with suppress(FileNotFoundError):
            last = (self._host.paths.runtime / SUCCEEDED).stat().st_mtime
            self._totals.set(catalogue.GC_LAST, last)

    def _look_at_caches(self, now: float) -> None:
        directory = self._host.paths.runtime / "policies"
        times = [path.stat().st_mtime for path in directory.glob("*") if not path.suffix]
        newest, oldest = (now - max(times), now - min(times)) if times else (math.nan, math.nan)
        self._totals.set(catalogue.POLICY_AGE, newest, which="newest")
        self._totals.set(catalogue.POLICY_AGE, oldest, which="oldest")

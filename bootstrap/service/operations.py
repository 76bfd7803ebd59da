"""What the service does beside jobs: chores, metrics, its journal, and its service manager."""

import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from bootstrap import __version__
from bootstrap.errors import CannotStart
from bootstrap.host import config
from bootstrap.host.config import Host
from bootstrap.metrics import catalogue, report
from bootstrap.sandbox.workspace import prepare_host
from bootstrap.service import housekeeping, meter
from bootstrap.service.journal import Journal, Limited
from bootstrap.service.lanes import Lane, Lanes, Work
from bootstrap.service.notify import Notify
from bootstrap.service.refill import Refill
from bootstrap.service.schedule import Chore, Schedule
from bootstrap.service.workers import Workers
from bootstrap.text import counted

PREPARING = 300.0  # seconds between two looks at what jobs need of this host
PULLING = 3600.0
_PREPARE = Chore(name="prepare", every=PREPARING, limit=180.0)
_PULL = Chore(name="pull", every=PULLING, limit=1800.0, first=5.0)
_GC_LIMIT = 3600.0  # it measures trees, for up to five minutes each
_GC_FIRST = 60.0  # after the first jobs, if they wait for the service
_NETWORKS = Chore(name="networks", every=60.0, limit=60.0, first=1.0)
_METER = Chore(name="meter", every=1.0)


class Operations:
    """The service's chores, as its loop calls them. `workers` are those that run."""

    def __init__(
        self,
        config_path: Path,
        host: Host,
        process_env: Mapping[str, str],
        journal: Journal,
        workers: Workers,
    ) -> None:
        self._config_path = config_path
        self._host = host
        self._journal = journal
        self._workers = workers
        self._notify = Notify.of(process_env, os.getpid())
        self._limited = Limited(journal.alert)
        self._lanes = Lanes((), journal)
        self._networks: Schedule | None = None
        self._pipe: int | None = None
        self._shown = ""
        self._refill = Refill()

    def ready(self) -> None:
        """Begin with the chores, and report that the service runs."""
        now = time.monotonic()
        lanes = [_housekeeping(self._config_path, self._host, self._journal, now)]
        self._networks = None
        if self._host.service.networks_ahead:
            self._networks = Schedule([_NETWORKS], now)
            refill = partial(housekeeping.networks, self._config_path, self._journal)
            lanes.append(Lane(schedule=self._networks, works={"networks": refill}))
        try:
            lanes += self._metered(now)
        except (OSError, CannotStart) as failed:
            self._journal.alert(f"there are no metrics: {failed}")
        self._lanes = Lanes(lanes, self._journal)
        self._shown = self._status()
        self._notify.ready(self._shown)

    def patience(self) -> float | None:
        """Return the seconds until a chore or the watchdog needs a turn of the loop."""
        waits = (self._lanes.patience(time.monotonic()), self._notify.patience())
        return min(wait for wait in waits if wait is not None)

    def run(self) -> None:
        """Start the chores that are due, and show the service manager that the loop runs."""
        now = time.monotonic()
        if self._networks:
            self._refill_networks(self._networks, now)
        self._lanes.tick(now)
        if self._networks and self._networks.running:
            self._refill.began()
        self._limited.flush(now)
        self._notify.alive(now)
        if (status := self._status()) != self._shown:
            self._shown = status
            self._notify.status(status)

    def _refill_networks(self, networks: Schedule, now: float) -> None:
        starting, last = self._workers.starting, self._workers.last_start
        due = self._refill.due(now, starting=starting, last=last)
        if due is not None:
            networks.ask(_NETWORKS.name, due)
            networks.postpone(_NETWORKS.name, due)

    def accepted(self) -> None:
        """Count a connection that has got a worker."""
        report.report(catalogue.CLIENTS, result="accepted")

    def refused(self, kind: str, problem: str) -> None:
        """Count a connection that gets none, and print the first ones of each kind."""
        report.report(catalogue.CLIENTS, result=kind)
        self._limited(kind, f"refused a client: {problem}", time.monotonic())

    def worker_ended(self, status: int) -> None:
        """Count a worker that has not ended by itself."""
        code = os.waitstatus_to_exitcode(status)
        if code not in (0, 1):  # 1: nobody to work for, or a malformed request
            report.report(catalogue.WORKERS_LOST)
            what = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
            self._limited("worker", f"a worker {what}", time.monotonic())

    def ended(self, pid: int, status: int) -> None:
        """Take note of the end of a chore, if it was one."""
        self._lanes.ended(pid, status, time.monotonic())

    def stopping(self, *, upgrading: bool) -> None:
        """End the chores, and report the end or the reload to the service manager."""
        self._lanes.stop()
        if upgrading:
            self._notify.reloading()
        else:
            self._notify.stopping(f"stopped; {counted(len(self._workers), 'job')} go on")

    def _status(self) -> str:
        return f"version {__version__}, {counted(len(self._workers), 'worker')}"

    def _metered(self, now: float) -> list[Lane]:
        """Return the meter's lane, if there are metrics; the pipe for reports is open then."""
        if not self._host.service.metrics:
            return []
        runtime = self._host.paths.runtime
        prepare_host(runtime, self._host.paths.state)
        if self._pipe is None:
            self._pipe = report.create(runtime)  # reports wait in it while there is no meter
        start = meter.started(runtime, time.time())
        textfile = Path(self._host.service.metrics)
        run = partial(meter.run, self._host, textfile, start, self._journal)
        return [Lane(schedule=Schedule([_METER], now), works={"meter": run}, niceness=0)]


def _housekeeping(config_path: Path, host: Host, journal: Journal, now: float) -> Lane:
    def by_now(work: Callable[[Host, Journal], int]) -> int:
        """Do it as the file says by now, as the next job would."""
        current = config.load(config_path)
        journal.mask(*current.secrets)
        return work(current, journal)

    works: dict[str, Work] = {"prepare": partial(by_now, housekeeping.prepare)}
    found = [_PREPARE]
    if host.service.pre_pull:
        works["pull"] = partial(by_now, housekeeping.pull)
        found.append(_PULL)
    if host.service.gc_interval:
        works["gc"] = partial(housekeeping.collect, config_path, host)
        every = float(host.service.gc_interval)
        found.append(Chore(name="gc", every=every, limit=_GC_LIMIT, first=min(_GC_FIRST, every)))
    return Lane(schedule=Schedule(found, now), works=works)

"""Which chores the service has, by airlock.toml."""

import time
from functools import partial
from pathlib import Path

from bootstrap.host.config import Host
from bootstrap.metrics.report import create
from bootstrap.sandbox.workspace import prepare_host
from bootstrap.service import housekeeping, meter
from bootstrap.service.journal import Journal
from bootstrap.service.lanes import Lane, Lanes, Work
from bootstrap.service.schedule import Chore, Schedule

PREPARING = 300.0  # seconds between two looks at what jobs need of this host
PULLING = 3600.0
# After the first job may have come. `airlock gc` measures trees for up to five minutes each.
_PREPARE = Chore(name="prepare", every=PREPARING, limit=180.0)
_PULL = Chore(name="pull", every=PULLING, limit=1800.0, first=5.0)
_GC_LIMIT = 3600.0
_GC_FIRST = 60.0
_METER = Chore(name="meter", every=1.0)


def chores(config_path: Path, host: Host, journal: Journal, now: float) -> Lanes:
    """Return the chores of this host, none of them started. Raises OSError and CannotStart.

    Call it once in a service's life: it counts a start. The pipe for reports is open from then on.
    """
    runtime = host.paths.runtime
    prepare_host(runtime, host.paths.state)
    lanes = [_housekeeping(config_path, host, journal, now)]
    if host.service.metrics:
        create(runtime)  # and leave it open: reports wait in it while there is no meter
        start = meter.started(runtime, time.time())
        run = partial(meter.run, host, Path(host.service.metrics), start, journal)
        lanes.append(Lane(schedule=Schedule([_METER], now), works={"meter": run}, niceness=0))
    return Lanes(lanes, journal)


def _housekeeping(config_path: Path, host: Host, journal: Journal, now: float) -> Lane:
    works: dict[str, Work] = {"prepare": partial(housekeeping.prepare, host, journal)}
    found = [_PREPARE]
    if host.service.pre_pull:
        works["pull"] = partial(housekeeping.pull, host, journal)
        found.append(_PULL)
    if host.service.gc_interval:
        works["gc"] = partial(housekeeping.collect, config_path, host)
        every = float(host.service.gc_interval)
        found.append(Chore(name="gc", every=every, limit=_GC_LIMIT, first=min(_GC_FIRST, every)))
    return Lane(schedule=Schedule(found, now), works=works)

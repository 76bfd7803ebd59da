"""The service containers of one job: started beside its container, ready, and gone with it.

They are started after the proof, because their programs begin at once: what they reach is what the
proof has shown. Nothing of the job runs before all of them are ready.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.alerts import Alerts
from bootstrap.errors import CannotStart
from bootstrap.files import write
from bootstrap.host.config import Host
from bootstrap.log import JobLog
from bootstrap.policy.services import ServiceContainer, readiness
from bootstrap.record import Record
from bootstrap.sandbox.companions import plan, report
from bootstrap.sandbox.companions.output import BUDGET, Output
from bootstrap.sandbox.companions.plan import Companion
from bootstrap.sandbox.companions.ready import is_ready
from bootstrap.sandbox.companions.starting import Place, ended, failed, start
from bootstrap.sandbox.companions.watch import Ending, Watch
from bootstrap.sandbox.images.image import provided
from bootstrap.sandbox.leases import first_process

if TYPE_CHECKING:
    from bootstrap.sandbox.engine_client import Client

EVERY = 10.0  # seconds between two lines about services that are not ready
LOGS = "services"  # in the sandbox directory, which is /airlock in the job's container
_PAUSES = (0.02, 0.5)  # seconds between two attempts: the shortest and the longest


def companions(
    client: "Client", services: Mapping[str, ServiceContainer], host: Host, log: JobLog
) -> tuple[Companion, ...]:
    """Provide the images. Raises as `images.image.provided`."""
    return tuple(
        Companion(
            name=name,
            service=service,
            image=provided(client, service.image, host, log, key=f"image of the service {name}"),
        )
        for name, service in services.items()
    )


def prepare(sandbox: Path, services: Mapping[str, ServiceContainer]) -> None:
    """Write what the job's container sees of its services: their names, and a place for logs."""
    write(sandbox / "hosts", plan.hosts(services), 0o444)
    (sandbox / LOGS).mkdir(mode=0o755)


@contextmanager
def started(place: Place, some: Sequence[Companion], log: JobLog, record: Record) -> Iterator[None]:
    """Start all, and yield when all are ready. Raises CannotStart.

    When this closes they are killed, and the job's log and the record get how each ended; the lease
    removes their containers.
    """
    alerts = Alerts(log, record)
    with ExitStack() as held:
        directory = place.lease.directory / "sandbox" / LOGS
        outputs = {one.name: _output(directory, one, len(some)) for one in some}
        watch = Watch(place.container.guard.process)
        held.callback(watch.close)
        waiting = _Waiting(place, outputs, watch, log)
        for one in some:
            watch.add(start(place, one, outputs[one.name]))
        took = waiting.until_ready(some)
        record.services({o.name: {**plan.described(o), "ready": took[o.name]} for o in some})
        held.pop_all()
    try:
        yield
    finally:
        with alerts.instead("how the services of the job ended is not known"):
            _report(some, outputs, watch.close(), log, record)


def _output(directory: Path, one: Companion, number: int) -> Output:
    """Half of a service's share is for what it prints now, half for what it printed before."""
    ready = one.service.ready
    awaited = ready.removeprefix("log:") if ready.startswith("log:") else ""
    return Output(directory, one.name, limit=BUDGET // (2 * number), awaited=awaited)


class _Waiting:
    """Waits until services are ready, from its creation on."""

    def __init__(
        self, place: Place, outputs: Mapping[str, Output], watch: Watch, log: JobLog
    ) -> None:
        self._place = place
        self._outputs = outputs
        self._watch = watch
        self._log = log
        self._began = time.monotonic()
        self._line_at = EVERY  # seconds since then

    def until_ready(self, some: Sequence[Companion]) -> dict[str, float]:
        """Return how many seconds each took. Raises CannotStart."""
        took: dict[str, float] = {}
        pause = _PAUSES[0]
        while True:
            for one in some:
                if one.name not in took and self._is_ready(one):
                    took[one.name] = round(self._since(), 3)
                    self._log.note(f"service {one.name}: ready after {took[one.name]:.1f} s")
            waiting = [one for one in some if one.name not in took]
            if not waiting:
                return took
            self._look_at_the_clock(waiting)
            time.sleep(pause)
            pause = min(pause * 1.5, _PAUSES[1])

    def _since(self) -> float:
        return time.monotonic() - self._began

    def _look_at_the_clock(self, waiting: Sequence[Companion]) -> None:
        for one in waiting:
            within = one.service.ready_within.total_seconds()
            if self._since() > within:
                why = f"is not ready ({one.service.ready}) after {within:.0f} s"
                raise failed(one, self._outputs[one.name], why)
        if self._since() > self._line_at:
            self._line_at += EVERY
            names = ", ".join(f"{one.name} ({one.service.ready})" for one in waiting)
            self._log.note(f"waiting for services, {self._since():.0f} s: {names}")

    def _is_ready(self, one: Companion) -> bool:
        output, guard = self._outputs[one.name], self._place.container.guard
        # With the job's container its services are killed: they are not why it ended.
        if (ending := self._watch.ending(one.name)) and ending.early:
            raise ended(one, output, ending.code)
        if first_process.has_ended(guard.process):
            raise CannotStart(
                "the job's container ended before its services were ready"
                + (f": {guard.why}" if guard.why else ""),
                hint="Nothing of the job has run. Retry the job.",
            )
        with suppress(OSError):  # the job's container has just ended
            return is_ready(readiness(one.service.ready), self._place.container.running.pid, output)
        return False


def _report(
    some: Sequence[Companion],
    outputs: Mapping[str, Output],
    endings: Mapping[str, Ending],
    log: JobLog,
    record: Record,
) -> None:
    report.shown(
        {one.name: (one.service, outputs[one.name], endings[one.name]) for one in some}, log
    )
    record.services_ended({name: asdict(ending) for name, ending in endings.items()})

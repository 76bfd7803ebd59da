"""Waiting until all services of a job are ready, with real processes in place of containers."""

import errno
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from bootstrap.errors import CannotStart
from bootstrap.host.config import Host, Sandbox
from bootstrap.log import JobLog
from bootstrap.policy.services import ServiceContainer
from bootstrap.sandbox.companions import beside
from bootstrap.sandbox.companions.beside import _output, _Waiting
from bootstrap.sandbox.companions.output import BUDGET
from bootstrap.sandbox.companions.plan import Companion
from bootstrap.sandbox.companions.starting import Place
from bootstrap.sandbox.leases.lease import Lease
from tests.lab.engine import eventually
from tests.sandbox.companions.given import companion
from tests.sandbox.companions.machine import Machine

if TYPE_CHECKING:
    from bootstrap.record import Record

NOTHING: Any = None  # of the engine: who waits does not ask it
TEXT = "it is up"


class Waiting:
    """A job whose services are `db`, which prints when it is ready, and `cache`, which is ready."""

    def __init__(self, base: Path, held: ExitStack) -> None:
        self.machine, self.lines = Machine(base, held), list[bytes]()
        self.machine.service("db", (3, False), awaited=TEXT)
        self.machine.service("cache")
        held.callback(self.machine.watch.close)
        self._guard = SimpleNamespace(process=os.pidfd_open(self.machine.job.pid), why="")
        held.callback(os.close, self._guard.process)
        job = self.machine.job.pid
        container: Any = SimpleNamespace(guard=self._guard, running=SimpleNamespace(pid=job))
        self.place = Place(
            client=NOTHING,
            host=Host(sandbox=Sandbox(image="job:1")),
            lease=Lease(token="t-1", directory=base, uid=61007),
            container=container,
            names=("db", "cache"),
        )

    def until_ready(self, seconds: float = 60.0) -> dict[str, float]:
        """Return how long each took; `db` has so many seconds."""
        some = (_service("db", f"log:{TEXT}", seconds), _service("cache", "", 60.0))
        log = JobLog(self.lines.append)
        waiting = _Waiting(self.place, self.machine.outputs, self.machine.watch, log)
        return waiting.until_ready(some)

    def breached(self, why: str) -> None:
        """End the job's container, for this reason if there is one: its services are killed."""
        self._guard.why = why
        self.machine.job.kill()
        eventually(lambda: self.machine.watch.ending("db"), "it is killed with the job")

    def lines_with(self, text: str) -> int:
        """Return how many lines of the log have this."""
        return sum(text.encode() in line for line in self.lines)


def _service(name: str, ready: str, seconds: float) -> Companion:
    within = timedelta(seconds=seconds)
    service = ServiceContainer(image="ci/db:1", ready=ready, ready_within=within)
    return replace(companion(service), name=name)


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[Waiting]:
    with ExitStack() as held:
        yield Waiting(tmp_path, held)


def test_all_are_waited_for_and_each_is_ready_once_in_the_log(waiting: Waiting) -> None:
    printing = threading.Timer(0.3, waiting.machine.prints, ("db", f"{TEXT}\n".encode()))
    printing.start()
    took = waiting.until_ready()
    printing.join()
    assert took["cache"] < 0.3 <= took["db"]
    assert [waiting.lines_with(f"service {name}: ready after") for name in ("db", "cache")] == [
        1,
        1,
    ]


@pytest.mark.parametrize("why", ["", "the table was removed"])
def test_it_ends_with_the_jobs_container(waiting: Waiting, why: str) -> None:
    waiting.breached(why)
    with pytest.raises(CannotStart, match="ended before its services were ready") as ended:
        waiting.until_ready()
    assert ended.value.problem.endswith(why or "ready")


def test_it_ends_with_a_service(waiting: Waiting) -> None:
    threading.Timer(0.2, waiting.machine.processes["db"].kill).start()
    with pytest.raises(CannotStart, match="the service db ended with exit status 3 before it"):
        waiting.until_ready()


def test_it_says_from_time_to_time_for_what_it_waits(
    waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "EVERY", 0.4)
    monkeypatch.setattr(beside, "_PAUSES", (0.02, 0.02))
    with pytest.raises(CannotStart, match="the service db is not ready"):
        waiting.until_ready(1.0)
    assert waiting.lines_with("waiting for services, ") == 2
    assert waiting.lines_with("s: db (log:it is up)") == 2, "and for no other"


def service_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "services"]


def test_a_failure_of_the_start_leaves_no_watch(waiting: Waiting) -> None:
    before = service_threads()

    def refused(_: object) -> None:
        raise CannotStart("the record cannot be written", hint="")

    log, record = JobLog(waiting.lines.append), SimpleNamespace(services=refused)
    some: Any = beside.started(waiting.place, (), log, cast("Record", record))
    with pytest.raises(CannotStart, match="the record cannot be written"), some:
        pass
    eventually(lambda: service_threads() == before, "the watch has ended")


def test_a_failure_of_the_report_changes_no_result(waiting: Waiting) -> None:
    written: list[object] = []

    def full(_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    record = SimpleNamespace(services=written.append, services_ended=full)
    log = JobLog(waiting.lines.append)
    with beside.started(waiting.place, (), log, cast("Record", record)):
        assert written == [{}]
    assert waiting.lines_with("how the services of the job ended is not known: No space left") == 1


def test_all_services_of_a_job_together_fill_no_more_than_their_share(tmp_path: Path) -> None:
    some = [_service(name, "", 60.0) for name in ("db", "cache", "queue")]
    for one in some:
        output = _output(tmp_path, one, len(some))
        for _ in range(100):
            output.write(b"x" * (64 << 10))
        output.close()
    files = list(tmp_path.iterdir())
    assert len(files) == 2 * len(some), "what came before is kept too"
    assert BUDGET * 3 // 4 < sum(file.stat().st_size for file in files) <= BUDGET


def test_what_the_job_sees_of_its_services_can_be_read_by_it(tmp_path: Path) -> None:
    umask = os.umask(0o022)
    try:
        beside.prepare(tmp_path, {"db": ServiceContainer(image="ci/db:1")})
    finally:
        os.umask(umask)
    assert "127.0.0.1\tdb\n" in (tmp_path / "hosts").read_text()
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("hosts", "services")]
    assert modes == [0o444, 0o755]

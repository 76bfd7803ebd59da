"""The watch of a job's services, with real processes in place of containers."""

import contextlib
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bootstrap.sandbox.companions import watch as watching
from bootstrap.sandbox.companions.watch import Ending
from bootstrap.sandbox.limits import Used
from tests.lab.engine import eventually
from tests.sandbox.companions.machine import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with ExitStack() as held:
        yield Machine(tmp_path, held)


def test_output_is_copied_while_services_run(machine: Machine) -> None:
    machine.service("db")
    machine.service("cache")
    machine.prints("db", b"one\n")
    machine.prints("cache", b"two\n")
    machine.prints("db", b"three\n")
    eventually(lambda: machine.outputs["db"].last(9) == ["one", "three"], "it is copied")
    eventually(lambda: machine.outputs["cache"].last(9) == ["two"], "it is copied")
    machine.watch.close()


def test_services_are_killed_as_soon_as_the_job_has_ended(machine: Machine) -> None:
    """Before anyone closes the watch: the loop that supervises the job may be busy for seconds."""
    services = [machine.service("db"), machine.service("cache")]
    machine.job.kill()
    for service in services:
        assert service.wait(5) == -9
    for engine in machine.engines.values():
        engine.close()
    assert machine.watch.close() == {"db": Ending(early=False), "cache": Ending(early=False)}


def test_a_service_that_ends_before_the_job_is_found_with_its_status(machine: Machine) -> None:
    service, other = machine.service("db", (137, True)), machine.service("cache")
    service.terminate()
    service.wait()
    expected = Ending(early=True, code=137, out_of_memory=True)
    eventually(lambda: machine.watch.ending("db") == expected, "it is found")
    assert machine.watch.ending("cache") is None
    found = machine.watch.close()
    assert found == {"db": expected, "cache": Ending(early=False)}
    assert other.wait(5) == -9


def test_an_engine_that_does_not_answer_leaves_the_status_unknown(machine: Machine) -> None:
    machine.service("db", None).kill()
    eventually(lambda: machine.watch.ending("db") == Ending(early=True), "it is found")
    machine.watch.close()


def test_an_engine_that_hangs_keeps_no_service_alive_and_nobody_waiting(machine: Machine) -> None:
    answered = threading.Event()
    machine.service("db", (0, False), answered).kill()
    other = machine.service("cache")
    eventually(lambda: machine.watch._asking, "the engine is asked")  # noqa: SLF001
    machine.job.kill()
    assert other.wait(5) == -9
    began = time.monotonic()
    found = machine.watch.close()
    assert time.monotonic() - began < 3
    assert found == {"db": Ending(early=True), "cache": Ending(early=False)}
    answered.set()


def test_the_end_of_the_output_is_not_lost(machine: Machine) -> None:
    machine.service("db")
    machine.prints("db", b"the last words\n")
    machine.engines["db"].close()
    machine.watch.close()
    assert machine.outputs["db"].last(1) == ["the last words"]


def test_a_service_that_prints_without_end_waits(machine: Machine) -> None:
    """It takes no more of the host's processors than its share of output."""
    machine.service("db")
    printed: list[int] = []

    def print_on() -> None:
        with contextlib.suppress(OSError):
            while True:
                machine.prints("db", b"x" * 60_000)
                printed.append(60_000)

    printing = threading.Thread(target=print_on)
    began = time.monotonic()
    printing.start()
    eventually(lambda: time.monotonic() - began > 1, "a second has passed")
    megabytes = sum(printed) / 1e6 / (time.monotonic() - began)
    slowed = machine.watch.close()["db"].slowed
    printing.join()
    assert 0 < megabytes < 10
    assert 0 < slowed < 2


def test_a_stream_that_never_ends_holds_nobody_up(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "DRAIN", 0.1)
    service = machine.service("db")
    assert machine.watch.close() == {"db": Ending(early=False)}
    assert service.wait(5) == -9


def test_what_a_service_has_used_up_is_part_of_how_it_ended(machine: Machine) -> None:
    """Whether it ended before the job, in time to ask the engine or not, or with the job."""
    full, answered = Used(full=("/data",)), threading.Event()
    machine.service("early", used=full).kill()
    machine.service("asked", answered=answered, used=full).kill()
    machine.service("late", used=full)
    eventually(lambda: machine.watch.ending("early"), "it is found")
    eventually(lambda: len(machine.watch._asking) == 2, "the engine is asked")  # noqa: SLF001
    assert machine.watch.close() == {
        "early": Ending(early=True, code=3, out_of_memory=False, used=full),
        "asked": Ending(early=True, used=full),
        "late": Ending(early=False, used=full),
    }
    answered.set()


def test_the_engine_is_asked_once(machine: Machine) -> None:
    machine.service("db").kill()
    eventually(lambda: machine.watch.ending("db"), "it is found")
    threading.Event().wait(0.2)
    machine.watch.close()
    assert machine.asked == ["db"]


def test_a_service_that_ends_at_the_end_of_the_job_has_not_ended_early(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process may be the first of which the kernel says that it has ended."""
    monkeypatch.setattr(watching, "_PAUSE", 2)
    service = machine.service("db")
    machine.prints("db", b"one\n")
    eventually(lambda: machine.outputs["db"].last(1), "it is copied, and the thread pauses")
    for process in (service, machine.job):
        process.kill()
        process.wait()
    monkeypatch.undo()  # of the next pauses
    eventually(lambda: machine.watch.ending("db"), "it is found")
    assert machine.watch.close() == {"db": Ending(early=False)}
    assert machine.asked == []


def test_nobody_waits_for_output_that_has_ended(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "DRAIN", 10)
    machine.service("db")
    machine.engines["db"].close()
    began = time.monotonic()
    machine.watch.close()
    assert time.monotonic() - began < 5


def test_waiting_for_output_takes_no_processor(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "DRAIN", 1)
    machine.service("db")
    machine.service("cache")
    machine.engines["cache"].close()
    machine.job.kill()
    machine.job.wait()
    before = time.process_time()
    machine.watch.close()
    assert time.process_time() - before < 0.3


def test_one_whose_output_cannot_be_read_costs_no_other_its_own(machine: Machine) -> None:
    service, other = machine.service("db"), machine.service("cache")
    machine.ours["db"].send(b"x")
    machine.engines["db"].close()  # with what it has not read: a reset, by unix(7)
    threading.Event().wait(0.1)
    machine.prints("cache", b"one\n")
    eventually(lambda: machine.outputs["cache"].last(1) == ["one"], "it is copied")
    machine.job.kill()
    assert (service.wait(5), other.wait(5)) == (-9, -9)
    machine.watch.close()


def test_an_engine_that_answers_in_time_is_waited_for(machine: Machine) -> None:
    answered = threading.Event()
    machine.service("db", (5, True), answered).kill()
    eventually(lambda: machine.asked, "the engine is asked")
    machine.engines["db"].close()
    threading.Timer(0.2, answered.set).start()
    assert machine.watch.close() == {"db": Ending(early=True, code=5, out_of_memory=True)}


def opened() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_nothing_stays_open(tmp_path: Path) -> None:
    before = opened()
    with ExitStack() as held:
        machine = Machine(tmp_path, held)
        machine.service("db", directories=(str(tmp_path),))
        assert opened() > before
        machine.watch.close()
    assert opened() == before

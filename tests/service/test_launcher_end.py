"""A worker's end of the connection to its launcher."""

import os
import socket
import struct
import threading
from collections.abc import Iterator
from signal import Signals

import pytest

from bootstrap.errors import WrongConfiguration
from bootstrap.sandbox.supervision.exitstatus import DieBy, ExitWith
from bootstrap.sandbox.supervision.signals import CancelledEarly
from bootstrap.service.control import Control
from bootstrap.service.launcher import Launcher
from tests.lab.engine import eventually


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, Launcher]]:
    theirs, ours = socket.socketpair()
    theirs.settimeout(10)
    with theirs, ours:
        yield theirs, Launcher(ours)


@pytest.mark.parametrize("number", [Signals.SIGTERM, Signals.SIGUSR2, Signals.SIGHUP])
def test_signal_of_the_launcher_counts_as_this_process_s(
    pair: tuple[socket.socket, Launcher], number: Signals
) -> None:
    theirs, launcher = pair
    with launcher.signals() as received:
        theirs.send(bytes([number]))
        eventually(lambda: received.first is number, "it is noted")
        assert os.read(received.descriptor, 1) == b"!"
        assert not received.abandoned


def test_signal_that_came_before_is_not_lost(pair: tuple[socket.socket, Launcher]) -> None:
    theirs, launcher = pair
    theirs.send(bytes([Signals.SIGTERM]))
    with launcher.signals() as received:
        assert received.first is Signals.SIGTERM


def test_signal_interrupts_what_this_process_waits_for(
    pair: tuple[socket.socket, Launcher],
) -> None:
    theirs, launcher = pair
    reader, writer = os.pipe()
    with launcher.signals() as received:
        timer = threading.Timer(0.2, lambda: theirs.send(bytes([Signals.SIGINT])))
        timer.start()
        with pytest.raises(CancelledEarly) as early, received.interrupting():
            os.read(reader, 1)
        timer.join()
    assert early.value.by is Signals.SIGINT
    os.close(reader)
    os.close(writer)


def test_other_numbers_are_ignored(pair: tuple[socket.socket, Launcher]) -> None:
    theirs, launcher = pair
    with launcher.signals() as received:
        theirs.send(bytes([0, Signals.SIGKILL, 255]))
        theirs.send(bytes([Signals.SIGQUIT]))
        eventually(lambda: received.first, "the last one is noted")
        assert received.first is Signals.SIGQUIT


def test_end_of_the_launcher_abandons_the_job(pair: tuple[socket.socket, Launcher]) -> None:
    theirs, launcher = pair
    with launcher.signals() as received:
        theirs.send(bytes([Signals.SIGTERM]))
        eventually(lambda: received.first, "a signal is noted")
        assert not received.abandoned
        theirs.close()
        eventually(lambda: received.abandoned, "its end is noted")
        assert os.read(received.descriptor, 9) == b"!!"


def test_end_of_the_launcher_before_the_begin_is_a_cancellation(
    pair: tuple[socket.socket, Launcher],
) -> None:
    theirs, launcher = pair
    theirs.close()
    with launcher.signals() as received:
        assert received.abandoned
        with pytest.raises(CancelledEarly) as early, received.interrupting():
            pass
    assert early.value.by is Signals.SIGKILL


def test_launcher_that_sends_without_end_is_taken_for_a_killed_one(
    pair: tuple[socket.socket, Launcher],
) -> None:
    theirs, launcher = pair
    stop = threading.Event()

    def send() -> None:
        while not stop.is_set():
            try:
                theirs.send(b"\0")
            except OSError:
                return

    theirs.settimeout(0.1)
    flood = threading.Thread(target=send)
    with launcher.signals() as received:
        flood.start()
        eventually(lambda: received.abandoned, "the job ends")
        steps = sum(1 for _ in range(100_000))
        stop.set()
        flood.join(20)
    assert steps == 100_000


def test_what_the_worker_reports_arrives(pair: tuple[socket.socket, Launcher]) -> None:
    theirs, launcher = pair
    launcher.begun()
    launcher.ended(ExitWith(code=7, whose="job"))
    launcher.ended(DieBy(signal=Signals.SIGTERM, whose="job"))
    assert theirs.recv(99) == b"BE\x07S\x0f"


def test_refusal_reads_as_every_other_end_in_a_jobs_log(
    pair: tuple[socket.socket, Launcher],
) -> None:
    theirs, launcher = pair
    launcher.refused(WrongConfiguration("no", hint="Mend it."))
    kind, status, size = struct.unpack("=cBH", theirs.recv(4))
    assert (kind, status) == (b"R", 78)
    first, *others, last = theirs.recv(999).decode().splitlines()
    assert first == "+++ :no_entry: Airlock: Wrong configuration"
    assert others == ["\x1b[31mno\x1b[0m", "What to do: Mend it."]
    assert last.startswith("Exit status 78 is Airlock's: https://")
    assert size == len("\n".join((first, *others, last, "")))


def test_reports_to_a_launcher_that_is_gone_are_lost(
    pair: tuple[socket.socket, Launcher],
) -> None:
    theirs, launcher = pair
    theirs.close()
    launcher.begun()
    launcher.ended(ExitWith(code=7, whose="job"))
    with launcher.signals() as received:
        assert received.abandoned


@pytest.mark.parametrize("job", ["", "a" * 10_000_000, "\udcff", "\0"])
def test_job_of_any_name_has_no_verdict_without_a_service(job: str) -> None:
    service, worker = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with worker:
        service.close()
        control = Control(worker)
        control.keep(job, b"packed")
        assert control.kept(job) is None

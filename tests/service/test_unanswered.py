"""Launchers that wait when the service ends, is replaced or cannot start: each gets an answer."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from bootstrap.service import children
from bootstrap.service.refusing import Refuser
from tests.lab import launcher
from tests.lab.engine import eventually
from tests.lab.lab import AIRLOCK
from tests.lab.service import Serving, running
from tests.service.client import answer, connected
from tests.test_cli import configured

CROWD = 250  # more than the refusing process has space for
# As systemd starts a service: its socket is descriptor 3, and the environment names the process.
AS_SYSTEMD = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """What sd_notify(3) reaches."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "notify"))
        made.settimeout(30)
        yield made


@pytest.fixture
def service(tmp_path: Path, manager: socket.socket) -> Iterator[Serving]:
    """A running service of root's agents, which may have one job at once."""
    if os.geteuid() != 0:
        pytest.skip("the service runs as root")
    path, own = configured(tmp_path), tmp_path / "airlock.sock"
    with path.open("a") as file:
        file.write(
            f'[service]\nsocket = "{own}"\nagents = ["root"]\njobs-per-agent = 1\n'
            'pre-pull = false\ngc-interval = "0s"\nnetworks-ahead = 0\n'
        )
    program = ("/usr/bin/env", f"NOTIFY_SOCKET={manager.getsockname()}", *AIRLOCK)
    with running(path, own, tmp_path / "service.log", program=program) as made:
        yield made


def refusing_process(service: Serving) -> int:
    (found,) = [pid for pid, name in service.children().items() if name == "airlock:refuse"]
    return found


def queue(path: Path) -> int:
    """Return how many connections the socket has that are not accepted."""
    command = ["ss", "-H", "-x", "-l", "src", str(path)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return int(shown.split()[2])


@pytest.mark.parametrize(
    ("number", "state"), [(signal.SIGHUP, b"RELOADING=1"), (signal.SIGTERM, b"STOPPING=1")]
)
def test_launchers_that_wait_when_the_service_ends_are_all_answered(
    service: Serving, manager: socket.socket, number: signal.Signals, state: bytes
) -> None:
    with ExitStack() as held:
        held.enter_context(connected(service.socket))  # the one job
        eventually(service.workers, "it has its worker")
        assert answer(held.enter_context(connected(service.socket))).kind == "R"
        refuser = refusing_process(service)
        os.kill(refuser, signal.SIGSTOP)
        crowd = [held.enter_context(connected(service.socket)) for _ in range(CROWD)]
        eventually(lambda: 0 < queue(service.socket) < CROWD - 50, "the process is full")
        os.kill(service.pid, number)
        while state not in manager.recv(4096):
            pass
        os.kill(refuser, signal.SIGCONT)
        kinds = [answer(connection).kind for connection in crowd]
    assert kinds == ["R"] * CROWD


def test_refuser_waits_for_its_process_before_it_finishes() -> None:
    refuser = Refuser()
    with ExitStack() as held:
        theirs = []
        for _ in range(CROWD):
            ours, its = socket.socketpair()
            theirs.append(held.enter_context(ours))
            ours.settimeout(10)
            refuser.refuse(its, b"Rno")
            if refuser.pid == 0:
                refuser.proceed()
                os.kill(refuser.pid, signal.SIGSTOP)
        refuser.proceed()
        assert refuser.waits
        threading.Timer(0.5, os.kill, (refuser.pid, signal.SIGCONT)).start()
        refuser.finish()
        assert not refuser.waits
        assert {one.recv(9) for one in theirs} == {b"Rno"}
        os.kill(refuser.pid, signal.SIGKILL)
        pid, _ = os.waitpid(refuser.pid, 0)
        refuser.ended(pid)


def test_refuser_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_process(*_: object) -> int:
        raise OSError("no process can be created")

    monkeypatch.setattr(children, "fork", no_process)
    refuser, (ours, its) = Refuser(), socket.socketpair()
    with ours, closing(its):
        refuser.refuse(its, b"Rno")
        began = time.monotonic()
        refuser.finish(0.2)
        assert 0.2 <= time.monotonic() - began < 5
        assert refuser.waits


def test_launchers_that_wait_for_a_service_that_cannot_start_learn_why(tmp_path: Path) -> None:
    """The socket of systemd keeps them: without an answer they would wait for 30 seconds."""
    (tmp_path / "airlock.toml").write_text("[policy]\nstore = 1\n")
    path = tmp_path / "airlock.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(1024)
        command = [str(launcher.binary()), "--socket", str(path), "bootstrap"]
        jobs = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(3)]
        eventually(lambda: queue(path) == len(jobs), "they wait")
        started = [*AIRLOCK, "serve", "--config", str(tmp_path / "airlock.toml")]
        began = time.monotonic()
        service = subprocess.run(
            [sys.executable, "-c", AS_SYSTEMD, str(listening.fileno()), *started],
            pass_fds=[listening.fileno()], capture_output=True, check=False,
        )  # fmt: skip
        for job in jobs:
            _, log = job.communicate(timeout=10)
            assert job.returncode == 78, log
            assert b"Wrong configuration" in log
            assert b"policy.store" in log
        assert time.monotonic() - began < 15
        assert service.returncode == 78
        assert b"policy.store" in service.stderr
        assert queue(path) == 0

"""However a replay ends, nothing of it is left."""

import os
import signal
import socket
import subprocess
import time
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path, PosixPath
from threading import Event, Thread

import pytest

from bootstrap.replay.clearing import held, sweep
from bootstrap.replay.interruption import SAME
from bootstrap.replay.place import Places
from bootstrap.sandbox import engine
from tests.lab.engine import eventually
from tests.lab.lab import Lab
from tests.replay.conftest import Replays

pytestmark = pytest.mark.lab
# Seconds after the start at which a developer changes their mind: from its imports to the job.
POINTS = (0.2, 0.5, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.3, 2.6, 3.0, 4.0)


@pytest.mark.parametrize("seconds", POINTS)
def test_interrupt_at_any_point_leaves_nothing(replays: Replays, seconds: float) -> None:
    job = replays.record("echo begun; sleep 1000")
    with replays.started(job) as running:
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(seconds)
        running.send_signal(signal.SIGINT)
        status = running.wait(30)
    assert status in {130, 255, -signal.SIGINT}, replays.errors
    assert replays.remains() == []


class Slow(Thread):
    """A way to the engine on which the creation of a network takes its time."""

    def __init__(self, path: Path, docker: str) -> None:
        super().__init__(daemon=True)
        self.asked, self.passed_on = Event(), Event()
        self._engine = docker.removeprefix("unix://")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        path.chmod(0o666)
        self._listener.listen(16)
        self._opened = [self._listener]
        self.url = f"unix://{path}"

    def close(self) -> None:
        for one in self._opened:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def run(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            engine = socket.socket(socket.AF_UNIX)
            self._opened += [client, engine]
            engine.connect(self._engine)
            for way in ((client, engine), (engine, client)):
                Thread(target=self._pass, args=way, daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while content := source.recv(1 << 16):
                creates = b"/networks/create" in content
                if creates:
                    self.asked.set()
                    self.passed_on.wait(1.5)
                target.sendall(content)
                if creates:
                    self.passed_on.set()
            target.shutdown(socket.SHUT_WR)


def test_interrupt_waits_for_what_the_engine_was_asked_for(replays: Replays) -> None:
    """Else the engine would do it after everything was cleared."""
    slow = Slow(replays.developer.home / "docker.sock", replays.developer.docker)
    slow.start()
    with (
        closing(slow),
        replays.started(replays.record("true"), "--docker", slow.url) as running,
    ):
        assert slow.asked.wait(30), replays.errors
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 130
    assert slow.passed_on.is_set()
    assert replays.remains() == []


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in listed]


def killed(running: subprocess.Popen[bytes]) -> None:
    """Kill a replay, and wait until its reaper has ended: there is one before there is anything."""
    reapers = children(running.pid)
    running.kill()
    running.wait(10)
    for reaper in reapers:
        eventually(lambda: not Path(f"/proc/{reaper}").exists(), "the reaper has ended", 30)  # noqa: B023


def test_reaper_clears_what_the_engine_makes_after_the_replay_was_killed(
    replays: Replays,
) -> None:
    slow = Slow(replays.developer.home / "docker.sock", replays.developer.docker)
    slow.start()
    with (
        closing(slow),
        replays.started(replays.record("true"), "--docker", slow.url) as running,
    ):
        assert slow.asked.wait(30), replays.errors
        killed(running)
    assert slow.passed_on.is_set()
    assert replays.remains() == []


@pytest.mark.parametrize("seconds", POINTS[::2])
def test_kill_at_any_point_leaves_nothing(replays: Replays, seconds: float) -> None:
    job = replays.record("echo begun; sleep 1000")
    with replays.started(job) as running:
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(seconds)
        killed(running)
    assert replays.remains() == []


def test_interrupted_job_is_cancelled_as_by_the_agent(replays: Replays) -> None:
    with replays.running("trap 'echo cleaned; exit 9' TERM; echo begun; sleep 1000") as running:
        eventually(lambda: b"\nbegun" in replays.output, "the command has begun")
        running.send_signal(signal.SIGINT)
        running.wait(30)
    assert b"pre-exit hook ran: cancelled=true" in replays.output, replays.output.decode()
    assert replays.remains() == []


def test_second_interrupt_kills_a_job_that_ignores_the_first(replays: Replays) -> None:
    with replays.running("trap '' INT TERM; echo begun; while :; do sleep 1; done") as running:
        eventually(lambda: b"\nbegun" in replays.output, "the command has begun")
        running.send_signal(signal.SIGINT)
        eventually(lambda: "Ctrl-C once more kills it at once" in replays.errors, "the hint")
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(SAME)
        running.send_signal(signal.SIGINT)
        assert running.wait(4) == 130
    assert replays.remains() == []


def test_one_key_press_that_arrives_twice_is_one(replays: Replays) -> None:
    """As from `make` or `npm`, which pass on what the terminal sends to all of them."""
    command = "trap 'sleep 1; echo cleaned; exit 9' TERM; echo begun; sleep 1000"
    with replays.running(command) as running:
        eventually(lambda: b"\nbegun" in replays.output, "the command has begun")
        running.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(0.1)  # less than SAME
        running.send_signal(signal.SIGINT)
        running.wait(30)
    assert b"pre-exit hook ran: cancelled=true" in replays.output, replays.output.decode()


def test_reaper_clears_after_a_replay_that_was_killed(replays: Replays) -> None:
    with replays.running("sleep 1000") as running:
        running.kill()
        running.wait(10)
        eventually(lambda: replays.remains() == [], "the reaper clears")
    assert replays.remains() == []


def test_next_replay_clears_after_one_that_was_killed_with_its_reaper(replays: Replays) -> None:
    with replays.running("sleep 1000") as running:
        (reaper,) = children(running.pid)
        os.kill(reaper, signal.SIGSTOP)
        running.kill()
        running.wait(10)
        os.kill(reaper, signal.SIGKILL)
    assert replays.remains() != []
    done = replays.run("true")
    assert b"cleared after the replay" in done.stderr
    assert replays.remains() == []


def test_two_replays_of_one_developer_do_not_clear_each_other(replays: Replays) -> None:
    with replays.running("sleep 1000") as running:
        done = replays.run("echo second")
        assert done.returncode == 0, done.stderr.decode()
        assert running.poll() is None
        assert len(replays.remains()) >= 4
        running.send_signal(signal.SIGINT)
        running.wait(30)
    assert replays.remains() == []


class Interrupted(PosixPath):
    """A directory whose creation takes so long that another thread can do its work."""

    other: Thread

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:  # noqa: FBT001, FBT002 - as the other
        super().mkdir(mode, parents=parents, exist_ok=exist_ok)
        self.other.start()
        self.other.join(1)


def test_replay_that_begins_is_not_cleared_by_another(lab: Lab, tmp_path: Path) -> None:
    found, cleared = Places(runtime=tmp_path / "run", state=tmp_path / "state"), list[str]()
    for path in (found.runtime, found.state):
        path.mkdir()
    with engine.connected(lab.docker) as client:
        other = Thread(
            target=sweep, args=(client, found, lab.docker), kwargs={"note": cleared.append}
        )
        directory = Interrupted(found.runtime / "0190-abcd")
        Interrupted.other = other
        place = replace(found.place("0190-abcd"), directory=directory)
        with held(place, lab.docker, alert=cleared.append):
            other.join(10)
            assert place.directory.is_dir()
    assert cleared == []
    assert [*found.runtime.iterdir(), *found.state.iterdir()] == []


def test_reader_that_leaves_ends_the_replay(replays: Replays) -> None:
    job = replays.record("while sleep 0.1; do echo more; done")
    began = time.monotonic()
    with replays.started(job) as running:
        assert running.stdout is not None
        running.stdout.read(10)
        running.stdout.close()
        assert running.wait(60) != 0
    assert time.monotonic() - began < 60
    assert replays.remains() == []

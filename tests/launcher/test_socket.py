"""Reaching the service: where there is no socket, no permission, no service, or one that hangs."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import pytest

from tests.lab import launcher
from tests.lab.engine import eventually
from tests.launcher.peer import SECONDS, listening

NOBODY = 65534
LARGE = {f"NAME_{number}": "x" * 60000 for number in range(30)}
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it changes its user")


class Started:
    """A launcher whose output goes to a file: a service that hangs may hold a pipe for ever."""

    def __init__(self, path: Path | str, **how: object) -> None:
        command = [str(launcher.binary()), "--socket", str(path)]
        self._output = TemporaryFile()  # noqa: SIM115 - closed in outcome()
        self.process = subprocess.Popen(command, stderr=self._output, **how)  # type: ignore[call-overload]

    def outcome(self) -> "Outcome":
        begun = time.monotonic()
        try:
            status = self.process.wait(60)
        finally:
            self.process.kill()
        self._output.seek(0)
        seconds, output = time.monotonic() - begun, self._output.read().decode()
        self._output.close()
        return Outcome(status=status, output=output, seconds=seconds)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a launcher ended that got no answer."""

    status: int
    output: str
    seconds: float


@pytest.fixture(scope="module")
def unanswered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Outcome]]:
    """Launchers that wait as long as they ever do, all at the same time."""
    base = tmp_path_factory.mktemp("sockets")
    with ExitStack() as held:
        held.enter_context(listening(base / "refused")).close()
        for name in ("not-accepted", "not-read"):
            held.enter_context(listening(base / name))
        full = held.enter_context(listening(base / "full", backlog=0))
        filler = held.enter_context(full.launched())
        eventually(lambda: is_connected(filler.pid), "the backlog is full", SECONDS)
        waiting = {
            "no socket": Started(base / "absent"),
            "refused": Started(base / "refused"),
            "not accepted": Started(base / "not-accepted"),
            "not read": Started(base / "not-read", env=LARGE),
            "full": Started(base / "full"),
        }
        with ThreadPoolExecutor(len(waiting)) as threads:
            yield dict(zip(waiting, threads.map(Started.outcome, waiting.values()), strict=True))


def is_connected(pid: int) -> bool:
    """Whether it waits for an answer: in ppoll, with two descriptors."""
    words = Path(f"/proc/{pid}/syscall").read_text().split()  # one word, while it runs
    return words[:1] + words[2:3] == ["271", "0x2"]


@pytest.mark.parametrize(
    ("case", "seconds", "problem"),
    [
        ("no socket", 10, "no service answers at this socket"),
        ("refused", 10, "no service answers at this socket"),
        ("full", 15, "no service answers at this socket"),
        ("not accepted", 30, "the service has not read this job for 30 seconds"),
        ("not read", 30, "the service has not read this job for 30 seconds"),
    ],
)
def test_job_of_an_absent_service_could_not_start(
    unanswered: dict[str, Outcome], case: str, seconds: float, problem: str
) -> None:
    ended = unanswered[case]
    assert ended.status == 125
    assert problem in ended.output
    assert seconds - 1 <= ended.seconds <= seconds + 15


@pytest.mark.parametrize("before", ["absent", "refused"])
def test_service_that_restarts_is_waited_for(tmp_path: Path, before: str) -> None:
    path = tmp_path / "s"
    if before == "refused":
        with listening(path) as old:
            old.close()
            path.rename(tmp_path / "kept")
        (tmp_path / "kept").rename(path)
    process = Started(path)
    with pytest.raises(subprocess.TimeoutExpired):
        process.process.wait(0.5)
    path.unlink(missing_ok=True)
    with listening(path) as peer, peer.accept() as connection:
        connection.request().close()
        connection.send(b"BE\x04")
        assert process.outcome().status == 4


def test_service_that_ends_before_the_begin_is_no_status(tmp_path: Path) -> None:
    with listening(tmp_path / "s") as peer:
        process = Started(peer.path)
        with peer.accept():
            pass
        assert process.outcome().status == 125


@as_root
def test_user_without_permission_is_misconfigured() -> None:
    with listening(Path("/tmp") / f"airlock-launcher-{os.getpid()}") as peer:
        peer.path.chmod(0o600)
        program = copied(peer.path.with_suffix(".program"))
        try:
            command = [str(program), "--socket", str(peer.path)]
            ended = subprocess.run(command, user=NOBODY, capture_output=True, check=False)
        finally:
            program.unlink()
    assert ended.returncode == 78
    assert b"this user may not use the service's socket" in ended.stderr


def copied(target: Path) -> Path:
    """Copy the launcher to where every user may run it."""
    target.write_bytes(launcher.binary().read_bytes())
    target.chmod(0o755)
    return target


LISTENER = """
import os, socket, sys
os.setuid(int(sys.argv[2]))
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
connection, _ = listener.accept()
received = connection.recv(1 << 16)
sys.exit(3 if received else 0)
"""


@as_root
def test_service_of_another_user_receives_nothing() -> None:
    path = Path("/tmp") / f"airlock-launcher-{os.getpid()}"
    command = [sys.executable, "-c", LISTENER, str(path), str(NOBODY)]
    try:
        with subprocess.Popen(command) as other:
            ended = Started(path).outcome()
            assert other.wait(SECONDS) == 0
    finally:
        path.unlink(missing_ok=True)
    assert ended.status == 78
    assert "the socket is another user's" in ended.output


@pytest.mark.parametrize("path", ["", "x" * 108])
def test_path_that_no_socket_can_have(path: str) -> None:
    ended = Started(path).outcome()
    assert ended.status == 78
    assert "a path of 1 to 107 bytes" in ended.output


def test_longest_path_is_reached(tmp_path: Path) -> None:
    path = tmp_path / ("x" * (107 - len(str(tmp_path)) - 1))
    with listening(path) as peer:
        process = Started(path)
        with peer.accept() as connection:
            connection.request().close()
            connection.send(b"E\x06")
        assert process.outcome().status == 6


def test_file_in_place_of_a_socket_could_not_start(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    process = Started(tmp_path / "directory/s")
    process.process.send_signal(signal.SIGTERM)
    assert process.outcome().status == -signal.SIGTERM
    (tmp_path / "file").write_text("")
    ended = Started(tmp_path / "file/s").outcome()
    assert (ended.status, ended.seconds < 5) == (125, True)


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_need_no_service(option: str) -> None:
    shown = subprocess.run([launcher.binary(), option], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("airlock-launcher 0.")
    assert "usage: airlock-launcher [--socket PATH]" in shown.stdout

"""A Docker Engine for the lab: the machine's own if one runs, else one that we start and stop."""

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

STATE = Path("/var/lib/airlock-lab")
SYSTEM = Path("/var/run/docker.sock")
OURS = Path("/run/airlock-lab/docker.sock")
PIDFILE = OURS.with_name("dockerd.pid")
# Runtimes that ignore one part of their configuration (tests/lab/runtime).
BROKEN = ("without-seccomp", "without-no-new-privileges", "without-empty-bounding-set")


def eventually(condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    """Wait until `condition` holds. Fails with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.02)


@contextmanager
def engine() -> Iterator[str]:
    """Yield the URL of an engine that answers."""
    if answers(SYSTEM):
        yield f"unix://{SYSTEM}"
        return
    _end_previous()
    process = _start()
    try:
        eventually(lambda: answers(OURS) or process.poll() is not None, "dockerd answers", 60)
        if process.poll() is not None:
            raise RuntimeError(f"dockerd ended at once; see {STATE}/dockerd.log")
        yield f"unix://{OURS}"
    finally:
        process.terminate()
        process.wait(30)


def answers(path: Path) -> bool:
    """Return whether an engine answers at this socket."""
    connection = http.client.HTTPConnection("localhost", timeout=5)
    try:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(path))
        connection.request("GET", "/_ping")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _start() -> subprocess.Popen[bytes]:
    for directory in (STATE / "docker", OURS.parent / "exec"):
        directory.mkdir(parents=True, exist_ok=True)
    arguments = [
        "dockerd",
        "--data-root", str(STATE / "docker"),
        "--exec-root", str(OURS.parent / "exec"),
        "--host", f"unix://{OURS}",
        "--pidfile", str(PIDFILE),
        *(f"--add-runtime={name}={_broken(name)}" for name in BROKEN),
    ]  # fmt: skip
    with (STATE / "dockerd.log").open("wb") as log:
        return subprocess.Popen(arguments, stdout=log, stderr=log, start_new_session=True)


def _broken(name: str) -> Path:
    path = OURS.with_name(name)
    path.unlink(missing_ok=True)
    path.symlink_to(Path(__file__).with_name("runtime"))
    return path


def _end_previous() -> None:
    """End the dockerd of a lab that was killed, by its pid file."""
    try:
        pid = int(PIDFILE.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        PIDFILE.unlink(missing_ok=True)
        return
    if b"dockerd" in command and str(OURS).encode() in command:
        os.kill(pid, signal.SIGTERM)
        eventually(lambda: not Path(f"/proc/{pid}").exists(), "the previous dockerd ends")
    PIDFILE.unlink(missing_ok=True)

"""A Docker Engine for the lab: the machine's own if one runs, else one that we start and stop."""

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.lab import users

STATE = Path("/var/lib/airlock-lab")
SYSTEM = Path("/var/run/docker.sock")
OURS = Path("/run/airlock-lab/docker.sock")
PIDFILE = OURS.with_name("dockerd.pid")
CONTAINERD = OURS.parent / "exec/containerd/containerd.pid"
# The parent of its containers' control groups, apart from those of other labs on this machine.
CGROUP = f"airlocklab{Path('/proc/self/ns/net').stat().st_ino}.slice"
# An engine that maps users keeps their images apart: where labs are copied, these are not.
REMAPPED = ("--userns-remap", users.NAME, "--data-root", str(STATE / "remapped"))
# Runtimes that ignore one part of their configuration (tests/lab/runtime).
BROKEN = ("without-seccomp", "without-no-new-privileges", "without-empty-bounding-set")


def eventually(condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    """Wait until `condition` holds. Fails with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.02)


class Engine:
    """The lab's own dockerd, which tests stop, kill and start again at the same socket and data."""

    def __init__(self) -> None:
        self.url = f"unix://{OURS}"
        self._flags: tuple[str, ...] = ()
        self._process = _start()
        self._wait_for_answer()

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL: containers go on without it. Returns when the process has ended."""
        self._end(signal.SIGKILL, 30)

    def terminate(self) -> None:
        """SIGTERM: without live-restore it stops all containers first. Returns when it has ended.

        It gives containers 15 s to end by themselves.
        """
        self._end(signal.SIGTERM, 60)

    def stop(self) -> None:
        """SIGSTOP: it accepts connections and does not answer, until `cont`."""
        self._process.send_signal(signal.SIGSTOP)
        tasks = Path(f"/proc/{self.pid}/task")
        eventually(
            lambda: {_state(one) for one in tasks.iterdir()} == {"T"}, "dockerd's threads stop"
        )

    def cont(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def start(self, *, live_restore: bool = False, remapped: bool = False) -> None:
        """Start it again after `kill` or `terminate`, and wait until it answers.

        Without `live_restore` it ends the containers that it finds running. `remapped` maps the
        users of containers as the Elastic CI Stack has it: such an engine has other images and
        containers, and needs `users.agent_user`, which every lab has.
        """
        assert self._process.poll() is not None, "dockerd still runs: call kill or terminate first"
        for path in (PIDFILE, CONTAINERD):  # a killed one leaves them, and its pid may be in use
            path.unlink(missing_ok=True)
        live = ("--live-restore",) if live_restore else ()
        self._flags = (*live, *(REMAPPED if remapped else ()))
        self._process = _start(*self._flags)
        self._wait_for_answer()

    def restored(self) -> None:
        """Make it run as the lab started it, whatever a test has done to it.

        A Docker that is killed may leave empty control groups (docs/limits.md): no later test is to
        take them for its own. Call it when no job runs.
        """
        if self._process.poll() is None:
            self.cont()
            if self._flags:
                self.terminate()
                self.start()
        else:
            self.start()
        for one in filter(is_empty, control_groups()):
            with suppress(FileNotFoundError):  # the engine was about to remove it
                one.rmdir()

    def _end(self, number: int, seconds: float) -> None:
        containerd = int(CONTAINERD.read_text())
        self._process.send_signal(number)
        self._process.wait(seconds)
        # Its child, which dies with it; the next one fails if it finds that one still dying.
        eventually(lambda: ended(containerd), "containerd ends")

    def _wait_for_answer(self) -> None:
        process = self._process
        eventually(lambda: answers(OURS) or process.poll() is not None, "dockerd answers", 60)
        if process.poll() is not None:
            raise RuntimeError(f"dockerd ended at once; see {STATE}/dockerd.log")

    def close(self) -> None:
        if self._process.poll() is None:
            self.cont()
            self.terminate()
        for pattern in (CGROUP, f"*/{CGROUP}"):
            for directory in Path("/sys/fs/cgroup").glob(pattern):
                directory.rmdir()


def control_groups() -> Iterator[Path]:
    """Yield the control groups of the lab's containers, of every hierarchy."""
    for pattern in (f"{CGROUP}/*/", f"*/{CGROUP}/*/"):
        yield from Path("/sys/fs/cgroup").glob(pattern)


def is_empty(control_group: Path) -> bool:
    """Return whether there is no process in it, nor in a group below it."""
    return not any(read(file) for file in control_group.rglob("cgroup.procs"))


def read(path: Path) -> bytes:
    """Return what a file of the kernel has; nothing once its process or group is gone."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


@contextmanager
def engine() -> Iterator[tuple[str, Engine | None]]:
    """Yield the URL of an engine that answers, and the engine itself if it is the lab's own."""
    if answers(SYSTEM):
        yield f"unix://{SYSTEM}", None
        return
    _end_previous()
    clear_control_groups()
    STATE.joinpath("dockerd.log").unlink(missing_ok=True)
    ours = Engine()
    try:
        yield ours.url, ours
    finally:
        ours.close()


def answers(path: Path) -> bool:
    """Return whether an engine answers at this socket."""
    connection = http.client.HTTPConnection("localhost")
    try:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(5)
        connection.sock.connect(str(path))
        connection.request("GET", "/_ping")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def ended(pid: int) -> bool:
    """Return whether this process runs no more; a zombie does not."""
    try:
        return _state(Path(f"/proc/{pid}")) in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def _state(process: Path) -> str:
    """Return the letter for the state of a process or thread (proc(5))."""
    return (process / "stat").read_text().rpartition(") ")[2][0]


def clear_control_groups(name: str = CGROUP) -> None:
    """Remove what is empty of another lab's control groups below this name.

    The kernel gives the number of a network namespace that has ended, and so the name, to the next
    one: what an earlier lab left would be found as if this one had left it.
    """
    for pattern in (name, f"*/{name}"):
        for parent in Path("/sys/fs/cgroup").glob(pattern):
            for directory in sorted(parent.glob("**/"), reverse=True):
                with suppress(OSError):  # it has processes, which the engine will end
                    directory.rmdir()


def _start(*flags: str) -> subprocess.Popen[bytes]:
    for directory in (STATE / "docker", OURS.parent / "exec"):
        directory.mkdir(parents=True, exist_ok=True)
    arguments = [
        "dockerd",
        *(() if "--data-root" in flags else ("--data-root", str(STATE / "docker"))),
        "--exec-root", str(OURS.parent / "exec"),
        "--host", f"unix://{OURS}",
        "--pidfile", str(PIDFILE),
        "--cgroup-parent", CGROUP,
        *(f"--add-runtime={name}={_broken(name)}" for name in BROKEN),
        *flags,
    ]  # fmt: skip
    with (STATE / "dockerd.log").open("ab") as log:
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

"""The resident service of a fleet, as a process of its own, and jobs that launchers pass to it."""

import os
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.lab import launcher
from tests.lab.engine import eventually
from tests.lab.lab import AIRLOCK, Fleet

STARTED = 30.0  # seconds
WORKER = "airlock:worker"


@dataclass(slots=True)
class Serving:
    """A running service; `launcher` is the command line of what agents start."""

    socket: Path
    log: Path
    command: list[str]
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def launcher(self) -> list[str]:
        return [str(launcher.binary()), "--socket", str(self.socket)]

    @property
    def bootstrap_script(self) -> str:
        return shlex.join([*self.launcher, "bootstrap"])

    @property
    def admit_script(self) -> str:
        return shlex.join([*self.launcher, "admit"])

    def kill(self) -> None:
        """SIGKILL. Returns when it has ended."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM. Returns its exit status."""
        return self._end(signal.SIGTERM)

    def start(self) -> None:
        """Start it again after its end, and wait until it accepts launchers."""
        self.process = _started(self.command, self.log, self.socket)

    def upgrade(self) -> None:
        """SIGHUP. Returns when the new one accepts launchers."""
        before = self.times_ready()
        self.process.send_signal(signal.SIGHUP)
        eventually(lambda: self.times_ready() > before, "the service is started anew", STARTED)

    def times_ready(self) -> int:
        return self.log.read_text().count(f"serves {self.socket}")

    def workers(self) -> list[int]:
        """Return those of its children that are workers."""
        return workers_of(self.pid)

    def chores(self) -> dict[str, int]:
        """Return the chores that run, by name."""
        names = {name: pid for pid, name in self.children().items()}
        chores = [name for name in names if name.startswith("airlock:") and name != WORKER]
        return {name.removeprefix("airlock:"): names[name] for name in chores}

    def children(self) -> dict[int, str]:
        """Return its children with their names."""
        return children_of(self.pid)

    def _end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


def workers_of(service: int) -> list[int]:
    """Return the children of a service that are workers; one that is being forked has no name."""
    return [pid for pid, name in children_of(service).items() if name == WORKER]


def children_of(service: int) -> dict[int, str]:
    """Return the children of a service with their names."""
    found = {}
    for pid in Path(f"/proc/{service}/task/{service}/children").read_text().split():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            found[int(pid)] = Path(f"/proc/{pid}/comm").read_text().strip()
    return found


@contextmanager
def serving(
    fleet: Fleet,
    settings: str = "",
    *,
    program: tuple[str, ...] = AIRLOCK,
    config: Path | None = None,
    socket: Path | None = None,
) -> Iterator[Serving]:
    """Run the service of a fleet until this closes. `settings` are further lines of [service].

    `config` is another configuration than the fleet's, `program` another Airlock, `socket` where
    agents that are not root can reach it.
    """
    config = config or fleet.config
    socket, log = socket or fleet.base / "airlock.sock", fleet.base / "service.log"
    configure(config, socket, settings)
    with running(config, socket, log, program=program) as made:
        yield made


@contextmanager
def running(
    config: Path, socket: Path, log: Path, *, program: tuple[str, ...] = AIRLOCK
) -> Iterator[Serving]:
    """Run the service of a configuration until this closes."""
    command = [*program, "serve", "--config", str(config)]
    made = Serving(socket=socket, log=log, command=command, process=_started(command, log, socket))
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.stop()


def configure(config: Path, socket: Path, settings: str = "") -> None:
    """Write the table [service] of a configuration: its service does nothing beside jobs."""
    text = config.read_text().partition("\n[service]\n")[0]
    others = (
        'agents = ["root"]', "pre-pull = false", 'gc-interval = "0s"', "networks-ahead = 0",
    )  # fmt: skip
    lines = [line for line in others if f"{line.partition(' ')[0]} =" not in settings]
    table = "\n".join([f'socket = "{socket}"', *lines, settings])
    config.write_text(f"{text}\n[service]\n{table}\n")


def _started(command: list[str], log: Path, socket: Path) -> subprocess.Popen[bytes]:
    log.touch()
    before = log.read_text().count(f"serves {socket}")
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            env={"PATH": "/usr/bin:/bin"}, cwd="/", start_new_session=True,
        )  # fmt: skip
    eventually(
        lambda: log.read_text().count(f"serves {socket}") > before or process.poll() is not None,
        "the service is ready",
        STARTED,
    )
    if process.poll() is not None:
        raise RuntimeError(f"the service ended:\n{log.read_text()[-3000:]}")
    return process


def kill(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)

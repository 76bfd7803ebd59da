"""What a job used up while it ran, so that its log can explain a failure that names no cause.

These are the directories in memory, the disk of its workspace, and its number of processes. A
program that gets ENOSPC or EAGAIN rarely says of what, and nobody sees the sizes from inside.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bootstrap.log import JobLog
from bootstrap.sandbox import environment
from bootstrap.sandbox.limits import is_full, opened_inside
from bootstrap.sandbox.model import Cancelled, Ended, Exited

_NOT_THE_JOBS = ("/dev", "/proc", "/sys")  # the engine's own mounts are there


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    """One filesystem that a job writes to; `descriptor` keeps it readable after the job's end."""

    descriptor: int
    name: str
    advice: str

    def __str__(self) -> str:
        found = os.fstatvfs(self.descriptor)
        inodes = f" and {found.f_files} inodes" if found.f_files else ""
        mib = found.f_blocks * found.f_frsize >> 20
        return f"{self.name} was full: it holds {mib} MiB{inodes}. {self.advice}"


class Fullness:
    """Looks at the container of process `pid`, and at the disk of `state`.

    Open it before the start gate: nothing of the job has run by then. What cannot be opened is not
    looked at.
    """

    def __init__(self, pid: int, state: Path) -> None:
        self._lock = threading.Lock()
        self._places: list[_Place] = []
        self._events: Path | None = None
        with suppress(OSError):  # the container has ended already
            self._places.extend(_disk(state))
            self._places.extend(_in_memory(pid))
            self._events = _pids_events(pid)
        self._found: dict[str, None] = {}

    def look(self) -> None:
        """Remember what is full at this moment."""
        with self._lock:
            for place in self._places:
                if is_full(place.descriptor):
                    self._found[str(place)] = None
            with suppress(OSError, ValueError, IndexError):  # the container has ended
                if self._events and int(self._events.read_text().split()[1]):
                    self._found[_PROCESSES] = None

    def add(self, sentence: str) -> None:
        """Remember a limit that something else has noticed. Never waits for a look."""
        self._found[sentence] = None

    def close(self) -> None:
        """Look once more, at what the job left, and give its memory free."""
        self.look()
        with self._lock:
            while self._places:
                os.close(self._places.pop().descriptor)
            self._events = None

    @property
    def found(self) -> tuple[str, ...]:
        """A sentence for each thing that was full."""
        return tuple(self._found)


_PROCESSES = (
    "The job reached its limit of processes and threads. allow.limits.pids of its rule, or "
    "sandbox.pids in airlock.toml, sets it"
)


TIME = (
    "The job reached its limit of time. timeout_in_minutes of its step, or the default or maximum "
    "of its pipeline or organization, sets it"
)


def explain(ended: Ended, found: Sequence[str], log: JobLog) -> None:
    """Print what was full while the job ran, if it ended with a failure of its own."""
    match ended:
        case Exited(code=code) | Cancelled(code=code) if code != 0:
            for sentence in found:
                log.alert(f"while the job ran: {sentence}. The exit status is the job's own")
        case _:
            return


def _in_memory(pid: int) -> Iterator[_Place]:
    """Open the container's directories in memory, which the image can have made links of."""
    mounted = _tmpfs(pid)
    for path, device in mounted.items():
        descriptor = opened_inside(pid, str(path))
        if descriptor is None:
            continue
        if os.fstat(descriptor).st_dev != device:
            os.close(descriptor)
            continue
        fixed = path == Path(environment.SCRATCH)
        advice = "The size is fixed" if fixed else "sandbox.tmp in airlock.toml sets the size"
        yield _Place(descriptor=descriptor, name=f"{path}, in memory,", advice=advice)


def _tmpfs(pid: int) -> dict[Path, int]:
    """Return the device of each tmpfs that a job writes to, by where it is mounted (proc(5)).

    Their paths have no spaces: mountinfo would show those differently.
    """
    found = {}
    for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
        mount, _, filesystem = line.partition(" - ")
        fields = mount.split(" ")
        path = Path(fields[4])
        if filesystem.split(" ")[0] == "tmpfs" and not _is_engines(path):
            major, _, minor = fields[2].partition(":")
            found[path] = os.makedev(int(major), int(minor))
    return found


def _is_engines(path: Path) -> bool:
    return any(path.is_relative_to(other) for other in (*_NOT_THE_JOBS, environment.AIRLOCK))


def _disk(state: Path) -> Iterator[_Place]:
    advice = "storage.floor in airlock.toml is what Airlock tries to keep free there"
    descriptor = os.open(state, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    yield _Place(descriptor=descriptor, name="the disk of the workspace", advice=advice)


def _pids_events(pid: int) -> Path | None:
    """Return the file in which the kernel counts forks that the container's limit refused."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        kind = {"": "", "pids": "pids"}.get(controllers)
        if kind is not None:
            file = Path("/sys/fs/cgroup") / kind / path.lstrip("/") / "pids.events"
            if file.is_file():
                return file
    return None

"""What a container has used up: memory, processes, and its directories in memory.

The kernel counts both in the container's control groups, of version 1 or 2. Once a container has
ended, the engine removes these soon.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

NEARLY = 256 << 10  # bytes: a directory with less free than this counts as full
_GROUPS = Path("/sys/fs/cgroup")
_DIRECTORY = os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True, kw_only=True, slots=True)
class Used:
    """What was used up: processes killed for lack of memory, forks refused, full directories."""

    killed: int = 0
    refused_forks: int = 0
    full: tuple[str, ...] = ()


class Limits:
    """The limits of the container whose first process is `pid`; `directories` are in memory."""

    def __init__(self, pid: int, directories: Sequence[str]) -> None:
        # Kept open: of a container that has ended, nothing can be opened any more.
        opened = {path: opened_inside(pid, path) for path in directories}
        self._places = {path: place for path, place in opened.items() if place is not None}
        self._memory = list(_files(pid, "memory", ("memory.events", "memory.oom_control")))
        self._processes = list(_files(pid, "pids", ("pids.events",)))

    def used(self) -> Used:
        """Return what it has used up so far, as far as that can be read."""
        return Used(
            killed=_counted(self._memory, "oom_kill"),
            refused_forks=_counted(self._processes, "max"),
            full=tuple(path for path, place in self._places.items() if is_full(place)),
        )

    def close(self) -> None:
        """Give the memory of the directories free."""
        while self._places:
            os.close(self._places.popitem()[1])


def _files(pid: int, controller: str, names: Sequence[str]) -> Iterator[Path]:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers or controller in controllers.split(","):
                directory = _GROUPS / (controller if controllers else "") / path.lstrip("/")
                yield from (directory / name for name in names)


def _counted(files: Sequence[Path], name: str) -> int:
    """Return the number beside `name` in the first file that has it."""
    for file in files:
        with suppress(OSError, ValueError):
            for line in file.read_text().splitlines():
                key, _, number = line.partition(" ")
                if key == name:
                    return int(number)
    return 0


def opened_inside(pid: int, path: str) -> int | None:
    """Open a directory of the process's container; None if it has no such directory.

    It is opened name by name: the image can have made one a link, which could lead out of it.
    """
    descriptor = None
    try:
        descriptor = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        for name in Path(path).parts[1:]:
            below = os.open(name, _DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
    except OSError:
        if descriptor is not None:
            os.close(descriptor)
        return None
    return descriptor


def is_full(place: int) -> bool:
    """Say whether nothing can be written to a filesystem, of which `place` is a descriptor."""
    found = os.fstatvfs(place)
    no_inodes = found.f_files > 0 and found.f_favail == 0
    return no_inodes or found.f_bavail * found.f_frsize < NEARLY

"""Whether a job reaches its limit of processes: fork fails then, and nothing else says why.

The kernel's count goes with the container's cgroup, so it is watched while the job runs.
"""

import os
import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
PERIOD = 250  # milliseconds: version 1 notifies nobody of a change (measured on Linux 6.18)


class ProcessLimit:
    """`reached` is true once the kernel has refused the job a process."""

    def __init__(self, events: int, stop: int) -> None:
        self.reached = False
        self._events, self._stop = events, stop
        self._thread = threading.Thread(target=self._run, name="processes", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait for the end of the watch."""
        self._thread.join()

    def _run(self) -> None:
        changes = select.poll()
        changes.register(self._events, select.POLLPRI | select.POLLERR)
        changes.register(self._stop, select.POLLHUP)
        with suppress(OSError):  # the cgroup is gone
            while not self.reached:
                self.reached = _refused(os.pread(self._events, 256, 0)) > 0
                if any(descriptor == self._stop for descriptor, _ in changes.poll(PERIOD)):
                    return


@contextmanager
def watched(pid: int, cgroups: Path = CGROUPS) -> Iterator[ProcessLimit | None]:
    """Watch the cgroup of the process `pid`; None if it has no readable count of refusals."""
    try:
        events = os.open(events_file(Path(f"/proc/{pid}/cgroup").read_text(), cgroups), os.O_RDONLY)
    except OSError:
        yield None
        return
    reader, writer = os.pipe2(os.O_CLOEXEC)
    limit = ProcessLimit(events, reader)
    try:
        yield limit
    finally:
        os.close(writer)
        limit.join()
        os.close(reader)
        os.close(events)


def events_file(membership: str, cgroups: Path) -> Path:
    """Return pids.events of the cgroup that /proc/PID/cgroup names, of version 1 or 2."""
    unified = cgroups
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        if "pids" in controllers.split(","):
            return cgroups / "pids" / path.lstrip("/") / "pids.events"
        if not controllers:
            unified = cgroups / path.lstrip("/")
    return unified / "pids.events"


def _refused(events: bytes) -> int:
    """Return the number in the line "max 3"."""
    counts = dict(line.split() for line in events.decode().splitlines() if line.count(" ") == 1)
    return int(counts.get("max", 0))

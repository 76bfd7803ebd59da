"""The first process of a lease's container: with it the kernel ends all others, without the engine.

It is recorded in the job directory as soon as there is one. A pid alone may belong to another
process by the time it is used, so its start time is recorded too, and checked on an open pidfd.
"""

import json
import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import Signals

from bootstrap import files
from bootstrap.errors import CannotStart
from bootstrap.sandbox.leases import builder
from bootstrap.sandbox.plan import SERVICE_DIRECTORY

_FILE = "process"  # in the job directory


def record(directory: Path, pid: int) -> None:
    """Record the container's first process. Raises CannotStart, also if it has ended."""
    try:
        fact = {"pid": pid, "started": _started(pid)}
        files.write(directory / _FILE, json.dumps(fact).encode())
    except FileNotFoundError as ended:
        raise CannotStart(
            "the container ended as soon as it was started",
            hint="Does the image have /bin/sh? Try `docker run --rm IMAGE /bin/sh -c true`.",
        ) from ended
    except OSError as unwritable:
        raise CannotStart(
            f"the container's process could not be recorded: {unwritable}",
            hint="Is the tmpfs of paths.runtime full? `airlock gc` removes what dead jobs left.",
        ) from unwritable


def opened(directory: Path, pid: int) -> int | None:
    """Record a container's first process and return its pidfd; None if it has ended.

    `pid` is 0 if it had ended before the engine was asked. Raises CannotStart.
    """
    if not pid:
        return None
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    try:
        record(directory, pid)
    except CannotStart:
        ended = has_ended(process)
        os.close(process)
        if ended:
            return None
        raise
    return process


def directories(job: Path) -> list[Path]:
    """Return where a job's processes are recorded: its own, its builder's, its services'."""
    return [job, builder.directory_of(job), *services(job)]


def services(job: Path) -> list[Path]:
    """Return the directories of a job's services."""
    return sorted(job.glob(f"{SERVICE_DIRECTORY}*"))


def is_running(directory: Path) -> bool:
    """Say whether the recorded process, and so the container, still runs; False without one."""
    with _recorded(directory) as process:
        return process is not None and not has_ended(process)


def kill(directory: Path, patience: float) -> None:
    """End the container's processes and wait for their end; do nothing if there is no record.

    Raises CannotStart if they still run after `patience` seconds.
    """
    with _recorded(directory) as process:
        if process is None:
            return
        send(process, Signals.SIGKILL)
        if not has_ended(process, patience):
            raise CannotStart(
                f"the container of {directory} still runs {patience:.1f} s after SIGKILL",
                hint="One of its processes may wait for a device or a file system: `ps -eo "
                "pid,stat,wchan:30,args` shows state D. Restart the host if it stays.",
            )


def has_ended(process: int, patience: float = 0.0) -> bool:
    """Say whether the process of a pidfd has ended, after waiting up to `patience` seconds.

    The first process of a PID namespace ends after all others of it.
    """
    poll = select.poll()
    poll.register(process, select.POLLIN)
    return bool(poll.poll(patience * 1000))


def send(process: int, number: Signals) -> None:
    """Send a signal to the process of a pidfd, unless it has ended."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(process, number)


@contextmanager
def _recorded(directory: Path) -> Iterator[int | None]:
    """Yield a pidfd of the recorded process; None if there is no record or it has ended."""
    try:
        fact = json.loads((directory / _FILE).read_text())
        process = os.pidfd_open(fact["pid"])
    except (FileNotFoundError, ProcessLookupError):
        yield None
        return
    try:
        yield process if _is_the_same(fact) else None
    finally:
        os.close(process)


def _is_the_same(fact: dict[str, int]) -> bool:
    """Compare after the pidfd was opened: what is compared is what the descriptor stands for."""
    try:
        return _started(fact["pid"]) == fact["started"]
    except (FileNotFoundError, ProcessLookupError):  # it has ended since
        return False


def _started(pid: int) -> int:
    """Return when it started, in clock ticks since boot (proc(5): stat, field 22)."""
    # Its name, in parentheses, may have any bytes: a job can rename it (prctl(2), by ptrace(2)).
    after_name = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2]
    return int(after_name.split()[19])

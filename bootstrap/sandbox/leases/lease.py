"""Everything a job holds on this host, under one name, and how it is cleared.

A lease is a job directory, in memory, that its holder keeps locked. An unlocked one is cleared by
the reaper within seconds of the holder's death, else by the next job, else by `airlock gc`.
"""

import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bootstrap.errors import CannotStart
from bootstrap.host.config import Host
from bootstrap.host.lock import locked
from bootstrap.sandbox import engine
from bootstrap.sandbox.leases import first_process
from bootstrap.sandbox.leases.clearing import PATIENCE, clear
from bootstrap.sandbox.leases.slots import slot

SWEEP_PATIENCE = 3.0  # seconds for clearing all dead leases before a job starts
REAPER_PATIENCE = 3.0  # seconds for a container that was being created to appear
REAPER_LIMIT = 600.0  # seconds after which the reaper gives up, once no process is left
_PAUSES = (0.25, 15.0)  # the reaper's shortest and longest
_DONE = b"done"  # to the reaper: nothing is left to clear
_SWEPT = "swept"  # exists once leases were swept since this machine started


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """One job's name on this host, its job directory, and the uid it runs as."""

    token: str
    directory: Path
    uid: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Swept:
    """The dead leases that were cleared, and those of which something is left, with the reason."""

    cleared: tuple[str, ...]
    left: tuple[tuple[str, str], ...]

    def problem(self) -> str:
        """Return one sentence about what is left, "" if nothing is."""
        if not self.left:
            return ""
        name, why = self.left[0]
        return (
            f"could not clear all that dead jobs left on this host ({len(self.left)} of them; "
            f"{name}: {why}). Every later job and `airlock gc` try again"
        )


@contextmanager
def acquire(
    host: Host,
    token: str,
    *,
    tree: Path,
    agent: str,
    alert: Callable[[str], object],
    patience: Callable[[], float] = lambda: PATIENCE,
) -> Iterator[Lease]:
    """Acquire a lease; when this closes, everything under its name is cleared.

    `tree` is the workspace; its owner's uid is preferred, see `slots.slot`. `patience` returns the
    seconds that clearing may take. `alert` gets a line for what cannot be cleared; the reaper and
    the next job try again, because it must not change a result or hide the reason of a failure.
    Raises CannotStart if there is no space or no free uid, WrongConfiguration if an account has one
    of them.
    """
    directory = host.paths.runtime / "jobs" / token
    descriptor = _create(host.paths.runtime, directory)
    try:
        with slot(host, token, tree=tree, agent=agent) as uid:
            yield Lease(token=token, directory=directory, uid=uid)
    finally:
        for problem in clear(host, token, patience=patience()):
            alert(
                f"could not clear all of {token}: {problem.problem}. The next job on this host "
                "tries again, or run `airlock gc`"
            )
        os.close(descriptor)


def _create(runtime: Path, directory: Path) -> int:
    """Create the job directory, and return the descriptor that keeps it locked."""
    try:
        with _listed(runtime):
            directory.mkdir(mode=0o700)
            return _lock(directory)
    except OSError as failed:
        raise CannotStart(
            f"the job directory {directory} could not be created: {failed.strerror}",
            hint="Is the tmpfs of paths.runtime full (`df -h -i`)? `airlock gc` removes what dead "
            "jobs left there.",
        ) from failed


def _listed(runtime: Path) -> AbstractContextManager[None]:
    """Whoever has this lock sees no job directory that its holder has not locked yet."""
    return locked(runtime / "lease.lock")


def _lock(directory: Path) -> int:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def sweep(host: Host, *, patience: float = SWEEP_PATIENCE) -> Swept:
    """Clear every lease whose holder is dead. Takes about `patience` seconds at most.

    What cannot be cleared stays, and is tried again by the next job. A failure is never raised,
    because one job's leftovers must not keep others from starting.
    """
    deadline = time.monotonic() + patience
    cleared: list[str] = []
    left: list[tuple[str, str]] = []
    for found in (partial(dead, host), partial(_without_lease, host, deadline)):
        try:
            for name in found():
                if problems := clear(host, name, patience=_left(deadline)):
                    left.append((name, problems[0].problem))
                else:
                    cleared.append(name)
        except (OSError, CannotStart) as failed:
            left.append(("the list of jobs and containers", str(failed)))
    return Swept(cleared=tuple(cleared), left=tuple(left))


def _left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())


def dead(host: Host) -> list[str]:
    """Return the leases without a holder, the newest first: older ones were tried before."""
    jobs = host.paths.runtime / "jobs"
    if not jobs.is_dir():
        return []
    with _listed(host.paths.runtime):
        found = [path for path in jobs.iterdir() if _abandoned(path)]
        return [path.name for path in sorted(found, key=_created, reverse=True)]


def _created(directory: Path) -> float:
    try:
        return directory.stat().st_ctime
    except FileNotFoundError:  # cleared by another process meanwhile
        return 0.0


def _without_lease(host: Host, deadline: float) -> list[str]:
    """Return containers without a lease, once after this machine has started."""
    swept = host.paths.runtime / _SWEPT
    if swept.exists():
        return []
    with engine.connected(host.sandbox.docker, timeout=max(0.1, _left(deadline))) as client:
        found = engine.containers(client)
    swept.touch()
    return [token for token in found if not (host.paths.runtime / "jobs" / token).exists()]


def _abandoned(directory: Path) -> bool:
    try:
        os.close(_lock(directory))
    except (BlockingIOError, FileNotFoundError, NotADirectoryError):
        return False
    return True


@contextmanager
def watching(host: Host, token: str, writer: int) -> Iterator[None]:
    """Have the reaper at the other end of `writer` clear the lease unless that is gone at the end.

    Whatever ends this process closes it, which is what the reaper waits for. Only once.
    """
    os.write(writer, f"{token}\n".encode())
    try:
        yield
    finally:
        if not (host.paths.runtime / "jobs" / token).exists():
            with suppress(BrokenPipeError):  # it was killed, and is not needed any more
                os.write(writer, _DONE)
        os.close(writer)


@contextmanager
def reaper(host: Host, token: str) -> Iterator[None]:
    """Fork a process, in its own session, that clears the lease if this process does not.

    Fork it before the lease is acquired, and before there is a second thread.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    if os.fork() == 0:
        _reap(host, reader)
    os.close(reader)
    with watching(host, token, writer):
        yield


def _reap(host: Host, notice: int) -> None:
    """Run the reaper. It closes all other descriptors, because the agent waits for their end."""
    try:
        os.setsid()
        ignore_signals()
        _keep_only(notice)
        received = b""
        while chunk := os.read(notice, 256):
            received += chunk
        if token := unfinished(received):
            clear_until_gone(host, token)
    finally:
        os._exit(0)


def ignore_signals() -> None:
    """Ignore all that can be ignored: only SIGKILL ends a reaper early."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
        with suppress(OSError):
            signal.signal(number, signal.SIG_IGN)


def unfinished(received: bytes) -> str:
    """Return the lease to clear, by all that its holder wrote before it ended; "" for none."""
    token, newline, end = received.partition(b"\n")
    return token.decode() if newline and end != _DONE else ""


def _keep_only(descriptor: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.closerange(3, descriptor)
    os.closerange(descriptor + 1, 65536)


def clear_until_gone(host: Host, token: str) -> None:
    """Clear repeatedly: the engine may finish creating a container after its caller has died.

    While the engine does not answer, the pauses grow, up to REAPER_LIMIT; the next job and
    `airlock gc` clear what is left then. A container of the lease that still has processes does
    not become theirs.
    """
    directory = host.paths.runtime / "jobs" / token
    limit = time.monotonic() + REAPER_LIMIT
    settled = time.monotonic() + REAPER_PATIENCE
    shortest, longest = _PAUSES
    pause = shortest
    while time.monotonic() < settled:
        if clear(host, token):
            settled = time.monotonic() + REAPER_PATIENCE
            running = any(map(first_process.is_running, first_process.directories(directory)))
            if time.monotonic() > limit and not running:
                return
            pause = min(pause * 1.5, longest)
        else:
            pause = shortest
        time.sleep(pause)

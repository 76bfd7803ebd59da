"""Everything a job holds on this host, under one name, and how it is cleared.

A lease is a job directory, in memory, that its holder keeps locked. An unlocked one is cleared by
the reaper within seconds of the holder's death, else by the next job, else by `airlock gc`.
Clearing may be repeated, also at the same time.
"""

import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bootstrap.errors import AirlockError
from bootstrap.host import trash
from bootstrap.host.config import Host
from bootstrap.sandbox import engine, firewall
from bootstrap.sandbox.slots import slot
from bootstrap.sandbox.workspace import fresh_path

REAPER_PATIENCE = 3.0  # seconds for a container that was being created to appear
_SWEPT = "swept"  # exists once leases were swept since this machine started


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """One job's name on this host, its job directory, and the uid it runs as."""

    token: str
    directory: Path
    uid: int


@contextmanager
def acquire(
    host: Host, token: str, *, tree: Path, agent: str, alert: Callable[[str], object]
) -> Iterator[Lease]:
    """Acquire a lease; when this closes, everything under its name is cleared.

    `tree` is the workspace; its owner's uid is preferred, see `slots.slot`. `alert` gets a line for
    what cannot be cleared; the reaper and the next job try again, because it must not change a
    result or hide the reason of a failure. Raises CannotStart if no uid is free,
    WrongConfiguration if an account has one of them.
    """
    jobs = host.paths.runtime / "jobs"
    new = jobs / f".{token}"  # so that jobs/TOKEN never exists unlocked
    new.mkdir(mode=0o700)
    descriptor = _lock(new)
    try:
        new.rename(jobs / token)
        with slot(host, token, tree=tree, agent=agent) as uid:
            yield Lease(token=token, directory=jobs / token, uid=uid)
    finally:
        for problem in clear(host, token):
            alert(
                f"could not clear all of {token}: {problem.problem}. The next job on this host "
                "tries again, or run `airlock gc`"
            )
        os.close(descriptor)


def _lock(directory: Path) -> int:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def clear(host: Host, token: str) -> tuple[AirlockError, ...]:
    """Clear everything that `token` names, the job directory last. Returns the failures."""
    directory = host.paths.runtime / "jobs" / token
    steps: tuple[Callable[[], object], ...] = (
        # Before the engine can give the address to another container.
        lambda: firewall.remove_listener(directory),
        lambda: _remove_container(host, token),
        lambda: firewall.release_address(directory),
        lambda: _discard_fresh_workspace(host.paths.state, token),
    )
    problems = []
    for step in steps:
        try:
            step()
        except AirlockError as problem:
            problems.append(problem)
    if not problems:
        trash.remove_tree(directory)
    return tuple(problems)


def _discard_fresh_workspace(state: Path, token: str) -> None:
    """Delete it in the background, however large it is: the next job may be clearing this."""
    if trash.discard(state, fresh_path(state, token)):
        trash.empty_in_background(state)


def _remove_container(host: Host, token: str) -> bool:
    with engine.connected(host.sandbox.docker) as client:
        return engine.remove(client, f"airlock-{token}")


def sweep(host: Host) -> tuple[str, ...]:
    """Clear every lease whose holder is dead, and return their names."""
    jobs = host.paths.runtime / "jobs"
    dead = [path.name for path in jobs.iterdir() if _abandoned(path)]
    if not (host.paths.runtime / _SWEPT).exists():
        dead += [token for token in _containers(host) if not (jobs / token).exists()]
        (host.paths.runtime / _SWEPT).touch()
    for name in dead:
        clear(host, name)
    return tuple(dead)


def _containers(host: Host) -> tuple[str, ...]:
    with engine.connected(host.sandbox.docker) as client:
        return engine.containers(client)


def _abandoned(directory: Path) -> bool:
    try:
        os.close(_lock(directory))
    except (BlockingIOError, FileNotFoundError):
        return False
    return True


@contextmanager
def reaper(host: Host, token: str) -> Iterator[None]:
    """Fork a process, in its own session, that clears the lease if this process does not.

    Open it before the lease is acquired, and before there is a second thread.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    if os.fork() == 0:
        _reap(host, token, reader)
    os.close(reader)
    try:
        yield
    finally:
        if not (host.paths.runtime / "jobs" / token).exists():
            with suppress(BrokenPipeError):  # the reaper was killed, and is not needed any more
                os.write(writer, b"done")
        os.close(writer)


def _reap(host: Host, token: str, notice: int) -> None:
    """Run the reaper. It closes all other descriptors, because the agent waits for their end."""
    try:
        os.setsid()
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
            with suppress(OSError):
                signal.signal(number, signal.SIG_IGN)
        _keep_only(notice)
        if os.read(notice, 16) != b"done":
            _clear_until_gone(host, token)
    finally:
        os._exit(0)


def _keep_only(descriptor: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.closerange(3, descriptor)
    os.closerange(descriptor + 1, 65536)


def _clear_until_gone(host: Host, token: str) -> None:
    """Clear repeatedly: the engine may finish creating a container after its caller has died."""
    deadline = time.monotonic() + REAPER_PATIENCE
    while time.monotonic() < deadline:
        clear(host, token)
        time.sleep(0.25)

"""Everything a job holds on this host, under one name, and how it is given back.

A lease is a directory in memory that its holder keeps locked. Whoever finds one that nobody holds
may clear it: the reaper within seconds of the holder's death, else the next job, else
`airlock gc`. Clearing is safe to repeat and to do twice at once.
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

REAPER_PATIENCE = 3.0  # seconds in which a container that was being created may still appear
_SWEPT = "swept"  # its absence means: not since this machine started


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """One job's name on this host, the directory that stands for it, and the uid it runs as."""

    token: str
    directory: Path
    uid: int


@contextmanager
def hold(
    host: Host, token: str, *, tree: Path, agent: str, alert: Callable[[str], object]
) -> Iterator[Lease]:
    """Hold a lease until this closes; then everything under its name is given back.

    `tree` is what the job will work in; its owner's uid is preferred, see `slots.slot`. Raises
    CannotStart if no uid is free, WrongConfiguration if an account has one of them.
    What cannot be given back is told to `alert` and left to the reaper and the next job: it must
    change neither a result nor the reason of a failure.
    """
    jobs = host.paths.runtime / "jobs"
    nascent = jobs / f".{token}"
    nascent.mkdir(mode=0o700)
    descriptor = _lock(nascent)
    try:
        nascent.rename(jobs / token)
        with slot(host, token, tree=tree, agent=agent) as uid:
            yield Lease(token=token, directory=jobs / token, uid=uid)
    finally:
        for problem in clear(host, token):
            alert(f"not yet cleared, it will be tried again: {problem.problem}")
        os.close(descriptor)


def _lock(directory: Path) -> int:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def clear(host: Host, token: str) -> tuple[AirlockError, ...]:
    """Give back all that `token` names, the directory last. Returns what could not be."""
    directory = host.paths.runtime / "jobs" / token
    steps: tuple[Callable[[], object], ...] = (
        # Before the engine can give the address to somebody else.
        lambda: firewall.withdraw(directory),
        lambda: _remove_container(host, token),
        lambda: firewall.release(directory),
        lambda: _give_up_workspace(host.paths.state, token),
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


def _give_up_workspace(state: Path, token: str) -> None:
    """However large it is, whoever clears the lease does not wait: the next job may be that."""
    if trash.discard(state, fresh_path(state, token)):
        trash.empty_later(state)


def _remove_container(host: Host, token: str) -> bool:
    with engine.connected(host.sandbox.docker) as client:
        return engine.remove(client, f"airlock-{token}")


def sweep(host: Host) -> tuple[str, ...]:
    """Clear every lease whose holder is dead; returns their names."""
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
    """Have a process of its own session clear the lease if we do not.

    Open it before anything is acquired and before any thread exists: it is a fork.
    """
    theirs, ours = os.pipe2(os.O_CLOEXEC)
    if os.fork() == 0:
        _reap(host, token, theirs)
    os.close(theirs)
    try:
        yield
    finally:
        if not (host.paths.runtime / "jobs" / token).exists():
            os.write(ours, b"done")
        os.close(ours)


def _reap(host: Host, token: str, notice: int) -> None:
    """The reaper's whole life. It holds none of our descriptors: the agent waits for those."""
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
    silence = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(silence, standard)
    os.closerange(3, descriptor)
    os.closerange(descriptor + 1, 65536)


def _clear_until_gone(host: Host, token: str) -> None:
    """The engine finishes a create that its caller did not live to see: look again for a while."""
    deadline = time.monotonic() + REAPER_PATIENCE
    while time.monotonic() < deadline:
        clear(host, token)
        time.sleep(0.25)

"""What dead jobs left behind, for `airlock gc`. See `lease` for how jobs themselves clear it."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from bootstrap.host.change import Change
from bootstrap.host.config import Host
from bootstrap.sandbox import engine, lease

CREATED = 60.0  # seconds for a job to lock the directory that will be its lease


def dead_jobs(host: Host) -> Iterator[Change]:
    """Yield the clearing of each lease whose holder is dead."""
    for path in _directories(host.paths.runtime / "jobs"):
        if not _is_held(path):
            why = "the process that ran it is dead"
            clear = partial(_clear, host, path.name)
            yield Change(verb="clear", what=f"dead job {path.name}", why=why, apply=clear)


def containers(host: Host) -> Iterator[Change]:
    """Yield the removal of each container without a lease. Raises CannotStart.

    There is one if wrapper and reaper were killed while the engine created it, or if the machine
    was started again: leases are in memory.
    """
    jobs = host.paths.runtime / "jobs"
    with engine.connected(host.sandbox.docker) as client:
        found = engine.containers(client)
    for token in found:
        if not (jobs / token).exists():
            clear = partial(_clear, host, token)
            yield Change(what=f"container airlock-{token}", why="no job has a lease", apply=clear)


def _clear(host: Host, token: str) -> None:
    """Clear all that the token names. Raises the first failure."""
    for problem in lease.clear(host, token):
        raise problem


def _directories(jobs: Path) -> list[Path]:
    return sorted(jobs.iterdir()) if jobs.is_dir() else []


def _is_held(directory: Path) -> bool:
    """Say whether a process holds this lease, or is about to: it creates, locks and renames it."""
    with suppress(FileNotFoundError):
        if directory.name.startswith(".") and time.time() - directory.stat().st_mtime < CREATED:
            return True
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False
    return True

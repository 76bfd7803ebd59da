"""Budgets for what is below `paths.state`, and a minimum of free space on its filesystem.

The budgets are for workspaces and the histories of commit-on-branch, which the next job recreates,
and for the record of each job. The least recently used are removed first, and none in use.
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bootstrap.errors import CannotStart
from bootstrap.host import trash
from bootstrap.host.config import Host
from bootstrap.host.trees import discard_unused

PATIENCE = 60.0  # seconds for space to become free before a job is refused
HOUR = 3600.0
_TREES = ("workspaces", "ancestry")


@dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """Free bytes and inodes of a filesystem; None where inodes have no fixed number."""

    bytes: int
    inodes: int | None

    def lacks(self, least_bytes: int, least_inodes: int) -> str:
        """Return what is short, with got and expected; "" if nothing is."""
        if self.bytes < least_bytes:
            return f"{self.bytes >> 20} MiB are free, expected {least_bytes >> 20} MiB or more"
        if self.inodes is not None and self.inodes < least_inodes:
            return f"{self.inodes} inodes are free, expected {least_inodes} or more"
        return ""


def space(path: Path) -> Space:
    """Return what an unprivileged process can still use of the filesystem of `path`."""
    found = os.statvfs(path)
    return Space(
        bytes=found.f_bavail * found.f_frsize, inodes=found.f_favail if found.f_files else None
    )


def collect(host: Host, now: float, *, records: bool = False) -> int:
    """Remove what exceeds the budgets; return the number of trees and records removed.

    `now` is in seconds since the epoch. Records are checked once an hour, or if `records` is set.
    Trees are deleted in the background. Raises CannotStart.
    """
    state, budget = host.paths.state, host.storage
    oldest = now - budget.workspace_age
    removed = sum(
        _collect_trees(state, state / name, keep=budget.workspaces, oldest=oldest)
        for name in _TREES
    )
    removed += sum(trash.discard(state, path) for path in _orphans(host))
    trash.empty_in_background(state)
    if records or _is_due(host.paths.runtime / "records-collected", now):
        removed += _collect_records(state / "records", host, now)
    return removed


def _collect_trees(state: Path, directory: Path, *, keep: int, oldest: float) -> int:
    """Discard unused trees: the oldest beyond `keep`, and all last used before `oldest`."""
    trees = _by_use(directory)
    removed = 0
    for path in trees:
        if len(trees) - removed > keep or _used(path) < oldest:
            removed += discard_unused(state, path)
    return removed


def _is_due(stamp: Path, now: float) -> bool:
    due = not 0 <= now - _used(stamp) < HOUR
    if due:
        stamp.touch()
    return due


def _collect_records(directory: Path, host: Host, now: float) -> int:
    keep, oldest = host.storage.records, now - host.storage.record_age
    records = _by_use(directory)
    over = max(0, len(records) - keep)
    beyond = records[:over] + [path for path in records[over:] if _used(path) < oldest]
    for path in beyond:
        path.unlink(missing_ok=True)
    return len(beyond)


def require(host: Host, *, note: Callable[[str], object]) -> None:
    """Free the space that a job needs to start, by discarding unused trees, oldest first.

    `note` gets a line before the first one. Raises CannotStart if that is not enough, or takes over
    PATIENCE.
    """
    state, least = host.paths.state, (host.storage.min_free, host.storage.min_free_inodes)
    unused = _unused(state)
    deadline = time.monotonic() + PATIENCE
    if lack := space(state).lacks(*least):
        note(
            f"the disk of {state} is nearly full ({lack}): removing workspaces and caches that no "
            "job uses"
        )
    while lack := space(state).lacks(*least):
        if trash.is_empty(state) and not any(discard_unused(state, path) for path in unused):
            raise _full(state, lack, "no unused workspace or cache is left to remove")
        if time.monotonic() > deadline:
            raise _full(
                state, lack, f"removing unused workspaces and caches takes over {PATIENCE:.0f} s"
            )
        trash.empty_in_background(state)
        while not trash.is_empty(state) and space(state).lacks(*least):
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)


def _unused(state: Path) -> Iterator[Path]:
    """Yield all trees, the least recently used first."""
    trees = [path for name in _TREES for path in _by_use(state / name)]
    yield from sorted(trees, key=_used)


def _full(state: Path, lack: str, why: str) -> CannotStart:
    return CannotStart(
        f"the disk of {state} is too full to start a job: {lack}; {why}",
        hint="Free space there, or enlarge the disk. A job needs storage.min-free and "
        "storage.min-free-inodes of airlock.toml to start.",
    )


def _by_use(directory: Path) -> list[Path]:
    """Return the entries of a directory, the least recently used first."""
    found = list(directory.iterdir()) if directory.is_dir() else []
    return sorted(found, key=_used)


def _used(path: Path) -> float:
    try:
        return path.stat(follow_symlinks=False).st_mtime
    except FileNotFoundError:
        return 0.0


def _orphans(host: Host) -> list[Path]:
    """Return fresh workspaces without a lease: leases are in memory, and a reboot clears them."""
    fresh, jobs = host.paths.state / "fresh", host.paths.runtime / "jobs"
    # Listed before the leases are checked: a lease is created first and removed last.
    found = list(fresh.iterdir()) if fresh.is_dir() else []
    return [path for path in found if not (jobs / path.name).exists()]

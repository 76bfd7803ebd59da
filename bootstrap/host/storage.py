"""What is kept below `paths.state` has a budget, and its filesystem a minimum of free space.

Kept are workspaces and the histories of commit-on-branch (caches: the next job makes them anew),
and one record per job. Beyond the budget the least recently used go first, never one in use.
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

PATIENCE = 60.0  # seconds in which space has to come free before a job is turned away
HOUR = 3600.0
_KEPT = ("workspaces", "ancestry")


@dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """Free bytes and inodes of a filesystem; None where it makes inodes as they are needed."""

    bytes: int
    inodes: int | None

    def lacks(self, least_bytes: int, least_inodes: int) -> str:
        """Say what is short, got and expected; "" if nothing is."""
        if self.bytes < least_bytes:
            return f"{self.bytes >> 20} MiB are free, expected {least_bytes >> 20} MiB or more"
        if self.inodes is not None and self.inodes < least_inodes:
            return f"{self.inodes} inodes are free, expected {least_inodes} or more"
        return ""


def space(path: Path) -> Space:
    """Measure what a process without privilege could still use of the filesystem of `path`."""
    found = os.statvfs(path)
    return Space(
        bytes=found.f_bavail * found.f_frsize, inodes=found.f_favail if found.f_files else None
    )


def collect(host: Host, now: float, *, records: bool = False) -> int:
    """Give up what is over the budget; returns how many trees and records. Raises CannotStart.

    There are many records and each is small, so they are looked at once an hour, or if asked to.
    """
    state, budget = host.paths.state, host.storage
    oldest = now - budget.workspace_age
    given_up = sum(
        _collect_trees(state, state / name, keep=budget.workspaces, oldest=oldest) for name in _KEPT
    )
    given_up += sum(trash.discard(state, path) for path in _orphans(host))
    trash.empty_later(state)
    if records or _is_due(host.paths.runtime / "records-collected", now):
        given_up += _collect_records(state / "records", host, now)
    return given_up


def _collect_trees(state: Path, directory: Path, *, keep: int, oldest: float) -> int:
    """Give up the oldest beyond `keep`, and all that are older than `oldest`, but those in use."""
    trees = _by_use(directory)
    given_up = 0
    for path in trees:
        if len(trees) - given_up > keep or _used(path) < oldest:
            given_up += discard_unused(state, path)
    return given_up


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
    """Raise CannotStart unless enough is free; trees that nobody uses go first, oldest first."""
    state, least = host.paths.state, (host.storage.min_free, host.storage.min_free_inodes)
    unused = _unused(state)
    deadline = time.monotonic() + PATIENCE
    if lack := space(state).lacks(*least):
        note(f"the disk of {state} is nearly full ({lack}): removing what no job uses")
    while lack := space(state).lacks(*least):
        if trash.is_empty(state) and not any(discard_unused(state, path) for path in unused):
            raise _full(state, lack, "nothing is left that Airlock could remove")
        if time.monotonic() > deadline:
            raise _full(state, lack, f"removing what is not in use takes over {PATIENCE:.0f} s")
        trash.empty_later(state)
        while not trash.is_empty(state) and space(state).lacks(*least):
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)


def _unused(state: Path) -> Iterator[Path]:
    """Yield kept trees, the least recently used first."""
    kept = [path for name in _KEPT for path in _by_use(state / name)]
    yield from sorted(kept, key=_used)


def _full(state: Path, lack: str, why: str) -> CannotStart:
    return CannotStart(
        f"the disk of {state} is too full to start a job: {lack}; {why}",
        hint="Free space there, or enlarge it; storage.min-free and storage.min-free-inodes in "
        "airlock.toml say how much a job needs to start.",
    )


def _by_use(directory: Path) -> list[Path]:
    """Return what is in a directory, the least recently used first."""
    found = list(directory.iterdir()) if directory.is_dir() else []
    return sorted(found, key=_used)


def _used(path: Path) -> float:
    try:
        return path.stat(follow_symlinks=False).st_mtime
    except FileNotFoundError:
        return 0.0


def _orphans(host: Host) -> list[Path]:
    """Fresh workspaces without a lease: a machine that lost its power has forgotten all leases."""
    fresh, jobs = host.paths.state / "fresh", host.paths.runtime / "jobs"
    # Listed before the leases are looked for: a lease comes first and goes last.
    found = list(fresh.iterdir()) if fresh.is_dir() else []
    return [path for path in found if not (jobs / path.name).exists()]

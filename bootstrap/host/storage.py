"""Budgets for what is below `paths.state`, and a minimum of free space on its filesystem.

The budgets are for workspaces and the histories of commit-on-branch, which the next job recreates,
and for the record of each job. The least recently used are removed first, and none in use.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bootstrap.errors import AirlockError, CannotStart
from bootstrap.host import runtime_files, trail, trash
from bootstrap.host.budget import Budget, Entry, beyond
from bootstrap.host.change import Change
from bootstrap.host.config import Host, Storage
from bootstrap.host.measure import Size, tree_size
from bootstrap.host.trees import discard_unused, is_used

PATIENCE = 60.0  # seconds for space to become free before a job is refused
MEASURING = 300.0  # seconds for the size of one tree in `airlock gc`
HOUR = 3600.0


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


def collect(host: Host, now: float) -> None:
    """Remove what exceeds the budgets in number and age, before a job starts.

    `now` is in seconds since the epoch. Bytes are measured by `airlock gc` only, since jobs decide
    how long that takes. Trees are deleted in the background; records, the audit trail and
    `paths.runtime` are looked at once an hour. What cannot be removed is left to `airlock gc`,
    which reports it: what other jobs left keeps none from starting. Raises CannotStart if no
    program can be started.
    """
    _apply(trees_beyond(host, now))
    _apply(orphans(host))
    trash.empty_in_background(host.paths.state)
    if _is_due(host.paths.runtime / "records-collected", now):
        for part in (records_beyond, trail.changes, runtime_files.changes):
            _apply(part(host, now))


def _apply(changes: Iterator[Change]) -> None:
    with suppress(OSError, AirlockError):
        for change in changes:
            with suppress(OSError, AirlockError):
                change.apply()


def trees_beyond(host: Host, now: float, *, measured: bool = False) -> Iterator[Change]:
    """Yield the unused trees to discard. Their sizes count only if they are `measured`.

    Raises CannotStart, as the changes do.
    """
    state = host.paths.state
    for name, budget in _budgets(host.storage).items():
        sized = measured and _may_exceed(state / name, budget)
        entries = [_entry(path, MEASURING if sized else 0) for path in _entries(state / name)]
        for entry, why in beyond(budget, entries, now, in_use=is_used):
            discard = partial(discard_unused, state, entry.path)
            what = f"{budget.kind[0]} {entry.path}"
            yield Change(what=what, why=why, apply=discard, size=entry.size)


def _may_exceed(directory: Path, budget: Budget) -> bool:
    """Say whether the directory's disk holds enough to exceed a budget in bytes at all."""
    limits = [limit for limit in (budget.size, budget.largest) if limit]
    return bool(limits) and directory.is_dir() and _used_bytes(directory) > min(limits)


def _used_bytes(path: Path) -> int:
    found = os.statvfs(path)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def _budgets(storage: Storage) -> dict[str, Budget]:
    """Return the budget of each directory of trees below `paths.state`."""
    return {
        "workspaces": Budget(
            kind=("workspace", "workspaces"),
            number=storage.workspaces,
            age=storage.workspace_age,
            size=storage.workspaces_size,
        ),
        "ancestry": Budget(
            kind=("history", "histories"),
            number=storage.histories,
            age=storage.history_age,
            size=storage.histories_size,
            # So that a history that somebody lets grow does not displace those of all pipelines.
            largest=storage.histories_size // 4,
        ),
    }


def records_beyond(host: Host, now: float) -> Iterator[Change]:
    """Yield the records of single jobs to delete.

    Each user of agents has an equal part of the budget: one that runs many jobs has none of
    another's records deleted that this one could have kept.
    """
    limits = host.storage
    users: dict[str, list[Entry]] = {}
    for path in _entries(host.paths.state / "records"):
        uid = Path(path.stem).suffix  # Record.save puts it there
        users.setdefault(uid, []).append(_entry(path, None))
    for entries in users.values():
        budget = Budget(
            kind=("record", "records"),
            number=max(1, limits.records // len(users)),
            age=limits.record_age,
            size=limits.records_size // len(users),
        )
        for entry, why in beyond(budget, entries, now, in_use=lambda _: False):
            remove = partial(entry.path.unlink, missing_ok=True)
            yield Change(what=f"record {entry.path}", why=why, apply=remove, size=entry.size)


def orphans(host: Host) -> Iterator[Change]:
    """Yield fresh workspaces without a lease: leases are in memory, and a reboot clears them."""
    state, jobs = host.paths.state, host.paths.runtime / "jobs"
    # Listed before the leases are checked: a lease is created first and removed last.
    for path in _entries(state / "fresh"):
        if not (jobs / path.name).exists():
            # A job still uses it where paths.runtime has been changed since that began.
            discard = partial(discard_unused, state, path)
            yield Change(what=f"fresh workspace {path}", why="no job has a lease", apply=discard)


def _is_due(stamp: Path, now: float) -> bool:
    due = not 0 <= now - _used(stamp) < HOUR
    if due:
        stamp.touch()
    return due


def require(host: Host, *, note: Callable[[str], object]) -> None:
    """Free the space that a job needs to start, by discarding unused trees, oldest first.

    `note` gets a line before the first one. Raises CannotStart if that is not enough, or takes over
    PATIENCE.
    """
    state, least = host.paths.state, (host.storage.min_free, host.storage.min_free_inodes)
    unused = _unused(host)
    deadline = time.monotonic() + PATIENCE
    if lack := space(state).lacks(*least):
        note(
            f"the disk of {state} is nearly full ({lack}): removing workspaces and caches that no "
            "job uses"
        )
    while lack := space(state).lacks(*least):
        if trash.is_empty(state) and not any(_discarded(state, path) for path in unused):
            raise _full(host, lack, "no unused workspace or cache is left to remove")
        if time.monotonic() > deadline:
            raise _full(
                host, lack, f"removing unused workspaces and caches takes over {PATIENCE:.0f} s"
            )
        trash.empty_in_background(state)
        while not trash.is_empty(state) and space(state).lacks(*least):
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)


def _discarded(state: Path, path: Path) -> bool:
    with suppress(CannotStart):  # the next one may be enough
        return discard_unused(state, path)
    return False


def _unused(host: Host) -> Iterator[Path]:
    """Yield all trees, the least recently used first."""
    trees = [path for name in _budgets(host.storage) for path in _entries(host.paths.state / name)]
    yield from sorted(trees, key=_used)


def _full(host: Host, lack: str, why: str) -> CannotStart:
    from bootstrap.host import consumers  # noqa: PLC0415 - of full disks only

    state = host.paths.state
    return CannotStart(
        f"the disk of {state} is too full to start a job: {lack}; {why}",
        details=consumers.largest(host),
        hint="Free space there, or enlarge the disk. A job needs storage.min-free and "
        "storage.min-free-inodes of airlock.toml to start. `airlock gc` removes what is beyond the "
        "budgets of [storage], `docker system prune` what Docker keeps; if a running job fills the "
        "disk, cancel it.",
    )


def _entries(directory: Path) -> list[Path]:
    found = list(directory.iterdir()) if directory.is_dir() else []
    return [path for path in found if not trash.is_discarded(path)]


def _entry(path: Path, seconds: float | None) -> Entry:
    """Return an entry with its size: that of a file, or of a tree measured for some seconds."""
    if seconds is None:
        size = None
        with suppress(FileNotFoundError):
            size = Size(bytes=path.stat(follow_symlinks=False).st_size)
        return Entry(path=path, used=_used(path), size=size)
    return Entry(path=path, used=_used(path), size=tree_size(path, seconds) if seconds else None)


def _used(path: Path) -> float:
    try:
        return path.stat(follow_symlinks=False).st_mtime
    except FileNotFoundError:
        return 0.0

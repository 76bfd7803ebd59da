"""What stays in `paths.runtime` when a job has ended: answers that were cached, and locks.

How many there are depends on names that jobs bring, such as those of pipelines.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bootstrap.host.budget import Budget, Entry, beyond
from bootstrap.host.change import Change
from bootstrap.host.config import Host
from bootstrap.host.lock import is_unlocked, remove_unlocked

CACHED = 1000  # files that are kept in each directory of cached answers, their locks included
IDLE = 3600.0  # seconds after which a cached answer is removed, beside those of policy.serve-stale
_CACHES = ("policies", "keys")
_DAY = 86400.0


def changes(host: Host, now: float) -> Iterator[Change]:
    """Yield the removals that keep the number of files bounded. Raises OSError.

    `now` is in seconds since the epoch.
    """
    runtime = host.paths.runtime
    answers = Budget(
        kind=("cached answer or lock", "cached answers and locks"),
        number=CACHED,
        age=IDLE + host.policy.cache + host.policy.serve_stale,
    )
    for name in _CACHES:
        yield from _beyond(answers, _files(runtime / name), now)
    # How the kernel prints a ruleset; the current one is written again by the next job.
    listings = Budget(kind=("listing of a ruleset", "listings of rulesets"), age=_DAY)
    yield from _beyond(listings, _files(runtime, "ruleset-*"), now)
    slots = Budget(kind=("slot", "slots"), age=_DAY)
    outside = [e for e in _files(runtime / "slots") if not _is_slot(host, e.path)]
    yield from _beyond(slots, outside, now)
    partial_files = Budget(kind=("partly written file", "partly written files"), age=IDLE)
    for directory in (runtime, *(runtime / name for name in _CACHES), host.paths.state / "images"):
        yield from _beyond(partial_files, _files(directory, ".*.new"), now)


def _beyond(budget: Budget, entries: list[Entry], now: float) -> Iterator[Change]:
    for entry, why in beyond(budget, entries, now, in_use=_is_locked):
        remove = partial(remove_unlocked, entry.path)
        yield Change(what=f"{budget.kind[0]} {entry.path}", why=why, apply=remove)


def _is_locked(path: Path) -> bool:
    return not is_unlocked(path)


def _files(directory: Path, pattern: str = "[!.]*") -> list[Entry]:
    """Return the files by the time of their last change; a lock's is that of its creation."""
    found = []
    for path in directory.glob(pattern):
        try:
            found.append(Entry(path=path, used=path.stat(follow_symlinks=False).st_mtime))
        except FileNotFoundError:
            continue
    return found


def _is_slot(host: Host, path: Path) -> bool:
    return path.name.isascii() and path.name.isdigit() and int(path.name) in host.sandbox.uids

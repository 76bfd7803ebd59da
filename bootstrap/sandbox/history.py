"""Caches of repositories' histories for commit-on-branch: locked, bounded and removed.

One directory per pipeline and repository, however its URL is spelled. Only the container of the
check reads or writes its files.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bootstrap import process
from bootstrap.errors import CannotStart
from bootstrap.host.trash import discard, empty_in_background
from bootstrap.host.trees import discard_unused, locked_tree
from bootstrap.job.model import Claims
from bootstrap.job.repository import name_of
from bootstrap.sandbox.workspace import prepare_trees

LARGEST = 4 << 30  # bytes of one cache; a larger one is discarded before the next fetch
TOTAL = 16 << 30  # bytes of all caches after `collect`
IDLE = 30 * 86400.0  # seconds without use after which a cache is removed
_DIRECTORY, _PART = "ancestry", "history"


def path_of(state: Path, claims: Claims) -> Path:
    """Return the path of the cache for the job's pipeline and repository; it may not exist."""
    return state / _DIRECTORY / _key(claims)


@contextmanager
def locked_cache(
    state: Path, path: Path, *, uid: int, note: Callable[[str], object]
) -> Iterator[Path]:
    """Lock the cache at `path`, and yield its directory, which belongs to `uid`.

    Waits while another check uses it. `note` gets a line if its files were discarded. Raises
    CannotStart.
    """
    if not path.exists():
        collect(state, time.time())
    with locked_tree(path, wait=True):
        if _size(path) > LARGEST and discard(state, path / _PART):
            empty_in_background(state)
        prepare_trees(state, path, (_PART,), uid=uid, note=note)
        yield path / _PART


def collect(state: Path, now: float) -> tuple[str, ...]:
    """Remove the caches unused for IDLE seconds, and the oldest ones until the rest fits in TOTAL.

    Caches in use stay. Returns the names of those removed. `now` is in seconds since the epoch.
    """
    removed: list[str] = []
    total = 0
    for path in sorted(_caches(state), key=_last_use, reverse=True):
        with suppress(CannotStart):  # its files come and go while it is in use
            total += _size(path)
        if (total > TOTAL or now - _last_use(path) > IDLE) and discard_unused(state, path):
            removed.append(path.name)
    empty_in_background(state)
    return tuple(removed)


def _key(claims: Claims) -> str:
    """Name the cache: one per pipeline, so that none can write to another's."""
    parties = repr(
        (claims.organization, claims.pipeline, name_of(claims.repository) or claims.repository)
    )
    return hashlib.sha256(parties.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _caches(state: Path) -> list[Path]:
    directory = state / _DIRECTORY
    return [path for path in directory.iterdir() if path.is_dir()] if directory.is_dir() else []


def _last_use(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another process has removed it
        return 0.0


def _size(path: Path) -> int:
    """Return bytes on disk. By du: a git server may send trees too deep for Python."""
    shown = process.run(["du", "--summarize", "--block-size=1", "--", str(path)], timeout=60)
    return int(shown.split()[0])

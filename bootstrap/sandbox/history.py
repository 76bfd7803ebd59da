"""What this host keeps of repositories' histories between two checks of a commit, and how long.

One directory for each pipeline and repository, however its URL is spelled. It belongs to the
container that fetches; here it is only locked, measured and removed.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bootstrap import process
from bootstrap.errors import CannotStart
from bootstrap.host.trash import discard, empty_later
from bootstrap.host.trees import claimed, discard_unused
from bootstrap.job.model import Claims
from bootstrap.job.repository import name_of
from bootstrap.sandbox.workspace import prepare_trees

LARGEST = 4 << 30  # bytes of one cache, before a fetch: a larger one begins anew
TOTAL = 16 << 30  # bytes of all together, after `collect`
IDLE = 30 * 86400.0  # seconds since its last use after which a cache goes
_DIRECTORY, _PART = "ancestry", "history"


def path_of(state: Path, claims: Claims) -> Path:
    """Where the cache of the job's pipeline and repository is, or will be."""
    return state / _DIRECTORY / _key(claims)


@contextmanager
def held(state: Path, path: Path, *, uid: int, note: Callable[[str], object]) -> Iterator[Path]:
    """Yield the part of the cache at `path` that belongs to `uid`; waits for whoever has it."""
    if not path.exists():
        collect(state, time.time())
    with claimed(path, wait=True):
        if _size(path) > LARGEST and discard(state, path / _PART):
            empty_later(state)
        prepare_trees(state, path, (_PART,), uid=uid, note=note)
        yield path / _PART


def collect(state: Path, now: float) -> tuple[str, ...]:
    """Remove the caches that nobody has used for long, then the oldest until the rest fits.

    Caches in use are left alone. Returns the names of those that are gone. `now` is in seconds
    since the epoch.
    """
    gone: list[str] = []
    total = 0
    for path in sorted(_caches(state), key=_last_use, reverse=True):
        with suppress(CannotStart):  # its files come and go while it is in use
            total += _size(path)
        if (total > TOTAL or now - _last_use(path) > IDLE) and discard_unused(state, path):
            gone.append(path.name)
    empty_later(state)
    return tuple(gone)


def _key(claims: Claims) -> str:
    """Nobody else's history is ever mixed in, and no spelling makes another cache."""
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
    except FileNotFoundError:  # another collector was faster
        return 0.0


def _size(path: Path) -> int:
    """Bytes on disk; by du, since what a git server sends may be nested deeper than Python goes."""
    shown = process.run(["du", "--summarize", "--block-size=1", "--", str(path)], timeout=60)
    return int(shown.split()[0])

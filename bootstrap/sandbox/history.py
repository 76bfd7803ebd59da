"""What this host keeps of repositories' histories between two checks of a commit, and how long.

One directory for each pipeline and repository, however its URL is spelled. It belongs to the
container that fetches; here it is only locked, measured and removed.
"""

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bootstrap import process
from bootstrap.errors import CannotStart
from bootstrap.job.model import Job
from bootstrap.job.repository import name_of
from bootstrap.sandbox.workspace import remove_tree

LARGEST = 4 << 30  # bytes of one cache, before a fetch: a larger one begins anew
TOTAL = 16 << 30  # bytes of all together, after `collect`
IDLE = 30 * 86400.0  # seconds since its last use after which a cache goes
_DIRECTORY = "ancestry"


@contextmanager
def held(state: Path, job: Job, uid: int) -> Iterator[Path]:
    """Yield the cache of the job's pipeline and repository; waits for whoever else has it."""
    path = state / _DIRECTORY / _key(job)
    if not path.exists():
        collect(state, time.time())
    descriptor = _locked(path)
    try:
        if _size(path) > LARGEST:
            for child in path.iterdir():
                remove_tree(child)
        os.chown(path, uid, uid)
        os.utime(path)
        yield path
    finally:
        os.close(descriptor)


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
        if (total > TOTAL or now - _last_use(path) > IDLE) and _removed(path):
            gone.append(path.name)
    return tuple(gone)


def _key(job: Job) -> str:
    """Nobody else's history is ever mixed in, and no spelling makes another cache."""
    parties = repr((job.organization, job.pipeline, name_of(job.repository) or job.repository))
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


def _locked(path: Path) -> int:
    """Lock the directory, made if need be. One that was removed meanwhile does not count."""
    while True:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _removed(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove_tree(path)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True

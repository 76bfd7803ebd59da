"""Directories that are kept from one job to the next: each has one user at a time.

Who has one holds a lock on the directory itself, so that it ends with its holder. When it was last
used is the time of its own last change, which no job can reach: jobs see what is below.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bootstrap.host.trash import discard


@contextmanager
def claimed(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold the directory at `path`, made if there is none; False if another has it."""
    descriptor = _claim(path, wait=wait)
    if descriptor is None:
        yield False
        return
    try:
        os.utime(descriptor)
        yield True
    finally:
        os.utime(descriptor)
        os.close(descriptor)


def discard_unused(state: Path, path: Path) -> bool:
    """Give up the directory at `path` unless somebody has it. Raises CannotStart."""
    try:
        descriptor = _open(path)
    except FileNotFoundError:
        return False
    try:
        ours = _lock(descriptor, wait=False) and _is_at(descriptor, path)
        return ours and discard(state, path)
    finally:
        os.close(descriptor)


def _claim(path: Path, *, wait: bool) -> int | None:
    """Lock it. If it was given up between our finding and our locking it, make another."""
    while True:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            descriptor = _open(path)
        except FileNotFoundError:
            continue
        if not _lock(descriptor, wait=wait):
            os.close(descriptor)
            return None
        if _is_at(descriptor, path):
            return descriptor
        os.close(descriptor)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _lock(descriptor: int, *, wait: bool) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False

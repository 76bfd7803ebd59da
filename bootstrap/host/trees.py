"""Directories that stay from one job to the next, each used by one process at a time.

The lock is on the directory itself and ends with its holder. The directory's mtime is the time of
its last use; jobs cannot change it, because they see only what is below.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bootstrap.host.trash import discard

BRIEFLY = 1.0  # seconds for which a process that looks whether a tree is in use may lock it


@contextmanager
def locked_tree(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Lock the directory at `path`, created if missing; False if another process keeps it.

    With `wait`, wait for that process instead.
    """
    descriptor = _locked(path, wait=wait)
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
    """Discard the directory at `path` unless it is in use; say whether. Raises CannotStart."""
    try:
        descriptor = _open(path)
    except FileNotFoundError:
        return False
    try:
        locked = _lock(descriptor, wait=False) and _is_at(descriptor, path)
        return locked and discard(state, path)
    finally:
        os.close(descriptor)


def is_used(path: Path) -> bool:
    """Say whether a process has locked the directory at `path` at this moment."""
    try:
        descriptor = _open(path)
    except FileNotFoundError:
        return False
    try:
        return not _lock(descriptor, wait=False)
    finally:
        os.close(descriptor)


def _locked(path: Path, *, wait: bool) -> int | None:
    """Return a locked descriptor. If the directory was discarded meanwhile, create another."""
    deadline = time.monotonic() + BRIEFLY
    while True:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            descriptor = _open(path)
        except FileNotFoundError:
            continue
        if not _lock(descriptor, wait=wait):
            os.close(descriptor)
            if time.monotonic() > deadline:
                return None
            time.sleep(0.02)
            continue
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

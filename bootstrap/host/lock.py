"""Locks between processes of one host."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock the file at `path`, after waiting for its holder. A lock ends with its process."""
    descriptor = _locked(path)
    try:
        yield
    finally:
        os.close(descriptor)


def _locked(path: Path) -> int:
    """Return a locked descriptor of the file that is at `path` now.

    A lock on a file that was removed meanwhile excludes nobody: the next process creates another.
    """
    while True:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if _is_at(descriptor, path):
            return descriptor
        os.close(descriptor)


@contextmanager
def locked_now(path: Path) -> Iterator[bool]:
    """Lock the file at `path`, or yield False at once if another process has locked it."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield _is_at(descriptor, path)
    finally:
        os.close(descriptor)


def is_unlocked(path: Path) -> bool:
    """Say whether no process holds the lock at this moment; False if the file does not exist."""
    return _with_lock(path, lambda: None)


def remove_unlocked(path: Path) -> bool:
    """Remove a lock's file unless a process holds it; say whether. Only for locks of `locked`."""
    return _with_lock(path, path.unlink)


def _with_lock(path: Path, action: Callable[[], object]) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _is_at(descriptor, path):
            return False
        action()
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False

"""Files that other processes read while they are written."""

import os
from contextlib import suppress
from pathlib import Path


def write(path: Path, content: bytes, mode: int = 0o600, owner: int | None = None) -> None:
    """Write a file whole or not at all; an existing one is replaced.

    A reader sees all of the old content or all of the new, never with a wider mode or another
    owner than requested. `owner` is the uid, and the gid of the same number; None, and the user of
    this process, leaves both as they are. Raises OSError, which names `path`.
    """
    try:
        _write(path, content, mode, owner)
    except OSError as failed:
        raise OSError(failed.errno, failed.strerror, str(path)) from failed


def _write(path: Path, content: bytes, mode: int, owner: int | None) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    with suppress(FileNotFoundError):
        temporary.unlink()  # left by an earlier process of this pid
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if owner is not None:
                give(descriptor, owner)
            os.fchmod(descriptor, mode)
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)  # it may have been renamed already
        raise


def give(path: Path | int, uid: int) -> None:
    """Make `uid`, with the gid of the same number, the owner of what this process has created.

    That is done already if it is this process's own user, who need not have such a gid.
    """
    if uid != os.geteuid():
        os.chown(path, uid, uid)

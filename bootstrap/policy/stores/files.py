"""Documents as files that only root could have written."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

from bootstrap.errors import WrongConfiguration
from bootstrap.policy.model import MAX_TEXT

# Never wait for a pipe, never follow a link out of the store.
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def pipeline_text(directory: Path, pipeline: str) -> str | None:
    """Return the text of <directory>/<pipeline>.yaml, or None if there is none.

    Raises WrongConfiguration if the directory or the file cannot be read, or if a user other
    than root could have written them. `pipeline` must be safe as a file name (job.assemble).
    """
    _trusted(directory)
    return text_of(directory / f"{pipeline}.yaml")


def text_of(path: Path) -> str | None:
    """Return the text of one file, or None if there is none. Raises as `pipeline_text`."""
    try:
        descriptor = os.open(path, _FLAGS)
    except FileNotFoundError:
        return None
    except OSError as unreadable:
        raise _wrong(path, f"cannot be read: {unreadable.strerror}") from unreadable
    try:
        _check(path, os.fstat(descriptor), stat.S_ISREG, "a regular file")
        return os.read(descriptor, 4 * MAX_TEXT + 1).decode("utf-8")
    except UnicodeDecodeError as binary:
        raise _wrong(path, f"is not UTF-8 at byte {binary.start}") from binary
    finally:
        os.close(descriptor)


def _trusted(directory: Path) -> None:
    try:
        status = directory.stat()
    except OSError as absent:
        raise _wrong(directory, f"cannot be read: {absent.strerror}") from absent
    _check(directory, status, stat.S_ISDIR, "a directory")


def _check(path: Path, status: os.stat_result, is_kind: Callable[[int], bool], kind: str) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if not is_kind(status.st_mode):
        raise _wrong(path, f"is not {kind}")
    if status.st_uid not in (0, os.geteuid()) or mode & 0o022:
        owner = f"belongs to uid {status.st_uid} with mode {mode:04o}"
        raise _wrong(path, f"{owner}; expected root, and no write permission for others")


def _wrong(path: Path, what: str) -> WrongConfiguration:
    return WrongConfiguration(
        f"the policy store's {path} {what}",
        hint="policy.store in airlock.toml names the store; `chown root` and `chmod go-w` it.",
    )

"""The content of a file that a person names, or of standard input: bounded, and never waited for.

What is no regular file is not opened: that alone has an effect on a device or a named pipe.
"""

import errno
import os
import stat
import sys
from pathlib import Path

from bootstrap.errors import WrongConfiguration
from bootstrap.text import printable

STANDARD_INPUT = "-"
MAX_CONTENT = 32 << 20  # bytes: a record of the largest environment takes less
HINT = (
    "Name a job's record, a copy of its BUILDKITE_ENV_FILE or BUILDKITE_ENV_JSON_FILE, the URL of "
    "a job, or a pipeline.yml with --step; - reads standard input."
)


def content(source: str) -> bytes:
    """Return what is in a file, or in standard input for `-`.

    Raises WrongConfiguration, also if that is nothing.
    """
    data = bounded(source)
    if not data.strip():
        raise wrong(source, "is empty")
    return data


def bounded(source: str) -> bytes:
    """Return what is in a file, or in standard input for `-`. Raises WrongConfiguration."""
    is_standard = source == STANDARD_INPUT
    data = sys.stdin.buffer.read(MAX_CONTENT + 1) if is_standard else _of_file(source)
    if len(data) > MAX_CONTENT:
        raise _too_large(source)
    return data


def wrong(source: str, what: str, hint: str = HINT) -> WrongConfiguration:
    """Return the error for an input; `what` continues "<source> "."""
    shown = "standard input" if source == STANDARD_INPUT else printable(source, limit=300)
    return WrongConfiguration(f"{shown} {printable(what, limit=600)}", hint=hint)


def _of_file(source: str) -> bytes:
    try:
        found = os.open(Path(source), os.O_PATH | os.O_CLOEXEC)
    except (OSError, ValueError) as unreadable:
        raise _unreadable(source, unreadable) from unreadable
    try:
        status = os.fstat(found)
        _check(source, status)
        with open(f"/proc/self/fd/{found}", "rb") as file:  # noqa: PTH123 - the file that was checked
            return file.read(MAX_CONTENT + 1)
    except OSError as unreadable:
        raise _unreadable(source, unreadable) from unreadable
    finally:
        os.close(found)


def _check(source: str, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise wrong(source, "is a directory, expected a file")
    if not stat.S_ISREG(status.st_mode):
        raise wrong(
            source,
            "is not a regular file",
            "Copy what it holds into a file, or pass it on standard input and name -.",
        )
    if status.st_size > MAX_CONTENT:
        raise _too_large(source)


def _too_large(source: str) -> WrongConfiguration:
    return wrong(source, f"has more than {MAX_CONTENT >> 20} MiB, which is no job's environment")


def _unreadable(source: str, failed: OSError | ValueError) -> WrongConfiguration:
    foreign = isinstance(failed, PermissionError)
    hint = (
        "Ask for a copy that is yours: the records of a host are root's, who exports one with "
        "`airlock record export`."
    )
    return wrong(source, f"cannot be read: {_why(failed)}", hint if foreign else HINT)


def _why(unreadable: OSError | ValueError) -> str:
    if isinstance(unreadable, OSError):
        return os.strerror(unreadable.errno or errno.EIO)
    return "a path has no NUL byte"

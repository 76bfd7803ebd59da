"""The audit trail is rotated by renaming its file, and its oldest files are deleted.

No line is lost to a rotation: a job that has the file open goes on writing to it under its new
name, and a file that a process has open is not deleted.
"""

import fcntl
import json
import re
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from bootstrap.host.budget import Budget, Entry, beyond, moment, span
from bootstrap.host.change import Change
from bootstrap.host.config import Host
from bootstrap.host.lock import locked
from bootstrap.host.measure import Size, shown

LONGEST = 30 * 86400.0  # seconds from a file's first line to its rotation, at most
_KIND = ("file of the audit trail", "files of the audit trail")


def changes(host: Host, now: float) -> Iterator[Change]:
    """Yield the rotation of the trail if it is due, then the deletions. Raises OSError.

    `now` is in seconds since the epoch. Nothing if storage.trail-file is 0: another program does
    it then.
    """
    path, limits = host.paths.records, host.storage
    if not limits.trail_file:
        return
    if why := _due(path, limits.trail_file, limits.trail_age, now):
        yield Change(
            verb="rotate",
            what=f"the audit trail {path}",
            why=why,
            apply=partial(_rotate, host, now),
        )
    budget = Budget(kind=_KIND, age=limits.trail_age, size=limits.trail_size)
    files = [*rotated(path), *([path] if path.exists() else [])]
    entries = [_entry(file) for file in files]
    for entry, reason in beyond(budget, entries, now, in_use=partial(_is_kept, path)):
        what = f"the audit trail's file {entry.path}"
        yield Change(what=what, why=reason, apply=entry.path.unlink, size=entry.size)


def rotated(path: Path) -> list[Path]:
    """Return the rotated files of the trail at `path`, the oldest first."""
    name = re.compile(rf"{re.escape(path.stem)}-\d{{8}}T\d{{6}}Z{re.escape(path.suffix)}")
    found = path.parent.iterdir() if path.parent.is_dir() else ()
    return sorted(file for file in found if name.fullmatch(file.name))


def _entry(path: Path) -> Entry:
    """A file's last use is its last line."""
    found = path.stat()
    return Entry(path=path, used=found.st_mtime, size=Size(bytes=found.st_size))


def _due(path: Path, largest: int, age: float, now: float) -> str:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return ""
    if size >= largest:
        return f"it has {shown(size)}, the limit of one file is {shown(largest)}"
    longest = min(LONGEST, age) if age else LONGEST
    first = _first(path)
    if first is not None and first < now - longest:
        return f"its first line is of {moment(first)}, longer ago than {span(longest)}"
    return ""


def _first(path: Path) -> float | None:
    """Return the time of the first line, in seconds since the epoch; None if it has none."""
    with path.open("rb") as file:
        line = file.readline(1 << 20)
    try:
        stamp = datetime.fromisoformat(json.loads(line)["timestamp"])
    except (ValueError, KeyError, TypeError):
        return None
    return stamp.astimezone(UTC).timestamp()


def _rotate(host: Host, now: float) -> bool:
    path, limits = host.paths.records, host.storage
    with locked(host.paths.runtime / "trail.lock"):
        if not _due(path, limits.trail_file, limits.trail_age, now):
            return False  # another process has rotated it
        name = f"{path.stem}-{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}{path.suffix}"
        if path.with_name(name).exists():
            return False  # the second rotation of this second: the next call does it
        path.rename(path.with_name(name))
    return True


def _is_kept(current: Path, file: Path) -> bool:
    """Say whether a file has to stay: it is not rotated yet, or a job may still write to it."""
    return file == current or _is_open(file)


def _is_open(file: Path) -> bool:
    """Say whether any process has the file open for writing, by asking for a lease (fcntl(2)).

    A read lease: log agents keep files open for reading, which a write lease would count as well.
    Not by a look at all processes, since jobs decide how many there are. Raises OSError where the
    filesystem has no leases.
    """
    with file.open("rb") as opened:
        # A process that opens it meanwhile has us sent a signal, which would end us by default.
        fcntl.fcntl(opened, fcntl.F_SETSIG, signal.SIGURG)
        try:
            fcntl.fcntl(opened, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except BlockingIOError:
            return True
    return False

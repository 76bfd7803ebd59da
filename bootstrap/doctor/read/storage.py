"""The filesystems that Airlock writes to, and whether it could record an event."""

import errno
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bootstrap.doctor.model import Read, known
from bootstrap.doctor.read.reading import read
from bootstrap.doctor.snapshot import Disk, Engine, Storage
from bootstrap.host import storage as host_storage
from bootstrap.host.config import Host
from bootstrap.record import Record, not_writable

_EVENT = 1 << 20  # bytes: a generous event


def storage(host: Read[Host], engine: Read[Engine]) -> Storage:
    """Return them; what does not exist yet counts by the nearest directory above it that does."""
    return Storage(
        state=read(lambda: _disk(known(host).paths.state, partial(_lacks, known(host)))),
        runtime=read(lambda: _disk(known(host).paths.runtime)),
        images=read(lambda: _disk(known(engine).root)),
        records=read(lambda: _records(known(host).paths.records)),
    )


def _lacks(host: Host, space: host_storage.Space) -> str:
    return space.lacks(host.storage.min_free, host.storage.min_free_inodes)


def _disk(path: Path, lacks: Callable[[host_storage.Space], str] = lambda _: "") -> Disk:
    place = nearest(path)
    found, space = os.statvfs(place), host_storage.space(place)
    size = found.f_blocks * found.f_frsize
    return Disk(path=path, size=size, free=space.bytes, lacks=lacks(space))


def nearest(path: Path) -> Path:
    """Return the path, or the first directory above it that exists."""
    return next(one for one in (path, *path.parents) if one.exists())


def _records(path: Path) -> None:
    """Raise CannotStart, as a job does, unless an event could be appended; nothing is written.

    An existing file is opened as a job opens it. A missing one is not created here.
    """
    if path.exists():
        Record(path, started="")
    if number := _hindrance(path, nearest(path)):
        raise not_writable(OSError(number, os.strerror(number)), path)


def _hindrance(path: Path, place: Path) -> int:
    """Return why nothing can be written to `path`, as an error number; 0 if it can.

    `place` is the path itself, or the nearest directory above it.
    """
    found = os.statvfs(place)
    if found.f_flag & os.ST_RDONLY:
        return errno.EROFS
    if place.is_dir() == (place == path):
        return errno.EISDIR if place == path else errno.ENOTDIR
    if not os.access(place, os.W_OK):
        return errno.EACCES
    full = found.f_blocks and found.f_bfree * found.f_frsize < _EVENT
    return errno.ENOSPC if full else 0

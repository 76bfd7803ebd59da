"""The images that Airlock has pulled: one file each, changed last when a job used the image.

Images that were there before, such as those of a machine image, have no file and are never removed.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from bootstrap import files
from bootstrap.host.budget import Budget, Entry, beyond
from bootstrap.host.change import Change
from bootstrap.host.config import Host
from bootstrap.host.measure import Size
from bootstrap.sandbox import engine
from bootstrap.sandbox.images import engine_images

_KIND = ("image", "images")


def pulled(state: Path, reference: str, image: str, *, last: float | None = None) -> None:
    """Record that Airlock has pulled the image of this id. Raises OSError.

    `last` is when a job has used it, in seconds since the epoch; the default is now.
    """
    path = _path(state, image)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    files.write(path, json.dumps({"id": image, "reference": reference}).encode())
    if last is not None:
        os.utime(path, (last, last))


def recent(state: Path, since: float) -> dict[str, float]:
    """Return the references of pulled images that a job used after `since`, with the time of that.

    Both times are in seconds since the epoch.
    """
    found: dict[str, float] = {}
    for path in (state / "images").glob("[!.]*"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            last, reference = path.stat().st_mtime, str(json.loads(path.read_text())["reference"])
            if last > since:
                found[reference] = max(last, found.get(reference, 0.0))
    return found


def used(state: Path, image: str) -> bool:
    """Record that a job uses the image, if Airlock has pulled it. False if gc has just removed it.

    From then on gc keeps it for storage.image-age. Waits while gc is removing this very image.
    """
    try:
        descriptor = os.open(_path(state, image), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        os.utime(descriptor)
        return os.fstat(descriptor).st_nlink > 0
    finally:
        os.close(descriptor)


def configured(host: Host) -> tuple[str, ...]:
    """Return the images that airlock.toml names."""
    return (host.sandbox.image, *((host.builds.image,) if host.builds else ()))


def unused(host: Host, now: float) -> Iterator[Change]:
    """Yield the removal of pulled images that no job used for storage.image-age.

    Never of one that airlock.toml names or that a container, another image or another name needs:
    the engine refuses that. Files of images that are gone are removed too. `now` is in seconds
    since the epoch. Raises CannotStart.
    """
    directory = host.paths.state / "images"
    paths = list(directory.glob("[!.]*")) if directory.is_dir() else []
    if not paths:
        return
    with engine.connected(host.sandbox.docker) as client:
        sizes = engine_images.image_sizes(client)
        named = {engine_images.known_id(client, image) for image in configured(host)}
    entries = [_entry(path, sizes) for path in paths]
    budget = Budget(kind=_KIND, age=host.storage.image_age)
    for entry, why in beyond(
        budget, [e for e in entries if e.size], now, in_use=lambda path: _id(path) in named
    ):
        remove = partial(_remove, host, entry.path, now - host.storage.image_age)
        yield Change(what=f"image {_reference(entry.path)}", why=why, apply=remove, size=entry.size)
    for entry in (e for e in entries if not e.size):
        why = "the image is not on this host any more"
        yield Change(what=f"record {entry.path}", why=why, apply=entry.path.unlink)


def _path(state: Path, image: str) -> Path:
    return state / "images" / image.removeprefix("sha256:")


def _id(path: Path) -> str:
    return f"sha256:{path.name}"


def _entry(path: Path, sizes: dict[str, int]) -> Entry:
    size = sizes.get(_id(path))
    found = None if size is None else Size(bytes=size)
    return Entry(path=path, used=path.stat().st_mtime, size=found)


def _reference(path: Path) -> str:
    """Return the name that the image was pulled by, and its id."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return f"{json.loads(path.read_text())['reference']} ({_id(path)[:19]})"
    return _id(path)


def _remove(host: Host, path: Path, oldest: float) -> bool:
    """Remove the image unless a job has used it meanwhile. Jobs wait for the lock."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_mtime >= oldest:
            return False
        with engine.connected(host.sandbox.docker) as client:
            removed = engine_images.remove_image(client, _id(path))
        if removed:
            path.unlink()
        return removed
    finally:
        os.close(descriptor)

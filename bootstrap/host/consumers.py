"""What uses a full disk, as far as Airlock knows it, for the message that refuses a job."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from bootstrap.errors import CannotStart
from bootstrap.host.config import Host
from bootstrap.host.measure import Size, tree_size

SHOWN = 3
_MEASURING = 5.0  # seconds for each; they are measured at the same time
_DAEMON = Path("/etc/docker/daemon.json")


def largest(host: Host) -> tuple[str, ...]:
    """Return lines about the largest known consumers of the disk of `paths.state`.

    Takes some seconds. What cannot be measured is left out.
    """
    device = host.paths.state.stat().st_dev
    places = [(p, what) for p, what in _places(host) if p.exists() and p.stat().st_dev == device]
    with ThreadPoolExecutor(max_workers=len(places) or 1) as pool:
        sizes = list(pool.map(lambda place: _size(place[0]), places))
    found = sorted(zip(sizes, places, strict=True), key=lambda each: -each[0].bytes)
    return tuple(f"{size} in {path}: {what}" for size, (path, what) in found[:SHOWN] if size.bytes)


def _places(host: Host) -> list[tuple[Path, str]]:
    state = host.paths.state
    return [
        (state / "workspaces", "workspaces, those of running jobs included"),
        (state / "fresh", "fresh workspaces of running jobs"),
        (state / "ancestry", "histories of commit-on-branch"),
        (state / "records", "records of single jobs"),
        (state / "trash", "discarded trees, being deleted"),
        (host.paths.records.parent, "the audit trail's directory"),
        (_docker_root(_DAEMON), "images and volumes of Docker"),
    ]


def _docker_root(configuration: Path) -> Path:
    """Return the engine's directory without asking it: it may not answer on a full disk."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return Path(json.loads(configuration.read_text())["data-root"])
    return Path("/var/lib/docker")


def _size(path: Path) -> Size:
    with suppress(CannotStart):
        return tree_size(path, _MEASURING)
    return Size(bytes=0)

"""Makes holders, and removes those that no job is to adopt any more.

Only the holder of networks.lock does either. What it leaves when it is killed, at whatever moment,
is in the directory of those that are not ready, or a container without a directory: the next one
removes both.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.host import lock, trash
from bootstrap.host.change import Change
from bootstrap.host.config import Host
from bootstrap.host.lock import locked_now
from bootstrap.sandbox import confinement, engine
from bootstrap.sandbox.ahead import holder
from bootstrap.sandbox.leases import first_process
from bootstrap.sandbox.model import Holder, Image
from bootstrap.sandbox.network import addresses, datagrams
from bootstrap.sandbox.network import bridge as ports
from bootstrap.sandbox.plan import HOLDER, holder_spec

if TYPE_CHECKING:
    from bootstrap.sandbox.engine_client import Client

UNSERVED = 600.0  # seconds without a service, after which nobody will adopt them
KILL_PATIENCE = 2.0
# Seconds: a job that has taken no step for so long waits for AWS or an image, not for processors.
STARTING = 3.0
_SERVED = "served"  # in networks/: touched by the service's chore


@contextmanager
def locked(runtime: Path) -> Iterator[bool]:
    """Yield whether this process may make and remove holders until this closes."""
    with locked_now(_lock(runtime)) as mine:
        yield mine


def _lock(runtime: Path) -> Path:
    for directory in (holder.unready(runtime), holder.ready(runtime)):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return runtime / "networks.lock"


def serve(runtime: Path) -> None:
    """Take note that a service runs, whose jobs adopt holders."""
    (runtime / "networks" / _SERVED).touch()


def make(client: "Client", host: Host, image: Image) -> None:
    """Make one holder, ready to be adopted. The lock has to be held. Raises CannotStart."""
    runtime, token = host.paths.runtime, os.urandom(6).hex()
    directory = holder.unready(runtime) / token
    directory.mkdir(mode=0o700)
    apparmor = engine.apparmor(client)
    spec = holder_spec(host.sandbox, token=token, image=image)
    running = engine.start(client, engine.create_holder(client, spec, apparmor), spec.name)
    first_process.record(directory, running.pid)
    confinement.check(running.pid, spec.runtime, apparmor)
    ports.isolate_port(running.pid)
    ports.load_inside(running.pid, running.gateway)
    datagrams.separate(running.pid)
    made = Holder(
        container=running.id, pid=running.pid, namespace=addresses.namespace(running.pid),
        address=running.address, gateway=running.gateway, runtime=spec.runtime, image=image.id,
    )  # fmt: skip
    holder.write(directory, made)
    directory.rename(holder.ready(runtime) / token)


def a_job_starts(runtime: Path) -> bool:
    """Say whether a job of this host is being started: it has a lease, and no address yet."""
    for job in (runtime / "jobs").glob("*"):
        with suppress(FileNotFoundError):  # it is gone
            since = time.time() - job.stat().st_mtime
            if since < STARTING and addresses.read(job) is None:
                return True
    return False


def remains(host: Host) -> Iterator[Change]:
    """Yield the removal of every holder that no job is to adopt; nothing while others do that.

    Raises CannotStart.
    """
    if not (host.paths.runtime / "networks").is_dir():
        return
    with locked(host.paths.runtime) as mine:
        if mine:
            yield from useless(host, image=None)


def useless(host: Host, *, image: str | None) -> Iterator[Change]:
    """Yield the removals, with the lock held. With `image`, the others have another one."""
    runtime = host.paths.runtime
    with engine.connected(host.sandbox.docker) as client:
        for path in holder.entries(holder.unready(runtime)):
            why = "it was never ready, or is half removed"
            yield _change(path.name, why, partial(discard, client, path))
        kept = 0
        wanted = host.service.networks_ahead if _is_served(runtime) else 0
        for path in holder.entries(holder.ready(runtime)):
            why = _why_not(host, path, image)
            if not why and kept < wanted:
                kept += path.exists()  # else a job has adopted it by now
            else:
                why = why or "it is not needed"
                yield _change(path.name, why, partial(_retire, client, runtime, path))
        for token in engine.holders(client):
            if not _has_directory(runtime, token):
                remove = partial(engine.remove, client, holder.container_name(token))
                yield _change(token, "nothing on this host knows it", remove)


def _change(token: str, why: str, apply: Callable[[], object]) -> Change:
    return Change(what=f"prepared network {token}", why=why, apply=apply)


def _why_not(host: Host, path: Path, image: str | None) -> str:
    """Return why a job cannot use the holder that is ready, or ""."""
    found = holder.read(path)
    if found is None or not holder.is_usable(path, found, host.sandbox):
        return "it is not as it was made" if path.exists() else ""
    return "the image has changed" if image not in (None, found.image) else ""


def _is_served(runtime: Path) -> bool:
    try:
        last = (runtime / "networks" / _SERVED).stat().st_mtime
    except FileNotFoundError:
        return False
    return time.time() - last < UNSERVED


def _has_directory(runtime: Path, token: str) -> bool:
    """In the order in which it moves, so that none is missed on its way."""
    directories = (holder.unready(runtime), holder.ready(runtime))
    jobs = runtime / "jobs"
    return any((path / token).exists() for path in directories) or any(
        token == adopted for job in jobs.glob("*") for adopted, _ in holder.adopted_by(job)
    )


def retire_all(client: "Client", runtime: Path) -> None:
    """Remove all holders that no job has adopted: their network has to go. Raises CannotStart.

    Waits for whoever makes one at this moment.
    """
    with lock.locked(_lock(runtime)):
        for path in holder.entries(holder.unready(runtime)):
            discard(client, path)
        for path in holder.entries(holder.ready(runtime)):
            _retire(client, runtime, path)
        for token in engine.holders(client):
            if not _has_directory(runtime, token):
                engine.remove(client, holder.container_name(token))


def _retire(client: "Client", runtime: Path, path: Path) -> bool:
    """Remove one that is ready; False if a job has adopted it meanwhile."""
    target = holder.unready(runtime) / path.name
    try:
        path.rename(target)
    except FileNotFoundError:
        return False
    discard(client, target)
    return True


def discard(client: "Client", path: Path) -> None:
    """End and remove a holder that is not ready. Raises CannotStart."""
    first_process.kill(path, KILL_PATIENCE)
    engine.remove(client, f"{HOLDER}-{path.name}")
    trash.remove_tree(path)

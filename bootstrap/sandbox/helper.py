"""A container of the host's own, with less in it than a job's, and opened as a job's is.

The check of a commit runs in one, and so does `airlock doctor`.
"""

import os
import selectors
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap import packaged
from bootstrap.errors import CannotStart
from bootstrap.files import write
from bootstrap.host.config import Host
from bootstrap.sandbox import engine, environment
from bootstrap.sandbox.container import Opened
from bootstrap.sandbox.leases.lease import Lease
from bootstrap.sandbox.model import Image, Mount, SandboxSpec
from bootstrap.sandbox.network import resolvers
from bootstrap.sandbox.plan import HOME, LABEL
from bootstrap.sandbox.supervision.pump import Pump
from bootstrap.sandbox.workspace import SandboxDirectory

if TYPE_CHECKING:
    from bootstrap.sandbox.engine_client import Client

DRAIN = 5.0  # seconds for the rest of the output
MOST = 4096  # bytes of it


def directory(path: Path, uid: int, entry: bytes) -> Path:
    """Create the container's sandbox directory; `entry` is the script that waits at the gate."""
    path.mkdir(mode=0o755)
    (path / "ssh").mkdir(mode=0o700)
    os.chown(path / "ssh", uid, uid)
    write(path / "entry", entry, 0o444)
    credentials = packaged.data("bootstrap.sandbox", "git_credential.sh")
    write(path / "git-credential", credentials, 0o444)
    write(path / "passwd", environment.passwd(uid, uid, str(HOME)), 0o444)
    write(path / "group", environment.group(uid), 0o444)
    return path


def spec(
    host: Host,
    ours: Lease,
    directory: Path,
    image: Image,
    *,
    workdir: Path,
    mounts: tuple[Mount, ...] = (),
) -> SandboxSpec:
    """Describe the same container that jobs get, with less in it."""
    sandbox = host.sandbox
    return SandboxSpec(
        name=f"airlock-{ours.token}",
        image=image,
        user=ours.uid,
        group=ours.uid,
        labels={LABEL: ours.token},
        mounts=(
            Mount(source=directory, target=Path(environment.AIRLOCK)),
            Mount(source=directory / "passwd", target=Path("/etc/passwd")),
            Mount(source=directory / "group", target=Path("/etc/group")),
            Mount(source=directory / "resolv.conf", target=resolvers.TARGET),
            *mounts,
        ),
        home=HOME,
        workdir=workdir,
        memory=min(sandbox.memory, 1 << 30),
        cpus=min(sandbox.cpus, 1.0),
        pids=256,
        tmp=64 << 20,
        open_files=sandbox.open_files,
        runtime=sandbox.runtime,
    )


def until_end(
    client: "Client", container: Opened, sandbox: SandboxDirectory, *, limit: float, what: str
) -> tuple[int | None, str]:
    """Open the start gate and wait; return the exit status and the first MOST bytes of output.

    The status is None if the container had to be killed after `limit` seconds. Raises CannotStart,
    which says that `what` was stopped, if the ruleset changes meanwhile.
    """
    out = os.memfd_create("output", os.MFD_CLOEXEC)
    pump = Pump(container.stream, out, lambda: engine.attach(client, container.running.id))
    pump.start()
    try:
        sandbox.open_start_gate()
        ended = _ended(container, time.monotonic() + limit, what)
    finally:
        container.guard.kill()
        quiet = pump.finish(DRAIN)
        pump.close()
    output = os.pread(out, MOST, 0).decode(errors="replace").strip()
    if quiet:  # else the pump may still write: to this file, and to none that takes its number
        os.close(out)
    found = engine.outcome(client, container.running.id) if ended else None
    return (found[0] if found else None), output


def _ended(container: Opened, deadline: float, what: str) -> bool:
    """Wait for the end; False if it had to be killed at `deadline` (time.monotonic)."""
    guard = container.guard
    with selectors.DefaultSelector() as events:
        events.register(guard.process, selectors.EVENT_READ)
        events.register(guard.breach, selectors.EVENT_READ)
        ended = events.select(max(0.0, deadline - time.monotonic()))
    if guard.why:
        raise CannotStart(
            f"{what} was stopped: {guard.why}",
            hint="Find what changes nftables on this host (`nft monitor`), then retry.",
        )
    if not ended:
        guard.kill()
    return bool(ended)

"""Whether a commit is on the branch that its build claims: asked of the repository itself.

A branch's name says what a build claims; anybody who can start a build can claim one. So the host
fetches the branch, without blobs and into a cache of the pipeline's own, in a container that holds
nothing of the job, and looks for the commit in its history. Its only credentials are those for the
repository itself, of the rule that the answer decides about. That container is opened as the job's
own is: the same flags, the same proof, the same watch.
"""

import os
import re
import secrets
import selectors
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap import packaged
from bootstrap.credentials.repository_access import RepositoryAccess
from bootstrap.errors import CannotStart
from bootstrap.files import write
from bootstrap.host import storage
from bootstrap.host.config import Host
from bootstrap.job.model import Claims, Known, Provenance
from bootstrap.log import JobLog
from bootstrap.policy.match import ELSEWHERE, UNKNOWN, VERIFIED
from bootstrap.sandbox import engine, environment
from bootstrap.sandbox.commit_check import history
from bootstrap.sandbox.container import Opened, bridged, created, opened
from bootstrap.sandbox.delivery import SandboxDelivery, deliver
from bootstrap.sandbox.images.image import provided
from bootstrap.sandbox.leases import lease
from bootstrap.sandbox.model import Image, Mount, SandboxSpec
from bootstrap.sandbox.network import resolvers
from bootstrap.sandbox.plan import HOME, LABEL
from bootstrap.sandbox.supervision.pump import Pump
from bootstrap.sandbox.workspace import SandboxDirectory, prepare_host, start_gate, token_for

if TYPE_CHECKING:
    from bootstrap.sandbox.engine_client import Client

PATIENCE = 45  # seconds for the branch's name, again for the fetch, and again for packing
LIMIT = 3 * PATIENCE + 15.0  # seconds after which the container is killed
LARGEST_FILE = 2 << 30  # bytes
CLEARING = 5.0  # seconds; a job that is cancelled meanwhile has about nine
DRAIN = 5.0  # seconds for the rest of git's output
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_ANSWERS = {0: VERIFIED, 1: ELSEWHERE}


def commit_on_branch(
    claims: Claims, host: Host, access: Callable[[], RepositoryAccess], log: JobLog
) -> Known:
    """Return "verified", "elsewhere" or "unknown".

    `access` fetches the credentials for the repository; it is called if there is something to ask.
    Raises what that raises, and CannotStart if there is no container or no proof of its isolation.
    """
    branch, commit = (claims.env.get(f"BUILDKITE_{name}", "") for name in ("BRANCH", "COMMIT"))
    if not _COMMIT.fullmatch(commit):
        log.note(f"commit-on-branch: {commit or 'no commit'} is not the full name of a commit")
        return _known(UNKNOWN)
    values = {
        # By the environment, since git keeps a URL that is an argument in the cache, with any token
        # in it.
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "remote.claimed.url",
        "GIT_CONFIG_VALUE_0": claims.repository,
        "BRANCH": branch,
        "COMMIT": commit,
        "SECONDS_LEFT": str(PATIENCE),
        "LARGEST_FILE": str(LARGEST_FILE // 512),  # POSIX: `ulimit -f` counts in 512 bytes
    }
    code, output = _asked(claims, host, values, access, log)
    if code not in _ANSWERS:
        log.note(
            f"commit-on-branch: {branch} of {claims.repository} could not be fetched ({code}): "
            f"{output or 'git printed nothing'}"
        )
    return _known(UNKNOWN if code is None else _ANSWERS.get(code, UNKNOWN))


def _known(value: str) -> Known:
    return Known(value=value, provenance=Provenance.HOST)


def _asked(
    claims: Claims,
    host: Host,
    values: dict[str, str],
    access: Callable[[], RepositoryAccess],
    log: JobLog,
) -> tuple[int | None, str]:
    """Return the script's exit status, None if it had to be killed, and what git printed."""
    prepare_host(host.paths.runtime, host.paths.state)
    token = token_for(claims.job_id, secrets.token_hex(4))
    storage.collect(host, time.time())
    storage.require(host, note=log.note)
    kept = history.path_of(host.paths.state, claims)
    with (
        lease.reaper(host, token),
        lease.acquire(
            host,
            token,
            tree=kept,
            agent=claims.agent_name,
            alert=log.alert,
            patience=lambda: CLEARING,
        ) as ours,
        history.locked_cache(host.paths.state, kept, uid=ours.uid, note=log.note) as cache,
        bridged(host) as bridge,
        engine.connected(host.sandbox.docker) as client,
    ):
        directory = _create_directory(ours.directory / "ancestry", ours.uid)
        resolvers.write_into(directory, host.sandbox.dns)
        image = provided(client, None, host, log)
        spec = _spec(host, ours, directory, cache, image)
        credentials = access()
        with (
            start_gate(directory, ours.uid) as gate,
            created(client, spec, bridge) as made,
            opened(client, made, host, ours, bridge, report=log.note) as container,
            ExitStack() as held,
        ):
            sandbox = SandboxDirectory(directory, gate, ours.uid)
            delivery = SandboxDelivery(
                held=held,
                directory=sandbox,
                env=values,
                region=host.aws.region,
                endpoint=None,
                settings=host.sandbox,
                known_hosts=credentials.grant.known_hosts,
                uid=ours.uid,
                log=log,
                used=lambda _: None,  # the audit trail's ssh_agent is about jobs
            )
            granted = deliver(credentials.grant, credentials.obtained, delivery)
            sandbox.write_environment({**values, **environment.revealed(granted)})
            return _until_end(client, container, sandbox)


def _create_directory(path: Path, uid: int) -> Path:
    path.mkdir(mode=0o755)
    (path / "ssh").mkdir(mode=0o700)
    os.chown(path / "ssh", uid, uid)
    write(path / "entry", _program("ancestry.sh", "bootstrap.sandbox.commit_check"), 0o444)
    write(path / "git-credential", _program("git_credential.sh"), 0o444)
    write(path / "passwd", environment.passwd(uid, uid, str(HOME)), 0o444)
    write(path / "group", environment.group(uid), 0o444)
    return path


def _program(name: str, package: str = "bootstrap.sandbox") -> bytes:
    return packaged.data(package, name)


def _spec(host: Host, ours: lease.Lease, directory: Path, cache: Path, image: Image) -> SandboxSpec:
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
            Mount(source=cache, target=Path("/cache"), writable=True),
        ),
        home=HOME,
        workdir=Path("/cache"),
        memory=min(sandbox.memory, 1 << 30),
        cpus=min(sandbox.cpus, 1.0),
        pids=256,
        tmp=64 << 20,
        open_files=sandbox.open_files,
        runtime=sandbox.runtime,
    )


def _until_end(
    client: "Client", container: Opened, sandbox: SandboxDirectory
) -> tuple[int | None, str]:
    """Open the start gate and wait. Raises CannotStart if the ruleset changes meanwhile."""
    out = os.memfd_create("git", os.MFD_CLOEXEC)
    pump = Pump(container.stream, out, lambda: engine.attach(client, container.running.id))
    pump.start()
    try:
        sandbox.open_start_gate()
        ended = _ended(container, time.monotonic() + LIMIT)
    finally:
        container.guard.kill()
        quiet = pump.finish(DRAIN)
        pump.close()
    output = os.pread(out, 4096, 0).decode(errors="replace").strip()
    if quiet:  # else the pump may still write: to this file, and to none that takes its number
        os.close(out)
    found = engine.outcome(client, container.running.id) if ended else None
    return (found[0] if found else None), output


def _ended(container: Opened, deadline: float) -> bool:
    """Wait for the end; False if it had to be killed at `deadline` (time.monotonic)."""
    guard = container.guard
    with selectors.DefaultSelector() as events:
        events.register(guard.process, selectors.EVENT_READ)
        events.register(guard.breach, selectors.EVENT_READ)
        ended = events.select(max(0.0, deadline - time.monotonic()))
    if guard.why:
        raise CannotStart(
            f"the check of the commit was stopped: {guard.why}",
            hint="Find what changes nftables on this host (`nft monitor`), then retry.",
        )
    if not ended:
        guard.kill()
    return bool(ended)

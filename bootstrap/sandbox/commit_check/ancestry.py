"""Whether a commit is on the branch that its build claims: asked of the repository itself.

A branch's name says what a build claims; anybody who can start a build can claim one. So the host
fetches the branch, without blobs and into a cache of the pipeline's own, in a container that holds
nothing of the job, and looks for the commit in its history. Its only credentials are those for the
repository itself, of the rule that the answer decides about. That container is opened as the job's
own is: the same flags, the same proof, the same watch.
"""

import re
import secrets
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from bootstrap import packaged
from bootstrap.credentials.repository_access import RepositoryAccess
from bootstrap.host import storage
from bootstrap.host.config import Host
from bootstrap.job.model import Claims, Known, Provenance
from bootstrap.log import JobLog
from bootstrap.policy.match import ELSEWHERE, UNKNOWN, VERIFIED
from bootstrap.sandbox import engine, environment, helper
from bootstrap.sandbox.commit_check import history
from bootstrap.sandbox.container import bridged, created, opened
from bootstrap.sandbox.delivery import SandboxDelivery, deliver
from bootstrap.sandbox.images.image import provided
from bootstrap.sandbox.leases import lease
from bootstrap.sandbox.model import Mount
from bootstrap.sandbox.network import resolvers
from bootstrap.sandbox.workspace import SandboxDirectory, prepare_host, start_gate, token_for

PATIENCE = 45  # seconds for the branch's name, again for the fetch, and again for packing
LIMIT = 3 * PATIENCE + 15.0  # seconds after which the container is killed
LARGEST_FILE = 2 << 30  # bytes
CLEARING = 5.0  # seconds; a job that is cancelled meanwhile has about nine
_WHAT = "the check of the commit"
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
        directory = helper.directory(ours.directory / "ancestry", ours.uid, _entry())
        resolvers.write_into(directory, host.sandbox.dns)
        image = provided(client, None, host, log)
        mounts = (Mount(source=cache, target=Path("/cache"), writable=True),)
        spec = helper.spec(host, ours, directory, image, workdir=Path("/cache"), mounts=mounts)
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
            return helper.until_end(client, container, sandbox, limit=LIMIT, what=_WHAT)


def _entry() -> bytes:
    return packaged.data("bootstrap.sandbox.commit_check", "ancestry.sh")

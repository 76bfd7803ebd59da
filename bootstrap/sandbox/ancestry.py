"""Whether a commit is on the branch that its build claims: asked of the repository itself.

A branch's name says what a build claims; anybody who can start a build can claim one. So the host
fetches the branch, without blobs and into a cache of the pipeline's own, in a sealed room that
holds nothing of the job and no credentials, and looks for the commit in its history.
"""

import hashlib
import os
import re
import secrets
import time
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.host import storage
from bootstrap.host.config import Host
from bootstrap.host.trees import claimed
from bootstrap.job.model import Job, Known, Provenance
from bootstrap.log import JobLog
from bootstrap.policy.match import ELSEWHERE, UNKNOWN, VERIFIED
from bootstrap.sandbox import engine, environment, firewall, lease
from bootstrap.sandbox.image import provided
from bootstrap.sandbox.model import Mount, SandboxSpec
from bootstrap.sandbox.plan import HOME, LABEL
from bootstrap.sandbox.workspace import door, furnish, prepare_host, token_for, write

if TYPE_CHECKING:
    from docker import APIClient

PATIENCE = 45  # seconds for the fetch
HISTORY = "history"  # the part of a cache that the room sees
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_ANSWERS = {0: VERIFIED, 1: ELSEWHERE}


def commit_on_branch(job: Job, host: Host, log: JobLog) -> Known:
    """Return "verified", "elsewhere" or "unknown". Raises CannotStart if no room can be had."""
    branch, commit = (job.env.get(f"BUILDKITE_{name}", "") for name in ("BRANCH", "COMMIT"))
    if not _COMMIT.fullmatch(commit):
        log.note(f"commit-on-branch: {commit or 'no commit'} is no commit's full name")
        return _known(UNKNOWN)
    words = {
        "REPOSITORY": job.repository,
        "BRANCH": branch,
        "COMMIT": commit,
        "SECONDS_LEFT": str(PATIENCE),
    }
    code = _asked(job, host, words, log)
    if code not in _ANSWERS:
        log.note(f"commit-on-branch: {branch} of {job.repository} could not be fetched ({code})")
    return _known(_ANSWERS.get(code, UNKNOWN))


def _known(value: str) -> Known:
    return Known(value=value, provenance=Provenance.HOST)


def _asked(job: Job, host: Host, words: dict[str, str], log: JobLog) -> int:
    prepare_host(host.paths.runtime, host.paths.state)
    token = token_for(job.id, secrets.token_hex(4))
    storage.collect(host, time.time())
    storage.require(host, note=log.note)
    cache = _cache(host.paths.state, job)
    with (
        lease.reaper(host, token),
        lease.hold(host, token, tree=cache, agent=job.agent_name, alert=log.alert) as ours,
        claimed(cache, wait=True),
        engine.connected(host.sandbox.docker) as client,
    ):
        furnish(host.paths.state, cache, (HISTORY,), uid=ours.uid, note=log.note)
        room = _furnish(ours.directory / "ancestry", words, ours.uid)
        image = provided(client, None, host, log)
        with door(room, ours.uid) as held:
            return _run(client, host, _spec(host, ours, room, cache / HISTORY, image), held)


def _cache(state: Path, job: Job) -> Path:
    """One per pipeline and repository: nobody else's history is ever mixed in."""
    parties = repr((job.organization, job.pipeline, job.repository))
    return state / "ancestry" / hashlib.sha256(parties.encode()).hexdigest()[:32]


def _furnish(path: Path, words: dict[str, str], uid: int) -> Path:
    path.mkdir(mode=0o755)
    script = resources.files("bootstrap.sandbox").joinpath("ancestry.sh").read_bytes()
    write(path / "entry", script, 0o555)
    write(path / "passwd", environment.passwd(uid, str(HOME)), 0o444)
    write(path / "group", environment.group(uid), 0o444)
    write(path / "env", environment.exports(words), 0o400, uid)
    return path


def _spec(host: Host, ours: lease.Lease, room: Path, cache: Path, image: str) -> SandboxSpec:
    """Describe the same sealed room that jobs get, with less in it."""
    sandbox = host.sandbox
    return SandboxSpec(
        name=f"airlock-{ours.token}",
        image=image,
        user=ours.uid,
        labels={LABEL: ours.token},
        mounts=(
            Mount(source=room, target=Path(environment.ROOM)),
            Mount(source=room / "passwd", target=Path("/etc/passwd")),
            Mount(source=room / "group", target=Path("/etc/group")),
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


def _run(client: "APIClient", host: Host, spec: SandboxSpec, held: int) -> int:
    engine.ensure_network(client, host.sandbox.subnet, host.paths.runtime)
    firewall.stand(host.paths.runtime)
    container = engine.create(client, spec)
    running = engine.start(client, container, spec.name)
    firewall.isolate(firewall.bridge_port(running.pid))
    os.write(held, b"go\n")
    return engine.outcome(client, container)[0]

"""The container of a replayed job, which joins a proven network (network.py).

The specification and the environment are those of a job on a host: sandbox/plan.py and
environment.py make both. What differs is in docs/replay.md#the-sandbox.
"""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.credentials import environment as aws_environment
from bootstrap.errors import CannotStart, WrongConfiguration
from bootstrap.files import write
from bootstrap.grants.kind import Variables
from bootstrap.host.config import Sandbox
from bootstrap.job.model import Job
from bootstrap.policy.model import Grant
from bootstrap.replay.network import Network
from bootstrap.replay.place import Place
from bootstrap.sandbox import confinement, engine, workspace
from bootstrap.sandbox.environment import sandbox_environment
from bootstrap.sandbox.model import Image, Running, SandboxSpec
from bootstrap.sandbox.network import addresses, resolvers
from bootstrap.sandbox.plan import HOME, plan
from bootstrap.sandbox.proof import Probe

if TYPE_CHECKING:
    import socket

    from bootstrap.sandbox.engine_client import Client

STARTING = 10.0  # seconds for a container's program to begin


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """A container that waits at its start gate. `stream` is its output, or its terminal."""

    running: Running
    spec: SandboxSpec
    stream: "socket.socket"
    directory: workspace.SandboxDirectory
    probes: tuple[Probe, ...]


def job_uid(settings: Sandbox) -> int:
    """Return the uid of the job: this user's own, whose files it is to read and write.

    A job is never root: where that is this user, it gets the first uid of jobs on hosts.
    """
    return os.geteuid() or settings.first_uid


def job_gid(settings: Sandbox) -> int:
    """Return the gid of the job: this user's own, or the kernel does not show its processes."""
    return os.getegid() if os.geteuid() and os.getegid() else job_uid(settings)


def specification(
    job: Job, settings: Sandbox, place: Place, image: Image, agent: Path
) -> SandboxSpec:
    """Return the container's specification. Raises Refused as `plan`."""
    planned = plan(
        job, Grant(), settings, token=place.token, uid=job_uid(settings), image=image,
        sandbox_directory=place.directory / "sandbox", workspace=place.tree, agent_binary=agent,
    )  # fmt: skip
    return replace(planned, name=place.name, labels=place.labels, group=job_gid(settings))


@contextmanager
def opened(
    client: "Client",
    job: Job,
    spec: SandboxSpec,
    settings: Sandbox,
    *,
    network: Network,
    place: Place,
    granted: Variables,
    files: Mapping[str, bytes],
) -> Iterator[Opened]:
    """Create, start and check it. Nothing of the job has run when this yields.

    `files` are further ones of the sandbox directory, by name. Raises CannotStart,
    WrongConfiguration.
    """
    kept, _ = aws_environment.strip(job.claims.env)
    with ExitStack() as held:
        sandbox_directory = held.enter_context(
            workspace.sandbox_directory(
                place.directory, kept, uid=spec.user, home=str(HOME), gid=spec.group
            )
        )
        _write_resolvers(sandbox_directory.path, settings)
        for file, content in files.items():
            write(sandbox_directory.path / file, content, 0o444)
        apparmor = engine.apparmor(client)
        container = engine.create(client, spec, apparmor, network.joined)
        stream = held.enter_context(engine.attach(client, container, terminal=spec.terminal))
        running = engine.start(client, container, spec.name, network.joined)
        _require_joined(running, network)
        probes = confinement.check(running.pid, spec.runtime, apparmor)
        environment = sandbox_environment(job, job_env=kept, granted=granted, home=str(HOME))
        sandbox_directory.write_environment(environment.variables)
        yield Opened(
            running=running, spec=spec, stream=stream, directory=sandbox_directory,
            probes=(*network.probes, *probes),
        )  # fmt: skip


def _write_resolvers(path: Path, settings: Sandbox) -> None:
    try:
        resolvers.write_into(path, settings.dns)
    except WrongConfiguration as unreachable:
        raise WrongConfiguration(
            unreachable.problem,
            hint="Name resolvers that the job can reach with --dns, such as those of your network: "
            "one on this machine is out of its reach.",
        ) from unreachable


def _namespace(pid: int, deadline: float) -> int:
    """Return the namespace of a process that has just been started.

    Until the runtime has become the container's program, nobody but root may look at it.
    """
    while True:
        try:
            return addresses.namespace(pid)
        except PermissionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.001)


def _require_joined(running: Running, network: Network) -> None:
    """The network that has been proven is the one that the container has."""
    try:
        found = _namespace(running.pid, time.monotonic() + STARTING)
    except OSError as gone:
        raise CannotStart(
            f"the network of the job's container cannot be read: {gone.strerror}",
            hint="The container may have ended at once: does the image have /bin/sh and cat?",
        ) from gone
    if found != network.joined.namespace:
        raise CannotStart(
            "the job's container is not in the network that was made for it",
            hint="Does another program change the containers of this Docker?",
        )

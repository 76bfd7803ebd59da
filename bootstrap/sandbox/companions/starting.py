"""Starts one service container in the network of a job's container, and checks it."""

import os
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bootstrap.errors import CannotStart
from bootstrap.files import write
from bootstrap.host.config import Host
from bootstrap.policy.services import MOST
from bootstrap.sandbox import confinement, engine, terminals
from bootstrap.sandbox.companions import plan
from bootstrap.sandbox.companions.output import Output
from bootstrap.sandbox.companions.plan import Companion
from bootstrap.sandbox.companions.watch import Started
from bootstrap.sandbox.container import Opened
from bootstrap.sandbox.leases import first_process
from bootstrap.sandbox.leases.lease import Lease
from bootstrap.sandbox.limits import Limits
from bootstrap.sandbox.model import SandboxSpec
from bootstrap.sandbox.network import addresses
from bootstrap.sandbox.network.resolvers import TARGET
from bootstrap.sandbox.supervision.frames import Frames

if TYPE_CHECKING:
    import socket

    from bootstrap.sandbox.engine_client import Client

_DRAIN = 1.0  # seconds for what a service printed that ended at once
_LAST = 20  # lines of its log


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where services are started: beside this proven container, under this lease."""

    client: "Client"
    host: Host
    lease: Lease
    container: Opened
    names: tuple[str, ...]  # of all services of the job


def start(place: Place, one: Companion, output: Output) -> Started:
    """Create the container, start it, record its process, and check its confinement.

    Raises CannotStart, also if it ended at once.
    """
    client = place.client
    spec = _prepared(place, one)
    apparmor = engine.apparmor(client)
    body = plan.body_of(one, spec, confinement.profile(), apparmor, job=place.container.running.id)
    made = engine.create_container(client, spec, body)
    with ExitStack() as undone:
        stream = engine.attach(client, made)
        undone.callback(stream.close)
        pid = engine.start_beside(client, made, "the container of a service")
        process = first_process.opened(plan.directory_of(place.lease.directory, one.name), pid)
        if process is None:
            _drain(stream, output)
            outcome = engine.outcome_known(place.host.sandbox.docker, made)
            raise ended(one, output, outcome[0] if outcome else None)
        undone.callback(os.close, process)
        place.container.guard.kill_with_it(os.dup(process))
        _check(place, one, pid, process, apparmor)
        undone.pop_all()
    return Started(
        name=one.name, process=process, stream=stream, output=output,
        limits=Limits(pid, plan.writable(one)),
        outcome=partial(engine.outcome_known, place.host.sandbox.docker, made),
    )  # fmt: skip


def ended(one: Companion, output: Output, code: int | None) -> CannotStart:
    """Return the error for a service that ended before it was ready."""
    status = "an unknown exit status" if code is None else f"exit status {code}"
    return failed(one, output, f"ended with {status} before it was ready")


def failed(one: Companion, output: Output, why: str) -> CannotStart:
    """Return the error for a service that is not ready, with the last lines of its log."""
    lines = output.last(_LAST)
    return CannotStart(
        f"the service {one.name} {why}",
        hint=f"Nothing of the job has run. See allow.services.{one.name} of the rule: image, env, "
        "command, ready, ready-within, and tmpfs for what the program writes: its root is "
        "read-only, and its user is not root (docs/services.md).",
        details=tuple(f"{one.name}: {line}" for line in lines) or (f"{one.name} printed nothing",),
    )


def _prepared(place: Place, one: Companion) -> SandboxSpec:
    """Create the service's directory, with its files of /etc, and return its specification."""
    lease = place.lease
    directory = plan.directory_of(lease.directory, one.name)
    directory.mkdir(mode=0o755)
    user = one.service.user or one.name
    resolvers = (lease.directory / "sandbox" / TARGET.name).read_bytes()  # the job's own
    contents = (
        plan.passwd(user, lease.uid), plan.group(user, lease.uid), plan.hosts(place.names),
        resolvers,
    )  # fmt: skip
    for name, content in zip(plan.FILES, contents, strict=True):
        write(directory / name, content, 0o444)
    return plan.spec_of(
        one, place.host.sandbox, token=lease.token, uid=lease.uid, directory=directory
    )


def _check(place: Place, one: Companion, pid: int, process: int, apparmor: str | None) -> None:
    """Check what the proof has not shown of this container. Raises CannotStart.

    One that has ended meanwhile is found by who waits for it to be ready.
    """
    has_ended = partial(first_process.has_ended, process)
    settings, job = place.host.sandbox, place.container.running.pid
    try:
        confinement.check(pid, settings.runtime, apparmor, has_ended=has_ended)
        _check_network(one, pid, job)
        terminals.limit(pid, settings.slots * (1 + MOST))
    except (CannotStart, OSError):
        if not has_ended():
            raise


def _check_network(one: Companion, pid: int, job: int) -> None:
    if addresses.namespace(pid) != addresses.namespace(job):
        raise CannotStart(
            f"the container of the service {one.name} is not in the job's network",
            hint="Nothing of the job has run. Retry the job; see `journalctl -u docker`.",
        )


def _drain(stream: "socket.socket", output: Output) -> None:
    frames, buffer = Frames(), bytearray(1 << 16)
    stream.settimeout(_DRAIN)
    with suppress(OSError):
        while count := stream.recv_into(buffer):
            for piece in frames.payload(memoryview(buffer)[:count]):
                output.write(piece)

"""The one opening sequence: from a specification to a container that has been proven.

The job's container and the one that checks a commit's branch are both opened here: the same
ruleset, the same proof and the same watch. Nothing of the specification's own code has run when
`opened` yields: its entry waits at the start gate.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bootstrap.credentials.endpoint import Endpoint
from bootstrap.host.config import Host
from bootstrap.sandbox import confinement, engine, firewall, terminals, watch
from bootstrap.sandbox.lease import Lease
from bootstrap.sandbox.model import Running, SandboxSpec
from bootstrap.sandbox.proof import Probe, prove
from bootstrap.sandbox.watch import Guard

if TYPE_CHECKING:
    import socket

    from docker import APIClient

Listening = Callable[[], AbstractContextManager[Endpoint | None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """A container that has been proven; `guard` watches its ruleset since before the proof."""

    running: Running
    stream: "socket.socket"  # its output, in frames of the engine
    guard: Guard
    listener: Endpoint | None
    probes: tuple[Probe, ...]
    ruleset_reloaded: bool


@contextmanager
def opened(
    client: "APIClient",
    spec: SandboxSpec,
    host: Host,
    lease: Lease,
    *,
    listening: Listening = nullcontext,
    timed: Callable[[str], object] = lambda _: None,
) -> Iterator[Opened]:
    """Create and start a container, and prove that it is sealed. Raises CannotStart.

    `listening` opens the container's own credential listener, if it has one; `timed` is told each
    step as it ends. The container itself is removed by `lease`, not when this closes.
    """
    with ExitStack() as held:
        changes = held.enter_context(watch.changes())
        engine.ensure_network(client, host.sandbox.subnet, host.paths.runtime)
        ruleset = firewall.ensure_loaded(host.paths.runtime)
        listener = held.enter_context(listening())
        timed("firewall")
        container = engine.create(client, spec)
        timed("create")
        stream = engine.attach(client, container)
        held.callback(stream.close)
        running = engine.start(client, container, spec.name)
        timed("start")
        guard = Guard(running.pid, changes, lambda: firewall.is_unchanged(ruleset))
        held.callback(guard.close)
        terminals.limit(running.pid, host.sandbox.slots)
        _connect(lease, running, listener)
        probes = (
            *confinement.confined(running.pid, host.sandbox.runtime),
            *prove(running, listener.path if listener else None),
        )
        timed("proof")
        yield Opened(
            running=running,
            stream=stream,
            guard=guard,
            listener=listener,
            probes=probes,
            ruleset_reloaded=ruleset.reloaded,
        )


def _connect(lease: Lease, running: Running, listener: Endpoint | None) -> None:
    """Cut the container off from its neighbours, and let it reach its own listener."""
    firewall.isolate(firewall.bridge_port(running.pid))
    firewall.enclose(running.pid, running.gateway)
    if listener:
        listener.allow(running.address)
    firewall.claim(lease.directory, running, listener.port if listener else None)

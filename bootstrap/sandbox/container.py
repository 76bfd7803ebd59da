"""The one opening sequence: from a specification to a container that is proven to be isolated.

Jobs and the commit-on-branch check share it, and with it the ruleset, the proof and the watch:

 1. Subscribe to changes of nftables and of routing rules. First, so that no change falls between
    step 3 and the watch.
 2. Create the engine's network. The routing rule and the address of step 3 need its bridge.
 3. Load the ruleset unless it is loaded. Before the bridge gets a container.
 4. Open the credential listener, if there is one. It binds an address that step 3 has added; its
    port and path are needed in steps 10 and 11.
 5. Create the container.
 6. Attach to its output. Before the start, so that no byte is lost.
 7. Start it. From here there are a pid, an address and namespaces; its entry script waits at the
    start gate. Record its process at once: whoever clears the lease can kill it without the engine.
 8. Watch its process and the ruleset. Before the proof, so that what has been proven cannot change
    unnoticed.
 9. Limit its terminals: its devpts exists only after the start.
10. Isolate its bridge port, load inside.nft, have it send single datagrams, then assign its
    address, which removes what an earlier holder left and maps the address to its own listener. In
    this order, so that it never reaches a listener or a neighbour unrestricted.
11. Prove it: first how its processes are confined, then the probes. Last, because only what is
    complete can be proven.

The caller opens the start gate. If a step fails, those before it are undone in reverse order; the
lease removes the container.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bootstrap.credentials.endpoint import Endpoint
from bootstrap.host.config import Host
from bootstrap.sandbox import confinement, engine, terminals
from bootstrap.sandbox import engine_network as network
from bootstrap.sandbox.leases import first_process
from bootstrap.sandbox.leases.lease import Lease
from bootstrap.sandbox.model import Running, SandboxSpec
from bootstrap.sandbox.network import bridge, datagrams, firewall, watch
from bootstrap.sandbox.proof import Probe, prove
from bootstrap.sandbox.supervision.guard import Guard, Protection

if TYPE_CHECKING:
    import socket

    from docker import APIClient

OpenListener = Callable[[], AbstractContextManager[Endpoint | None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """A proven container that waits at the start gate; `guard` has watched it since step 8."""

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
    listening: OpenListener = nullcontext,
    timed: Callable[[str], object] = lambda _: None,
    report: Callable[[str], object],
) -> Iterator[Opened]:
    """Take the steps above. Raises CannotStart if one fails or if isolation cannot be proven.

    None of the specification's own code has run when this yields. `listening` opens the container's
    credential listener, if it has one; `timed` is called with the name of each step as it ends,
    `report`, from a thread, with what happens to the second protection while the container runs.
    Closing ends the watch and the listener; the lease removes the container.
    """
    with ExitStack() as held:
        sockets = ExitStack()  # until the guard has them
        held.callback(sockets.close)
        changes = sockets.enter_context(watch.changes())
        rule_changes = sockets.enter_context(watch.rule_changes())
        network.ensure(client, host.sandbox.subnet, host.paths.runtime)
        ruleset = firewall.ensure_loaded(host.paths.runtime)
        listener = held.enter_context(listening())
        timed("firewall")
        apparmor = engine.apparmor(client)
        container = engine.create(client, spec, apparmor)
        timed("create")
        stream = engine.attach(client, container)
        held.callback(stream.close)
        running = engine.start(client, container, spec.name)
        timed("start")
        first_process.record(lease.directory, running.pid)
        protection = Protection(
            changes=changes,
            rule_changes=rule_changes,
            is_unchanged=lambda: firewall.is_unchanged(ruleset),
            restore_routing=firewall.restore_routing,
            report=report,
        )
        guard = Guard(running.pid, protection)
        sockets.pop_all()
        held.callback(guard.close)
        terminals.limit(running.pid, host.sandbox.slots)
        _connect(lease, running, listener)
        probes = (
            *confinement.check(running.pid, host.sandbox.runtime, apparmor),
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
    bridge.isolate_port(running.pid)
    bridge.load_inside(running.pid, running.gateway)
    datagrams.separate(running.pid)
    if listener:
        listener.allow(running.address)
    firewall.assign_address(lease.directory, running, listener.port if listener else None)

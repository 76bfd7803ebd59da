"""The one opening sequence: from a specification to a container that is proven to be isolated.

Jobs and the commit-on-branch check share it, and with it the ruleset, the proof and the watch.
`bridged` takes steps 1 to 3, the last two in a thread while the caller prepares what the
specification needs, `created` takes steps 4 and 5, and `opened` the others:

 1. Subscribe to changes of nftables and of routing rules. First, so that no change falls between
    step 3 and the watch.
 2. Create the engine's network. The routing rule and the address of step 3 need its bridge.
 3. Load the ruleset unless it is loaded. Before the bridge gets a container.
 4. Create the container, once steps 2 and 3 have ended: a network that is made anew must have none.
    With a holder (ahead/holder.py) it joins the network namespace of that one; if it cannot be
    started so, it is removed and created anew without.
 5. Attach to its output. Before the start, so that no byte is lost.
 6. Start it. From here there are a pid, an address and namespaces; its entry script waits at the
    start gate. Record its process at once: whoever clears the lease can kill it without the engine.
 7. Watch its process, its holder and the ruleset. Before the proof, so that what has been proven
    cannot change unnoticed.
 8. Limit its terminals: its devpts exists only after the start.
 9. Isolate its bridge port, load inside.nft, have it send single datagrams, then assign its
    address, which removes what an earlier holder left. Then load the table of what the job may
    reach, if its rule has a list. Before anything that takes long: an image decides what waits at
    the start gate.
10. Open the credential listener, if there is one: what it serves is obtained during the steps
    before. It binds an address that step 3 has added. Then map the container's address to it, after
    step 9, so that the container never reaches a listener unrestricted. Then open the gateway to
    the agent API, if there is one, inside its network namespace.
11. Prove it: first how its processes are confined, then the probes. Last, because only what is
    complete can be proven.

The caller opens the start gate. If a step fails, those before it are undone in reverse order; the
lease removes the container.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bootstrap.concurrent import Begun
from bootstrap.credentials.endpoint import Endpoint
from bootstrap.errors import CannotStart
from bootstrap.host.config import Host
from bootstrap.sandbox import confinement, engine, engine_network, terminals
from bootstrap.sandbox.leases import first_process
from bootstrap.sandbox.leases.lease import Lease
from bootstrap.sandbox.model import Holder, Running, SandboxSpec
from bootstrap.sandbox.network import addresses, datagrams, firewall, watch
from bootstrap.sandbox.network import bridge as ports
from bootstrap.sandbox.proof import Probe, passed, prove
from bootstrap.sandbox.supervision.guard import Guard, Protection

if TYPE_CHECKING:
    import socket

    from bootstrap.sandbox.agent_gateway import Inside
    from bootstrap.sandbox.egress.opening import Limited
    from bootstrap.sandbox.engine_client import Client

Adopt = Callable[[], Holder | None]
OpenListener = Callable[[], AbstractContextManager[Endpoint | None]]
OpenGateway = Callable[[Running], AbstractContextManager["Inside | None"]]
OpenEgress = Callable[[Running], AbstractContextManager["Limited | None"]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """A proven container that waits at the start gate; `guard` has watched it since step 8."""

    running: Running
    stream: "socket.socket"  # its output, in frames of the engine
    guard: Guard
    listener: Endpoint | None
    agent_api: "Inside | None"
    probes: tuple[Probe, ...]
    ruleset_reloaded: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Created:
    """A container that is not started; `apparmor` is the profile that it gets, if any.

    `holder` is the one whose network namespace it is to join.
    """

    id: str
    spec: SandboxSpec
    stream: "socket.socket"  # its output, in frames of the engine
    apparmor: str | None
    holder: Holder | None


class Bridge:
    """The bridge of all containers, while steps 2 and 3 are taken, and the watch of its rules."""

    def __init__(self, changes: "socket.socket", rule_changes: "socket.socket", host: Host) -> None:
        self._changes = changes
        self._rule_changes = rule_changes
        self._ready = Begun(partial(_ready, host), "ruleset")

    def ready(self) -> firewall.Ruleset:
        """Wait until the network and the ruleset are as they have to be. Raises as both do."""
        return self._ready.result()

    def protection(self, report: Callable[[str], object]) -> Protection:
        """Return how the guard of a container checks what protects it; the guard closes it."""
        ruleset = self.ready()
        return Protection(
            changes=self._changes.dup(),
            rule_changes=self._rule_changes.dup(),
            is_unchanged=lambda: firewall.is_unchanged(ruleset),
            restore_routing=firewall.restore_routing,
            report=report,
        )


@contextmanager
def bridged(host: Host) -> Iterator[Bridge]:
    """Subscribe to changes and begin steps 2 and 3. One container can be opened on it."""
    with watch.changes() as changes, watch.rule_changes() as rule_changes:
        yield Bridge(changes, rule_changes, host)


def _ready(host: Host) -> firewall.Ruleset:
    with engine.connected(host.sandbox.docker) as client:
        engine_network.ensure(client, host.sandbox.subnet, host.paths.runtime)
    return firewall.ensure_loaded(host.paths.runtime)


@contextmanager
def created(
    client: "Client",
    spec: SandboxSpec,
    bridge: Bridge,
    *,
    adopt: Adopt = lambda: None,
    timed: Callable[[str], object] = lambda _: None,
) -> Iterator[Created]:
    """Take steps 4 and 5. `timed` is called with the name of each step as it ends.

    `adopt` returns a holder for it, or None.
    """
    apparmor = engine.apparmor(client)
    ruleset = bridge.ready()
    timed("firewall")
    # Who has changed the ruleset may have changed more: then nothing that was made before is used.
    holder = None if ruleset.reloaded else adopt()
    with _created(client, spec, apparmor, holder) as made:
        timed("create")
        yield made


@contextmanager
def _created(
    client: "Client", spec: SandboxSpec, apparmor: str | None, holder: Holder | None
) -> Iterator[Created]:
    container = engine.create(client, spec, apparmor, holder)
    with engine.attach(client, container) as stream:
        yield Created(id=container, spec=spec, stream=stream, apparmor=apparmor, holder=holder)


@contextmanager
def opened(
    client: "Client",
    container: Created,
    host: Host,
    lease: Lease,
    bridge: Bridge,
    *,
    listening: OpenListener = nullcontext,
    gateway: OpenGateway = lambda _: nullcontext(),
    egress: OpenEgress = lambda _: nullcontext(),
    timed: Callable[[str], object] = lambda _: None,
    report: Callable[[str], object],
) -> Iterator[Opened]:
    """Take the other steps. Raises CannotStart if one fails or if isolation cannot be proven.

    None of the specification's own code has run when this yields. `listening` opens the container's
    credential listener, if it has one; `report` is called, from a thread, with what happens to the
    second protection while the container runs. Closing ends the watch and the listener; the lease
    removes the container.
    """
    with ExitStack() as held:
        container, running = _started(client, container, held)
        timed("start")
        first_process.record(lease.directory, running.pid)
        guard = Guard(running.pid, bridge.protection(report), running.holder)
        held.callback(guard.close)
        terminals.limit(running.pid, host.sandbox.slots)
        _separate(lease, running)
        limited = held.enter_context(egress(running))
        listener = held.enter_context(listening())
        timed("session")
        if listener:
            listener.allow(running.address)
            firewall.assign_address(lease.directory, running, listener.port)
        agent_api = held.enter_context(gateway(running))
        probes = (
            *confinement.check(running.pid, container.spec.runtime, container.apparmor),
            *prove(running, listener.path if listener else None),
            *passed([agent_api.probe] if agent_api else []),
            *passed(limited.prove() if limited else []),
        )
        timed("proof")
        yield Opened(
            running=running,
            stream=container.stream,
            guard=guard,
            listener=listener,
            agent_api=agent_api,
            probes=probes,
            ruleset_reloaded=bridge.ready().reloaded,
        )


def _started(client: "Client", container: Created, held: ExitStack) -> tuple[Created, Running]:
    """Start it; with a holder that cannot be joined, start another one in its place without."""
    name, holder = container.spec.name, container.holder
    if holder is None:
        return container, engine.start(client, container.id, name)
    with suppress(CannotStart, OSError):
        running = engine.start(client, container.id, name, holder)
        if addresses.namespace(running.pid) == addresses.namespace(holder.pid) == holder.namespace:
            return container, running
    engine.remove(client, name)
    again = held.enter_context(_created(client, container.spec, container.apparmor, None))
    return again, engine.start(client, again.id, name)


def _separate(lease: Lease, running: Running) -> None:
    """Cut the container off from its neighbours and from what its address led to before.

    With a holder all but the last has been done when that was made, and looked at again when it
    was adopted.
    """
    if running.holder is None:
        ports.isolate_port(running.pid)
        ports.load_inside(running.pid, running.gateway)
        datagrams.separate(running.pid)
    firewall.assign_address(lease.directory, running, None)

"""The network of one replay: made, restricted and proven before anything of the image runs in it.

In this order, because each needs those before it:

1. A network of the engine's for this replay alone.
2. The holder's container, which is the only one on it (launcher/holder.c).
3. The ruleset in the holder's network namespace (rules.py).
4. Listeners there, for the agent API and for credentials. Their sockets are this process's.
5. The proof: from there, try what must not work (proof.py).
6. The holder gives up its capabilities. From here nothing can change the namespace but root.

The job's container joins the namespace after that.
"""

import socket
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.errors import WrongConfiguration
from bootstrap.host.config import Sandbox
from bootstrap.replay import proof, rules
from bootstrap.replay.holder import Control, Holder, explained
from bootstrap.replay.holder_plan import holder_body
from bootstrap.replay.place import Place
from bootstrap.sandbox import confinement, engine
from bootstrap.sandbox.model import Holder as Joined
from bootstrap.sandbox.model import Image, Mount
from bootstrap.sandbox.network import netlink, routing
from bootstrap.sandbox.network.firewall import ENDPOINT_ADDRESS
from bootstrap.sandbox.plan import holder_spec
from bootstrap.sandbox.proof import ENGINE_RESOLVER, Probe

if TYPE_CHECKING:
    from bootstrap.sandbox.engine_client import Client

API_ADDRESS = IPv4Address("127.0.0.1")
API_PORT = 3139
API_URL = f"http://{API_ADDRESS}:{API_PORT}"
# What agent-config/airlock.nft refuses on hosts.
METADATA = ("169.254.0.0/16", "168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32")
_PROGRAM = "airlock-holder"
INSIDE = Path("/airlock/holder")
_CONTROL = Path("/airlock/control")


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """A proven network that waits for the job's container. The listeners are the caller's."""

    joined: Joined
    api: socket.socket
    credentials: socket.socket | None
    probes: tuple[Probe, ...]


@contextmanager
def opened(
    client: "Client", image: Image, settings: Sandbox, place: Place, *, credentials: bool
) -> Iterator[Network]:
    """Take the steps. Raises CannotStart, also if the network cannot be proven.

    The caller removes what is made in the engine. When this closes, the holder ends.
    """
    with ExitStack() as held:
        _create(client, place)
        control = held.enter_context(closing(Control(place.directory / "control")))
        container = _create_holder(client, image, settings, control, place)
        joined = _started(client, container, place, image, settings)
        with explained("set it up"):
            holder = held.enter_context(control.connected())
            _restrict(holder, joined, _refused(client, place))
            api = held.enter_context(holder.listener(API_ADDRESS, API_PORT))
            endpoint = held.enter_context(_endpoint(holder)) if credentials else None
        probes = proof.prove(holder, joined.gateway, own_addresses(), endpoint=credentials)
        with explained("give up its capabilities"):
            namespace = holder.namespace()
            holder.seal()
        yield Network(
            joined=replace(joined, namespace=namespace),
            api=api,
            credentials=endpoint,
            probes=probes,
        )


def program() -> Path:
    """Return the holder's program: beside `airlock`, or built in a checkout of this repository."""
    installed = Path(sysconfig.get_path("scripts"), _PROGRAM)
    built = Path(__file__).parents[2] / "build" / _PROGRAM
    for path in (built, installed):
        if path.is_file():
            return path
    raise WrongConfiguration(
        f"{_PROGRAM} is not installed: it is neither {installed} nor {built}",
        hint="It comes with the package; in a checkout of the repository run `make holder`.",
    )


def _create(client: "Client", place: Place) -> None:
    with engine.explained("create the network of a replay"):
        client.post(
            "/networks/create",
            {
                "Name": place.name,
                "Driver": "bridge",
                "CheckDuplicate": True,
                "EnableIPv6": False,
                "Labels": dict(place.labels),
                "Options": {"com.docker.network.bridge.enable_icc": "false"},
            },
        )


def _create_holder(
    client: "Client", image: Image, settings: Sandbox, control: Control, place: Place
) -> str:
    spec = replace(
        holder_spec(settings, token=place.token, image=image),
        name=f"{place.name}-network",
        labels=place.labels,
        mounts=(
            Mount(source=program(), target=INSIDE),
            Mount(source=control.path, target=_CONTROL),
        ),
    )
    body = holder_body(
        spec, confinement.profile(), engine.apparmor(client), network=place.name,
        command=(str(INSIDE), str(_CONTROL)),
    )  # fmt: skip
    return engine.create_container(client, spec, body)


def _started(
    client: "Client", container: str, place: Place, image: Image, settings: Sandbox
) -> Joined:
    with engine.explained("start the holder of a replay's network"):
        client.post(f"/containers/{container}/start")
        state = client.get(f"/containers/{container}/json")
    network = state["NetworkSettings"]["Networks"][place.name]
    return Joined(
        container=container, pid=state["State"]["Pid"], namespace=0, address=network["IPAddress"],
        gateway=network["Gateway"], runtime=settings.runtime, image=image.id,
    )  # fmt: skip


def _restrict(holder: Holder, joined: Joined, refused: Iterable[IPv4Network]) -> None:
    kernel = holder.kernel(netlink.NETFILTER)
    content, number = rules.batch(
        always=(IPv4Address(ENGINE_RESOLVER),),
        refused=refused,
        gateway=IPv4Address(joined.gateway),
    )
    kernel.send(content)
    netlink.acknowledged(kernel, number)


def _refused(client: "Client", place: Place) -> tuple[IPv4Network, ...]:
    """Return where a job may not get: metadata, this machine, and the engine's other networks."""
    with engine.explained("list its networks"):
        found = client.get("/networks")
    pools = [
        pool.get("Subnet", "")
        for network in found
        if network["Name"] != place.name
        for pool in network["IPAM"]["Config"] or ()
    ]
    others = [subnet for subnet in pools if subnet and ":" not in subnet]
    return tuple(dict.fromkeys(map(IPv4Network, (*METADATA, *map(str, own_addresses()), *others))))


def own_addresses() -> tuple[IPv4Address, ...]:
    """Return the addresses of this machine, but for loopback. Raises CannotStart."""
    with netlink.explained("list its addresses"), netlink.connected(netlink.ROUTE) as kernel:
        found = routing.addresses_of(kernel)
    return tuple(sorted(address for address in found if not address.is_loopback))


def _endpoint(holder: Holder) -> socket.socket:
    kernel = holder.kernel(netlink.ROUTE)
    address = IPv4Address(ENDPOINT_ADDRESS)
    routing.add_address(kernel, routing.link(kernel, "lo").index, address)
    return holder.listener(address, 80)

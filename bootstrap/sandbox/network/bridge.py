"""One container's port of the bridge, and the rules in its own network namespace."""

import socket
from ipaddress import IPv4Address

from bootstrap import packaged
from bootstrap.errors import CannotStart
from bootstrap.sandbox.network import netlink, nftables, routing
from bootstrap.sandbox.network.firewall import BRIDGE
from bootstrap.sandbox.network.namespaces import in_network_of

INTERFACE = "eth0"  # of a container, in its own namespace


def load_inside(container_pid: int, gateway: str) -> None:
    """Load inside.nft into the container's network namespace: it sends to the gateway only.

    Raises CannotStart.
    """
    rules = packaged.text("bootstrap.sandbox.network", "inside.nft")
    text = f"define gateway = {IPv4Address(gateway)}\n{rules}"
    nftables.load(text, inside=container_pid)


def isolate_port(container_pid: int) -> None:
    """Keep the container's port of the bridge from reaching the others, at layer 2.

    The port is the host's end of the container's interface. Raises CannotStart.
    """
    with netlink.explained("isolate the container's port of the bridge"):
        outside = in_network_of(container_pid, _other_end)
        with netlink.connected(netlink.ROUTE) as kernel:
            if outside is None or not _is_port(kernel, outside):
                raise CannotStart(
                    f"the container's interface is not a port of {BRIDGE}",
                    hint="Another program moved it while the job was starting; see `ip link`.",
                )
            routing.isolate(kernel, outside)


def _other_end() -> int | None:
    with netlink.connected(netlink.ROUTE) as kernel:
        return routing.link(kernel, INTERFACE).peer


def _is_port(kernel: socket.socket, device: int) -> bool:
    try:
        master = routing.link(kernel, device).master
    except OSError:  # there is no such device here
        return False
    return master is not None and master == socket.if_nametoindex(BRIDGE)

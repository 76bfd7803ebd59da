"""One container's port of the bridge, and the rules in its own network namespace."""

import json
from ipaddress import IPv4Address

from bootstrap import packaged, process
from bootstrap.errors import CannotStart
from bootstrap.sandbox.network.firewall import BRIDGE


def load_inside(container_pid: int, gateway: str) -> None:
    """Load inside.nft into the container's network namespace: it sends to the gateway only.

    Raises CannotStart.
    """
    rules = packaged.text("bootstrap.sandbox.network", "inside.nft")
    process.run(
        ["nsenter", "--target", str(container_pid), "--net", "nft", "-f", "-"],
        stdin=f"define gateway = {IPv4Address(gateway)}\n{rules}",
    )


def isolate_port(port: str) -> None:
    """Keep one port of the bridge from reaching the others, at layer 2. Raises CannotStart."""
    process.run(["ip", "link", "set", "dev", port, "type", "bridge_slave", "isolated", "on"])


def bridge_port(container_pid: int) -> str:
    """Return the name of the host's end of the container's interface. Raises CannotStart."""
    inside = process.run(
        ["nsenter", "--target", str(container_pid), "--net", "ip", "-j", "link", "show", "eth0"]
    )
    index = json.loads(inside)[0]["link_index"]
    for link in json.loads(process.run(["ip", "-j", "link", "show", "master", BRIDGE])):
        if link["ifindex"] == index:
            return str(link["ifname"])
    raise CannotStart(
        f"the container's interface is not a port of {BRIDGE}",
        hint="Another program moved it while the job was starting; see `ip link`.",
    )

"""The engine's network of all containers: as airlock.toml says, and made again if that changes.

A change of `sandbox.subnet` takes effect with the first job that finds no container on the network.
Nothing of the old subnet stays: addresses count only while their containers run, and the address of
the credential endpoint is put on the bridge again by `firewall.ensure_loaded`, which comes next.
"""

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from bootstrap.errors import CannotStart, WrongConfiguration
from bootstrap.host.lock import locked
from bootstrap.sandbox.ahead import making
from bootstrap.sandbox.engine import explained
from bootstrap.sandbox.engine_client import Client
from bootstrap.sandbox.network import netlink, routing
from bootstrap.sandbox.network.firewall import BRIDGE
from bootstrap.sandbox.plan import HOLDER_LABEL, LABEL, NETWORK
from bootstrap.text import printable

# Routes to larger networks are no claim to an address: VPNs split the default route in halves.
SHORTEST = 8
_BRIDGE_OPTION = "com.docker.network.bridge.name"


def ensure(client: Client, subnet: IPv4Network, runtime: Path) -> None:
    """Create the network behind the ruleset's bridge unless it exists.

    Raises WrongConfiguration if another network of this host has addresses of the subnet,
    CannotStart if a network of that name is not Airlock's, or if it has another subnet and
    containers that use it.
    """
    require_free(subnet, routes())
    with explained(f"set up the network {NETWORK}"):
        if _is_as_wanted(client, subnet):
            return
        making.retire_all(client, runtime)
        with locked(runtime / "network.lock"):
            if _is_as_wanted(client, subnet):
                return  # another job has created it
            found = _network(client)
            if found is not None:
                _require_unused(client, found, subnet)
                client.delete(f"/networks/{found['Id']}")
            _create(client, subnet)


def _network(client: Client) -> dict[str, Any] | None:
    """Return the network. Raises CannotStart if it is not the one that Airlock creates."""
    found = client.get("/networks", filters={"name": [f"^{NETWORK}$"]})
    if not found:
        return None
    if (
        len(found) > 1
        or found[0]["Options"].get(_BRIDGE_OPTION) != BRIDGE
        or found[0]["EnableIPv6"]
    ):
        raise CannotStart(
            f"the Docker network {NETWORK} is not the one that Airlock creates: expected "
            f"the bridge {BRIDGE} without IPv6",
            hint=f"Remove it (`docker network rm {NETWORK}`); the next job creates it.",
        )
    return dict(found[0])


def _is_as_wanted(client: Client, subnet: IPv4Network) -> bool:
    found = _network(client)
    return found is not None and _subnets(found) == [str(subnet)]


def subnets(client: Client) -> tuple[str, ...] | None:
    """Return the subnets of the network, None if there is no network yet.

    Raises CannotStart if it is not the one that Airlock creates.
    """
    with explained(f"find the network {NETWORK}"):
        found = _network(client)
    return None if found is None else tuple(_subnets(found))


def _subnets(network: Mapping[str, Any]) -> list[str]:
    return [str(pool.get("Subnet")) for pool in network["IPAM"]["Config"] or ()]


def _require_unused(client: Client, found: Mapping[str, Any], subnet: IPv4Network) -> None:
    """Raise CannotStart that names the containers on the network, even those that are not started.

    The engine would remove a network under the latter.
    """
    using = client.get("/containers/json", all=True, filters={"network": [NETWORK]})
    if not using:
        return
    raise CannotStart(
        f"the Docker network {NETWORK} has the subnet {' and '.join(_subnets(found))}, expected "
        f"{subnet} (sandbox.subnet in airlock.toml), and containers use it",
        hint="The first job that finds none of them creates the network with the new subnet: wait "
        "for these jobs, or remove what is left of them with `airlock gc`.",
        details=tuple(_named(container) for container in using),
    )


def _named(container: Mapping[str, Any]) -> str:
    labels = container["Labels"] or {}
    if HOLDER_LABEL in labels:
        return f"prepared network {labels[HOLDER_LABEL]}, which a job uses or `airlock gc` removes"
    if LABEL not in labels:
        return f"container {container['Names'][0].removeprefix('/')}, which is not Airlock's"
    pipeline = printable(labels.get("airlock.pipeline", "?"))
    return f"job {labels.get('airlock.job-id', labels[LABEL])} of {pipeline}"


def _create(client: Client, subnet: IPv4Network) -> None:
    client.post(
        "/networks/create",
        {
            "Name": NETWORK,
            "Driver": "bridge",
            "CheckDuplicate": True,
            "EnableIPv6": False,
            "IPAM": {"Driver": "default", "Config": [{"Subnet": str(subnet)}]},
            "Options": {
                _BRIDGE_OPTION: BRIDGE,
                "com.docker.network.bridge.enable_icc": "false",
            },
        },
    )


def routes() -> list[Mapping[str, Any]]:
    """Return the routes of this host, as `require_free` takes them. Raises CannotStart."""
    with netlink.explained("list its routes"), netlink.connected(netlink.ROUTE) as kernel:
        return list(routing.routes(kernel))


def require_free(subnet: IPv4Network, routes: Iterable[Mapping[str, Any]]) -> None:
    """Raise WrongConfiguration if a route or an address of another device overlaps the subnet."""
    for route in routes:
        hops = route.get("nexthops") or [route]
        target, device = str(route.get("dst", "default")), hops[0].get("dev")
        if target == "default" or device in (None, BRIDGE):
            continue
        network = IPv4Network(target)
        if network.prefixlen >= SHORTEST and network.overlaps(subnet):
            what = "address" if route.get("type") == "local" else "route"
            raise WrongConfiguration(
                f"sandbox.subnet {subnet} overlaps with {network}: this host has that {what} on "
                f"the device {device}",
                hint="Choose another sandbox.subnet in airlock.toml, which neither this host nor "
                "jobs need to reach.",
            )

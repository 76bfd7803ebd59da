"""The host's network: Airlock's ruleset and rules, what collides with them, and resolvers."""

import configparser
import errno
import os
import socket
from collections.abc import Iterator
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path

from bootstrap.doctor.model import Read, known
from bootstrap.doctor.read import nat
from bootstrap.doctor.read.places import Places
from bootstrap.doctor.read.reading import read, text
from bootstrap.doctor.snapshot import Engine, Network
from bootstrap.host.config import Host
from bootstrap.sandbox import engine, engine_network
from bootstrap.sandbox.network import (
    firewall,
    netlink,
    nftables,
    resolvers,
    routing,
    second_layer,
)

ECS_PORT = 51679  # where an ECS agent serves the credentials of tasks
_LISTEN = "0A"  # of /proc/net/tcp
_STATE_OF_NETWORKD = Path("/run/systemd/netif/state")


def network(host: Read[Host], docker: Read[Engine], places: Places) -> Network:
    """Return the network of this host; some of it only root can read."""
    ruleset = read(_ruleset)
    return Network(
        ruleset=ruleset,
        loaded=read(partial(_loaded, ruleset)),
        missing_rules=read(partial(second_layer.missing_rules, firewall.BRIDGE)),
        has_bridge=Path("/sys/class/net", firewall.BRIDGE).exists(),
        bridge_ipv6=read(_bridge_ipv6),
        subnet=read(partial(_subnet, host)),
        docker_network=read(partial(_docker_network, host, docker)),
        resolv_conf=read(lambda: resolvers.resolv_conf(known(host).sandbox.dns)),
        networkd=read(partial(_networkd, places)),
        ecs=read(lambda: tuple(_ecs())),
        led_elsewhere=read(nat.led_elsewhere),
    )


def _ruleset() -> str:
    """Return what the kernel prints for Airlock's ruleset. Raises as `firewall.as_loaded`."""
    if os.geteuid() != 0:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), "nft")
    return firewall.as_loaded()


def _loaded(ruleset: Read[str]) -> str:
    """Return the listing of the table, or `ruleset` itself if the host's code finds it equal."""
    if isinstance(ruleset, str) and firewall.is_loaded(ruleset):
        return ruleset
    return nftables.listed(firewall.TABLE)


def _bridge_ipv6() -> tuple[str, ...]:
    """Return the IPv6 addresses of the bridge, without link-local ones (proc(5), if_inet6)."""
    try:
        lines = text(Path("/proc/net/if_inet6")).splitlines()
    except FileNotFoundError:
        return ()
    fields = (line.split() for line in lines)
    return tuple(
        socket.inet_ntop(socket.AF_INET6, bytes.fromhex(found[0]))
        for found in fields
        if len(found) == 6 and found[5] == firewall.BRIDGE and not found[0].startswith("fe80")
    )


def _subnet(host: Read[Host]) -> None:
    engine_network.require_free(known(host).sandbox.subnet, engine_network.routes())


def _docker_network(host: Read[Host], docker: Read[Engine]) -> tuple[str, ...] | None:
    known(docker)
    with engine.connected(known(host).sandbox.docker, timeout=10) as client:
        return engine_network.subnets(client)


def _networkd(places: Places) -> bool | None:
    if not _STATE_OF_NETWORKD.exists():
        return None
    return leaves_rules_alone(_configurations(places.networkd))


def _configurations(path: Path) -> Iterator[str]:
    """Yield the configuration, then what is beside it, in the order in which it counts."""
    drop_ins = Path(f"{path}.d")
    for one in (path, *(sorted(drop_ins.glob("*.conf")) if drop_ins.is_dir() else ())):
        if one.is_file():
            yield text(one)


def leaves_rules_alone(configurations: Iterator[str]) -> bool:
    """Return whether networkd keeps routing rules that it has not made (networkd.conf(5))."""
    value = "yes"
    for content in configurations:
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        parser.read_string(content)
        value = parser.get("Network", "ManageForeignRoutingPolicyRules", fallback=value)
    return value.strip().lower() in {"no", "false", "off", "0"}


def _ecs() -> Iterator[str]:
    """Yield what shows that an ECS agent, or another program, has the endpoint's address."""
    address = IPv4Address(firewall.ENDPOINT_ADDRESS)
    with netlink.connected(netlink.ROUTE) as kernel:
        for index, name in socket.if_nameindex():
            if name != firewall.BRIDGE and address in routing.addresses_of(kernel, index):
                yield f"the device {name} has the address {address}"
    if ECS_PORT in set(listening(text(Path("/proc/net/tcp")))):
        yield f"a program listens on port {ECS_PORT}, as the ECS agent does"


def listening(table: str) -> Iterator[int]:
    """Yield the ports on which somebody listens, of /proc/net/tcp."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 3 and fields[3] == _LISTEN:
            yield int(fields[1].rpartition(":")[2], 16)

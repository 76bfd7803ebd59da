"""The second protection of the metadata address: routing rules, which do not need nftables."""

import socket
from collections.abc import Iterator
from functools import partial
from ipaddress import IPv4Network

from bootstrap.sandbox.network import ipv6, netlink, routing

# After `local` (0), so our own listener stays reachable; before every table with a default route.
PREFERENCE = 1690
METADATA = IPv4Network("169.254.0.0/16")


def ensure_rules(bridge: str, timeout: float = netlink.PATIENCE) -> bool:
    """Refuse the metadata range by routing too: that holds if nftables is flushed.

    A kernel without IPv6 has no rules of it, and needs none. Returns whether a rule was missing. It
    takes no lock: the watch of a job must not wait for one. Raises CannotStart.
    """
    with (
        netlink.explained(f"refuse the metadata range on {bridge} (`ip rule`)"),
        netlink.connected(netlink.ROUTE, timeout) as kernel,
    ):
        missing = [rule for rule in _rules(bridge) if not routing.has_rule(kernel, rule)]
        for rule in missing:
            _add(kernel, rule)
    return bool(missing)


def missing_rules(bridge: str) -> tuple[str, ...]:
    """Return the families, "IPv4" and "IPv6", whose rule is missing now. Raises CannotStart."""
    with (
        netlink.explained("list its routing rules"),
        netlink.connected(netlink.ROUTE) as kernel,
    ):
        return tuple(
            "IPv4" if rule.family is socket.AF_INET else "IPv6"
            for rule in _rules(bridge)
            if not routing.has_rule(kernel, rule)
        )


def _rules(bridge: str) -> Iterator[routing.Prohibition]:
    of_bridge = partial(routing.Prohibition, device=bridge, preference=PREFERENCE)
    yield of_bridge(family=socket.AF_INET, target=METADATA)
    if ipv6.is_supported():
        yield of_bridge(family=socket.AF_INET6)


def _add(kernel: socket.socket, rule: routing.Prohibition) -> None:
    try:
        routing.add_rule(kernel, rule)
    except OSError:
        if not routing.has_rule(kernel, rule):  # else another job has added it meanwhile
            raise

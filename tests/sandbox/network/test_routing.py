"""Routing rules, addresses, links and routes, compared with what iproute2 makes and shows."""

import os
import socket
from ipaddress import IPv4Address, IPv4Network

import pytest

from bootstrap.sandbox.network import netlink, routing
from tests.sandbox.network.namespace import in_a_new_namespace, run, shown

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root")

METADATA = IPv4Network("169.254.0.0/16")
V4 = routing.Prohibition(family=socket.AF_INET, device="br0", preference=1690, target=METADATA)
V6 = routing.Prohibition(family=socket.AF_INET6, device="br0", preference=1690)
BRIDGE = "link add br0 type bridge\n"


def prepared(*commands: str) -> socket.socket:
    run("ip -batch -", BRIDGE + "\n".join(commands))
    return netlink.connected(netlink.ROUTE)


@pytest.mark.parametrize(("rule", "option"), [(V4, "-4"), (V6, "-6")])
def test_added_rule_is_the_one_that_ip_adds(rule: routing.Prohibition, option: str) -> None:
    to = "to 169.254.0.0/16 " if rule.target else ""

    def work() -> tuple[bool, bool, str, str]:
        with prepared() as kernel:
            before = routing.has_rule(kernel, rule)
            routing.add_rule(kernel, rule)
            ours = run(f"ip {option} -d rule show pref 1690")
            after = routing.has_rule(kernel, rule)
            run(f"ip {option} rule del pref 1690")
            run(f"ip {option} rule add pref 1690 iif br0 {to}prohibit")
            theirs = run(f"ip {option} -d rule show pref 1690")
            return before, after and routing.has_rule(kernel, rule), ours, theirs

    before, after, ours, theirs = in_a_new_namespace(work)
    assert (before, after) == (False, True)
    assert ours == theirs


@pytest.mark.parametrize(
    "other",
    [
        "pref 1690 iif br0 to 169.254.0.0/16 blackhole",
        "pref 1690 iif br0 to 169.254.0.0/16 lookup main",
        "pref 1690 iif br0 to 169.254.0.0/17 prohibit",
        "pref 1690 iif br0 to 169.253.0.0/16 prohibit",
        "pref 1690 iif br0 prohibit",
        "pref 1691 iif br0 to 169.254.0.0/16 prohibit",
        "pref 1690 iif lo to 169.254.0.0/16 prohibit",
        "pref 1690 to 169.254.0.0/16 prohibit",
        "pref 1690 iif br0 oif lo to 169.254.0.0/16 prohibit",
        "pref 1690 not iif br0 to 169.254.0.0/16 prohibit",
        "pref 1690 from 10.0.0.0/8 iif br0 to 169.254.0.0/16 prohibit",
        "pref 1690 iif br0 to 169.254.0.0/16 tos 0x10 prohibit",
        "pref 1690 iif br0 to 169.254.0.0/16 fwmark 1 prohibit",
        "pref 1690 iif br0 to 169.254.0.0/16 uidrange 5-6 prohibit",
        "pref 1690 iif br0 to 169.254.0.0/16 ipproto tcp prohibit",
        "pref 1690 iif br0 to 169.254.0.0/16 dport 80 prohibit",
        "pref 1690 iif absent to 169.254.0.0/16 prohibit",
    ],
)
def test_rule_with_another_meaning_is_another_rule(other: str) -> None:
    def work() -> tuple[bool, str]:
        with prepared(f"rule add {other}") as kernel:
            return routing.has_rule(kernel, V4), run("ip rule show")

    found, listed = in_a_new_namespace(work)
    assert not found
    assert "169" in listed


def test_rule_that_exists_is_not_added_again() -> None:
    def work() -> None:
        with prepared() as kernel:
            routing.add_rule(kernel, V4)
            routing.add_rule(kernel, V4)

    with pytest.raises(FileExistsError):
        in_a_new_namespace(work)


def test_added_address_is_the_one_that_ip_adds() -> None:
    def work() -> tuple[frozenset[IPv4Address], list[object]]:
        other = "addr add 169.254.170.3/32 dev br0"
        with prepared(other, "addr add 10.9.9.9/24 dev lo") as kernel:
            bridge = socket.if_nametoindex("br0")
            routing.add_address(kernel, bridge, IPv4Address("169.254.170.2"))
            ours = routing.addresses_of(kernel, bridge)
            (link,) = shown("ip -j -4 addr show dev br0")
            kept = ("prefixlen", "scope", "label", "valid_life_time", "broadcast")
            return ours, [{name: one.get(name) for name in kept} for one in link["addr_info"]]

    addresses, (first, second) = in_a_new_namespace(work)
    assert addresses == {IPv4Address("169.254.170.2"), IPv4Address("169.254.170.3")}
    assert first == second


def test_isolated_port_is_the_one_that_was_meant() -> None:
    def work() -> tuple[dict[str, object], routing.Link, tuple[int, int]]:
        ports = [
            line
            for name in ("p1", "p2")
            for line in (f"link add {name} type veth peer name {name}-inside",
                         f"link set {name} master br0")
        ]  # fmt: skip
        with prepared(*ports) as kernel:
            inside = routing.link(kernel, "p2-inside")
            assert inside.peer is not None
            outside = routing.link(kernel, inside.peer)
            routing.isolate(kernel, outside.index)
            links = shown("ip -j -d link show type bridge_slave")
            isolated = {
                link["ifname"]: link["linkinfo"]["info_slave_data"]["isolated"]
                for link in links
                if link
            }
            return isolated, outside, (socket.if_nametoindex("p2"), socket.if_nametoindex("br0"))

    isolated, outside, (port, bridge) = in_a_new_namespace(work)
    assert isolated == {"p1": False, "p2": True}
    assert (outside.index, outside.master) == (port, bridge)


def test_routes_are_those_that_ip_shows() -> None:
    commands = (
        "link add d1 type bridge", "link add d2 type bridge", "link set d1 up", "link set d2 up",
        "addr add 198.18.0.7/24 dev d1", "addr add 10.1.0.1/16 dev d2",
        "route add default via 198.18.0.1",
        "route add 172.20.0.0/16 via 10.1.0.9 table 77",
        "route add 172.21.0.0/16 nexthop via 198.18.0.2 dev d1 nexthop via 10.1.0.3 dev d2",
        "route add unreachable 192.0.2.0/24", "route add 203.0.113.5 dev d2",
    )  # fmt: skip

    def work() -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
        with prepared(*commands) as kernel:
            ours = [(r["dst"], r.get("dev"), r["type"]) for r in routing.routes(kernel)]
        theirs: list[tuple[object, ...]] = []
        for route in shown("ip -j -4 route show table all"):
            device = (route.get("nexthops") or [route])[0].get("dev")
            target = route["dst"]
            if target != "default":
                target = str(IPv4Network(target))
            kind = "local" if route.get("type") == "local" else "other"
            theirs.append((target, device, kind))
        return sorted(ours, key=str), sorted(theirs, key=str)

    ours, theirs = in_a_new_namespace(work)
    assert ours == theirs
    assert ("172.21.0.0/16", "d1", "other") in ours
    assert ("198.18.0.7/32", "d1", "local") in ours


@pytest.mark.parametrize(("address", "local"), [("10.1.0.1", True), ("10.1.0.2", False)])
def test_address_of_this_host_is_local(address: str, local: bool) -> None:  # noqa: FBT001
    def work() -> bool:
        commands = ("link add d2 type bridge", "link set d2 up", "addr add 10.1.0.1/16 dev d2")
        with prepared(*commands) as kernel:
            return routing.is_local(kernel, IPv4Address(address))

    assert in_a_new_namespace(work) is local


def test_address_without_route_is_an_error() -> None:
    def work() -> bool:
        with prepared() as kernel:
            return routing.is_local(kernel, IPv4Address("10.1.0.1"))

    with pytest.raises(OSError, match="unreachable"):
        in_a_new_namespace(work)

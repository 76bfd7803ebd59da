"""Elements of table inet airlock, compared with what nft makes and shows."""

import os
import socket
import struct
from collections.abc import Callable
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.sandbox.network import elements, firewall, netlink
from bootstrap.sandbox.network.elements import Mapping
from tests.sandbox.network.namespace import T, in_a_new_namespace, run, shown

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root")

HOST = IPv4Address("169.254.170.2")
# Counts what the loopback's address sends to port 9 as refused.
COUNTING = """
add chain inet airlock test { type filter hook input priority 0; }
add rule inet airlock test udp dport 9 update @refused { ip saddr counter } drop
"""


def mapping(address: str, port: int) -> Mapping:
    return Mapping(address=IPv4Address(address), host=HOST, port=port)


def change(*, delete: Mapping | None = None, create: Mapping | None = None) -> None:
    with netlink.connected(netlink.NETFILTER) as kernel:
        elements.change(kernel, delete=delete, create=create)


def listeners() -> tuple[Mapping, ...]:
    with netlink.connected(netlink.NETFILTER) as kernel:
        return elements.listeners(kernel)


def with_ruleset(work: Callable[[], T], more: str = "") -> T:
    def prepared() -> T:
        run("nft -f -", firewall.ruleset_text() + more)
        return work()

    return in_a_new_namespace(prepared)


def listed_by_nft() -> dict[str, int]:
    listed = shown("nft -j list map inet airlock credentials")["nftables"][1]["map"]
    return {key: value["concat"][1] for key, value in listed.get("elem", [])}


@needs_root
def test_created_element_is_the_one_that_nft_shows() -> None:
    def work() -> tuple[dict[str, int], tuple[Mapping, ...], dict[str, int]]:
        change(create=mapping("10.0.0.7", 40001))
        change(create=mapping("10.0.0.8", 65535))
        created, read = listed_by_nft(), listeners()
        change(delete=mapping("10.0.0.7", 40001), create=mapping("10.0.0.9", 1))
        return created, read, listed_by_nft()

    created, read, changed = with_ruleset(work)
    assert created == {"10.0.0.7": 40001, "10.0.0.8": 65535}
    assert set(read) == {mapping("10.0.0.7", 40001), mapping("10.0.0.8", 65535)}
    assert changed == {"10.0.0.8": 65535, "10.0.0.9": 1}


@needs_root
def test_elements_of_nft_are_read() -> None:
    lines = "".join(
        f"add element inet airlock credentials {{ 10.0.{n // 250}.{n % 250} : {HOST} . {n + 1} }}\n"
        for n in range(2000)
    )
    found = with_ruleset(listeners, "\n" + lines)
    assert sorted(one.port for one in found) == list(range(1, 2001))
    assert {one.host for one in found} == {HOST}


@needs_root
def test_change_takes_effect_as_a_whole_or_not_at_all() -> None:
    def work() -> dict[str, int]:
        change(create=mapping("10.0.0.7", 1))
        with pytest.raises(FileExistsError):
            change(create=mapping("10.0.0.7", 2))
        with pytest.raises(FileNotFoundError):
            change(delete=mapping("10.0.0.8", 1), create=mapping("10.0.0.9", 1))
        change()
        return listed_by_nft()

    assert with_ruleset(work) == {"10.0.0.7": 1}


@needs_root
def test_listener_of_an_address_is_replaced_at_once() -> None:
    def work() -> dict[str, int]:
        change(create=mapping("10.0.0.7", 1))
        change(delete=mapping("10.0.0.7", 1), create=mapping("10.0.0.7", 2))
        return listed_by_nft()

    assert with_ruleset(work) == {"10.0.0.7": 2}


@needs_root
def test_without_table_there_are_no_listeners_and_none_is_created() -> None:
    def work() -> tuple[tuple[Mapping, ...], int]:
        with pytest.raises(FileNotFoundError):
            change(create=mapping("10.0.0.7", 1))
        return listeners(), firewall.refusals("10.0.0.7")

    assert in_a_new_namespace(work) == ((), 0)


@needs_root
@pytest.mark.parametrize("number", [0, 1, 300])
def test_refusals_are_those_of_the_address(number: int) -> None:
    def work() -> list[int]:
        for source, count in (("127.0.0.2", number), ("127.0.0.3", 5)):
            with socket.socket(type=socket.SOCK_DGRAM) as sender:
                sender.bind((source, 0))
                for _ in range(count):
                    sender.sendto(b"x", ("127.0.0.1", 9))
        return [firewall.refusals(f"127.0.0.{last}") for last in (2, 3, 4)]

    assert with_ruleset(work, COUNTING) == [number, 5, 0]


def counted(address: str, packets: int, *, several: bool) -> bytes:
    counter = netlink.nested(
        2, netlink.attribute(1, bytes(8)), netlink.attribute(2, struct.pack("!Q", packets))
    )
    expression = (netlink.attribute(1, b"counter\0"), counter)
    shown_as = (
        netlink.nested(11, netlink.nested(1, *expression))
        if several
        else netlink.nested(7, *expression)
    )
    key = netlink.nested(1, netlink.attribute(1, IPv4Address(address).packed))
    return bytes(4) + netlink.nested(3, netlink.nested(1, key, shown_as))


@given(st.integers(0, 2**64 - 1), st.booleans())
def test_counter_is_read_in_both_forms(packets: int, several: bool) -> None:  # noqa: FBT001
    payload = counted("10.0.0.7", packets, several=several)
    assert elements.packets(payload, IPv4Address("10.0.0.7")) == packets
    assert elements.packets(payload, IPv4Address("10.0.0.8")) == 0


@given(st.binary(max_size=120), st.integers(0, 119))
def test_malformed_element_is_refused_or_counts_nothing(data: bytes, where: int) -> None:
    whole = counted("10.0.0.7", 3, several=False)
    for payload in (data, whole[:where] + data + whole[where:]):
        try:
            found = elements.packets(payload, IPv4Address("10.0.0.7"))
        except OSError:
            continue
        assert found >= 0

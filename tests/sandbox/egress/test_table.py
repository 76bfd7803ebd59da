"""A job's table: what it lets pass, by packets in a real network namespace."""

import errno
import os
import socket
from collections.abc import Callable
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.policy.egress import EgressGrant
from bootstrap.sandbox.egress import table
from bootstrap.sandbox.egress.table import FullError, Table
from bootstrap.sandbox.egress.use import Target, job_targets
from bootstrap.sandbox.network import netlink
from tests.sandbox.network.namespace import T, in_a_new_namespace, run, shown

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root")

GATEWAY = "10.9.0.1"
LIST = EgressGrant(cidrs=("203.0.113.0/24", "192.0.0.0/16"), private=("10.1.0.0/16",))


def with_table(work: Callable[[Table], T], grant: EgressGrant = LIST) -> T:
    """Run `work` in a namespace whose packets go to a device that nobody listens to."""

    def prepared() -> T:
        for command in (
            "ip link add name out type bridge",
            "ip addr add 10.9.0.2/24 dev out",
            "ip link set out up",
            "ip neigh add 10.9.0.1 lladdr 02:00:00:00:00:01 dev out",
            "ip route add default via 10.9.0.1",
        ):
            run(command)
        run("nft -f -", table.ruleset(grant, GATEWAY))
        with netlink.connected(netlink.NETFILTER) as kernel:
            return work(Table(kernel))

    return in_a_new_namespace(prepared)


def tcp(address: str, port: int = 443) -> str:
    """Try to connect; "sent" if the packet has left."""
    with socket.socket() as client:
        client.settimeout(0.05)
        try:
            client.connect((address, port))
        except TimeoutError:
            return "sent"
        except OSError as refused:
            return errno.errorcode.get(refused.errno or 0, "?")
        return "connected"


def udp(address: str, port: int = 443) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        try:
            client.sendto(b"x", (address, port))
        except OSError as refused:
            return errno.errorcode.get(refused.errno or 0, "?")
        return "sent"


@needs_root
@pytest.mark.parametrize(
    ("address", "port", "passes"),
    [
        ("203.0.113.7", 443, True),
        ("203.0.113.7", 22, True),
        ("203.0.113.7", 53, False),
        ("203.0.113.7", 853, False),
        ("10.1.2.3", 5432, True),
        ("10.2.0.1", 5432, False),
        ("198.51.100.1", 443, False),
        ("8.8.8.8", 443, False),
        ("192.0.2.1", 443, False),
        ("192.0.3.1", 443, True),
        ("224.0.0.251", 5353, False),
        (GATEWAY, 22, True),  # the host's own ruleset refuses these
        ("169.254.169.254", 80, True),
    ],
)
def test_what_is_not_listed_is_refused(address: str, port: int, *, passes: bool) -> None:
    def work(_: Table) -> tuple[str, str]:
        return tcp(address, port), udp(address, port)

    expected = ("sent", "sent") if passes else ("ECONNREFUSED", "EPERM")
    if address.startswith("224."):
        expected = ("ENETUNREACH", "EPERM")  # there is no TCP to many
    assert with_table(work) == expected


@needs_root
def test_a_name_opens_its_addresses_for_a_while() -> None:
    def work(loaded: Table) -> list[str]:
        found = [tcp("198.51.100.1")]
        loaded.allow([IPv4Address("198.51.100.1"), IPv4Address("198.51.100.2")], 0.3)
        found += [tcp("198.51.100.1"), udp("198.51.100.2"), tcp("198.51.100.1", 53)]
        run("nft flush set inet airlock_egress named")
        return [*found, tcp("198.51.100.1"), udp("198.51.100.2")]

    assert with_table(work) == ["ECONNREFUSED", "sent", "sent", "ECONNREFUSED", "ECONNREFUSED",
                                "EPERM"]  # fmt: skip


def lasting() -> dict[str, int]:
    listed = shown("nft -j list set inet airlock_egress named")["nftables"][1]["set"]
    return {one["elem"]["val"]: one["elem"]["timeout"] for one in listed.get("elem", [])}


@needs_root
def test_an_address_is_kept_for_the_longest_time_that_was_asked_for() -> None:
    address = IPv4Address("198.51.100.1")

    def work(loaded: Table) -> list[dict[str, int]]:
        times = []
        for seconds in (360, 120, 3660):
            loaded.allow([address], seconds)
            times.append(lasting())
        return times

    key = str(address)
    assert with_table(work) == [{key: 360}, {key: 360}, {key: 3660}]


@needs_root
def test_an_open_connection_stays_when_the_time_is_over() -> None:
    """Sent through a pair of namespaces' loopback, whose table is the job's."""

    def work(loaded: Table) -> tuple[bytes, str, str]:
        run("ip addr add 198.51.100.1/32 dev lo")
        # What goes over the loopback always passes: for this test it is an ordinary device.
        handle = next(
            one["rule"]["handle"]
            for one in shown("nft -j -a list chain inet airlock_egress leaving")["nftables"]
            if "rule" in one and "oifname" in str(one["rule"])
        )
        run(f"nft delete rule inet airlock_egress leaving handle {handle}")
        local = IPv4Address("198.51.100.1")
        loaded.allow([local], 60)
        with (
            socket.create_server((str(local), 0)) as server,
            socket.create_connection(server.getsockname()) as client,
        ):
            accepted, _ = server.accept()
            run("nft flush set inet airlock_egress named")
            client.sendall(b"still open")
            received = accepted.recv(64)
            again = tcp(str(local), server.getsockname()[1])
            run("nft flush set inet airlock_egress once_named")
            client.sendall(b"opened before")
            try:
                accepted.settimeout(0.3)
                ended = accepted.recv(64).decode()
            except OSError as over:
                ended = errno.errorcode.get(over.errno or 0, "nothing")
            accepted.close()
        return received, again, ended

    assert with_table(work) == (b"still open", "ECONNREFUSED", "nothing")


@needs_root
def test_what_is_refused_is_counted_by_target() -> None:
    def work(loaded: Table) -> dict[Target, int]:
        for _ in range(3):
            tcp("198.51.100.1")
        udp("198.51.100.1", 53)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDPLITE) as lite:
            lite.connect(("198.51.100.9", 5))
            with pytest.raises(PermissionError):
                lite.send(b"x")
        return job_targets(loaded.refused())

    address = IPv4Address("198.51.100.1")
    assert with_table(work) == {
        Target(address, "tcp", 443): 3,
        Target(address, "udp", 53): 1,
        Target(IPv4Address("198.51.100.9"), "udp-lite", None): 1,
    }


@needs_root
def test_what_is_refused_of_very_many_targets_is_refused_all_the_same() -> None:
    def work(loaded: Table) -> tuple[set[str], int]:
        results = {udp(f"198.51.{n // 250}.{n % 250}") for n in range(600)}
        return results, len(loaded.refused())

    results, counted = with_table(work)
    assert results == {"EPERM"}
    assert table.LISTED_AT_MOST <= counted < 300


@needs_root
def test_a_full_table_refuses_another_address() -> None:
    def work(loaded: Table) -> tuple[str, str]:
        first = int(IPv4Address("198.51.0.0"))
        for start in range(0, 4096, 256):
            loaded.allow([IPv4Address(first + start + n) for n in range(256)], 60)
        for _ in range(3):
            with pytest.raises(FullError):
                loaded.allow([IPv4Address(f"198.60.1.{n}") for n in range(40)], 60)
        before = tcp("198.60.1.1")
        run("nft flush set inet airlock_egress named")
        loaded.allow([IPv4Address("198.60.0.2")], 60)
        return before, tcp("198.60.0.2")

    assert with_table(work) == ("ECONNREFUSED", "sent")


@needs_root
def test_observing_lets_all_pass_and_counts_it() -> None:
    def work(loaded: Table) -> tuple[list[str], dict[Target, int], frozenset[IPv4Address]]:
        loaded.allow([IPv4Address("198.51.100.1"), IPv4Address("198.51.100.2")], 60)
        sent = [tcp("198.51.100.1"), tcp("198.51.100.9"), udp("10.2.0.1", 53), tcp("8.8.8.8")]
        return sent, job_targets(loaded.refused()), loaded.reached()

    sent, unlisted, reached = with_table(work, EgressGrant(observe=True))
    assert set(sent) == {"sent"}
    assert reached == {IPv4Address("198.51.100.1")}
    assert set(unlisted) == {
        Target(IPv4Address("198.51.100.9"), "tcp", 443),
        Target(IPv4Address("10.2.0.1"), "udp", 53),
        Target(IPv4Address("8.8.8.8"), "tcp", 443),
    }


@needs_root
def test_a_listed_resolver_is_reached_but_not_as_one() -> None:
    grant = EgressGrant(cidrs=("1.1.1.1/32", "1.1.1.0/24"))

    def work(_: Table) -> tuple[str, ...]:
        return tcp("1.1.1.1"), tcp("1.1.1.1", 853), tcp("1.1.1.2"), tcp("1.1.1.9")

    assert with_table(work, grant) == ("sent", "ECONNREFUSED", "ECONNREFUSED", "sent")


@given(st.binary(max_size=80))
def test_any_message_is_counted_or_malformed(payload: bytes) -> None:
    try:
        found = list(table.counted(b"\0" * 4 + payload))
    except OSError as malformed:
        assert malformed.errno == errno.EBADMSG
    else:
        assert all(packets >= 0 for _, packets in found)


@needs_root
@pytest.mark.parametrize("grant", [LIST, EgressGrant(observe=True)])
def test_there_is_no_ipv6_also_while_observing(grant: EgressGrant) -> None:
    def work(_: Table) -> int | None:
        run("ip -6 addr add fd77::1/64 dev out nodad")
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
            try:
                client.sendto(b"x", ("fd77::2", 443))
            except OSError as refused:
                return refused.errno
        return None

    assert with_table(work, grant) == errno.EPERM


@needs_root
def test_addresses_of_the_past_take_no_memory() -> None:
    now = [0.0]

    def allowed(loaded: Table) -> list[int]:
        loaded._now = lambda: now[0]  # noqa: SLF001 - what time it is
        sizes = []
        for hour in range(4):
            now[0] = hour * 3600.0
            first = IPv4Address("203.0.0.0") + 400 * hour
            loaded.allow([first + number for number in range(400)], 60.0)
            known = loaded._until.values()  # noqa: SLF001
            sizes.append(len(known))
            assert all(until > now[0] for until in known)
        return sizes

    assert with_table(allowed) == [400, 400, 400, 400]

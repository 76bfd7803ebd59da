"""The ruleset of a replay's network: what nft lists of it, and what it refuses and counts."""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.errors import CannotStart
from bootstrap.replay import rules
from bootstrap.replay.holder import Control, Holder
from bootstrap.sandbox.network import netlink, routing
from bootstrap.sandbox.network.netlink import attribute, nested
from tests.lab import launcher
from tests.sandbox.network.namespace import in_a_new_namespace, run

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root")
GATEWAY = IPv4Address("10.9.0.1")
LISTED = """\
table inet airlock {
	chain refuse {
		counter
		meta l4proto tcp reject with tcp reset
		reject with icmpx admin-prohibited
	}

	chain leaving {
		type filter hook output priority raw - 10; policy accept;
		ip daddr 127.0.0.11 jump refuse
		oifname "lo" accept
		ip daddr 169.254.0.0/16 jump refuse
		ip daddr 192.0.2.1 jump refuse
		ip daddr 172.16.0.0/13 jump refuse
		meta nfproto ipv4 rt ip nexthop 10.9.0.1 accept
		jump refuse
	}
}
"""


def load() -> None:
    """Load it into the calling thread's namespace, where a network with the gateway is."""
    run("sysctl -q -w net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")
    run("ip -batch -", "link add eth0 type veth peer name peer\n"
        "addr add 10.9.0.2/24 dev eth0\nlink set eth0 up\nlink set peer up\n"
        "route add default via 10.9.0.1\n")  # fmt: skip
    content, number = rules.batch(
        always=[IPv4Address("127.0.0.11")],
        refused=map(IPv4Network, ("169.254.0.0/16", "192.0.2.1/32", "172.16.0.0/13")),
        gateway=GATEWAY,
    )
    with netlink.connected(netlink.NETFILTER) as kernel:
        kernel.send(content)
        netlink.acknowledged(kernel, number)


@needs_root
def test_nft_lists_the_ruleset_as_it_is_documented() -> None:
    def work() -> str:
        load()
        return run("nft -s list table inet airlock")

    assert in_a_new_namespace(work) == LISTED


def tried(address: str, kind: int) -> str:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.settimeout(0.2)
        try:
            probe.connect((address, 80))
            probe.send(b"airlock")
        except OSError as refused:
            return type(refused).__name__
    return "sent"


@needs_root
@pytest.mark.parametrize(
    ("address", "tcp", "udp"),
    [
        ("169.254.169.254", "ConnectionRefusedError", "PermissionError"),
        ("172.23.255.255", "ConnectionRefusedError", "PermissionError"),
        ("127.0.0.11", "ConnectionRefusedError", "PermissionError"),
        ("10.9.0.7", "ConnectionRefusedError", "PermissionError"),
        ("172.24.0.1", "TimeoutError", "sent"),
    ],
)
def test_only_what_goes_by_the_gateway_leaves(address: str, tcp: str, udp: str) -> None:
    def work() -> tuple[str, str, int]:
        load()
        outcome = tried(address, socket.SOCK_STREAM), tried(address, socket.SOCK_DGRAM)
        with netlink.connected(netlink.NETFILTER) as kernel:
            return *outcome, rules.refusals(kernel)

    refused = 0 if udp == "sent" else 2
    assert in_a_new_namespace(work) == (tcp, udp, refused)


@given(st.integers(0, 2**64 - 1))
def test_counter_is_read_as_the_kernel_writes_it(number: int) -> None:
    counter = attribute(1, (7).to_bytes(8, "big")) + attribute(2, number.to_bytes(8, "big"))
    expression = nested(1, attribute(1, b"counter\0"), nested(2, counter))
    assert rules.packets(bytes(4) + nested(4, expression)) == number


@given(st.binary(max_size=200))
def test_malformed_rule_is_an_error_and_nothing_else(content: bytes) -> None:
    try:
        assert rules.packets(content) >= 0
    except OSError as malformed:
        assert malformed.strerror


@contextmanager
def holder(directory: Path) -> Iterator[Holder]:
    """Run the real program, in a network namespace of its own, and connect to it."""
    path = directory / "control"
    command = ["unshare", "--net", str(launcher.holder()), str(path)]
    with (
        closing(Control(path)) as control,
        subprocess.Popen(command) as program,
        control.connected() as connected,
    ):
        yield connected
        connected.close()
        assert program.wait(10) == 0


@needs_root
def test_holder_works_in_its_own_namespace_until_it_is_sealed(tmp_path: Path) -> None:
    with holder(tmp_path) as made:
        assert made.namespace() != Path("/proc/self/ns/net").stat().st_ino
        kernel = made.kernel(netlink.ROUTE)
        loopback = routing.link(kernel, "lo").index
        routing.add_address(kernel, loopback, IPv4Address("169.254.170.2"))
        with made.listener(IPv4Address("169.254.170.2"), 80) as listener:
            assert listener.getsockname() == ("169.254.170.2", 80)
        made.seal()
        with pytest.raises(PermissionError):
            made.opened(socket.AF_INET, socket.SOCK_STREAM)


@needs_root
def test_holder_answers_what_it_does_not_know_with_an_error(tmp_path: Path) -> None:
    with holder(tmp_path) as made:
        with pytest.raises(OSError, match="Protocol not supported"):
            made.kernel(4000).send(b"")
        any_address = IPv4Address("0.0.0.0")
        with (
            made.listener(any_address, 80),
            pytest.raises(OSError, match="Address already in use"),
        ):
            made.listener(any_address, 80)


def test_absent_holder_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bootstrap.replay.holder.PATIENCE", 0.05)
    with (
        closing(Control(tmp_path / "control")) as control,
        pytest.raises(CannotStart, match="did not start within"),
    ):
        control.connected()


@needs_root
def test_holder_makes_directories_for_a_user(tmp_path: Path) -> None:
    paths = [tmp_path / "upper", tmp_path / "work"]
    command = [str(launcher.holder()), "directories", "1500", "100", *map(str, paths)]
    assert subprocess.run(command, check=False).returncode == 0
    assert [(path.stat().st_uid, path.stat().st_gid) for path in paths] == [(1500, 100)] * 2
    assert subprocess.run(command, check=False).returncode == 1

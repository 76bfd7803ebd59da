"""Which resolvers a container's resolv.conf names."""

import os
import subprocess
import sys
from ipaddress import IPv4Address
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.errors import WrongConfiguration
from bootstrap.sandbox.network import resolvers
from bootstrap.sandbox.network.resolvers import is_of_this_host, resolv_conf

# As a host with systemd-resolved has them (systemd-resolved.service(8)).
STUB = "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch eu-west-1.compute.internal\n"
UPLINK = "# comment\nnameserver 10.0.0.2\nsearch eu-west-1.compute.internal\n"


def shown(tmp_path: Path, *texts: str, dns: list[str] | None = None, ours: str = "") -> str:
    files = [tmp_path / str(number) for number in range(2)]
    for path, text in zip(files, texts, strict=False):
        path.write_text(text)
    addresses = None if dns is None else [IPv4Address(one) for one in dns]
    return resolv_conf(addresses, files=files, is_local=lambda found: str(found) == ours)


def test_resolvers_of_host_are_kept_with_domains_and_options(tmp_path: Path) -> None:
    text = "; comment\nnameserver 10.0.0.2\nnameserver 1.1.1.1\nsearch a b\noptions ndots:2\nodd\n"
    assert shown(tmp_path, text, UPLINK) == (
        "nameserver 10.0.0.2\nnameserver 1.1.1.1\nsearch a b\noptions ndots:2\n"
    )


def test_unreachable_resolvers_are_left_out(tmp_path: Path) -> None:
    text = "nameserver 127.0.0.1\nnameserver fd00::2\nnameserver 10.0.0.7\nnameserver 10.0.0.2\n"
    assert shown(tmp_path, text, ours="10.0.0.7") == "nameserver 10.0.0.2\n"


def test_stub_of_systemd_is_replaced_by_its_uplink(tmp_path: Path) -> None:
    assert shown(tmp_path, STUB, UPLINK) == (
        "nameserver 10.0.0.2\nsearch eu-west-1.compute.internal\n"
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (STUB, "127.0.0.53 is loopback"),
        ("nameserver 169.254.169.253\n", "169.254.169.253 is link-local"),
        ("nameserver 168.63.129.16\n", "is a metadata address"),
        ("nameserver 10.0.0.7\n", "10.0.0.7 is an address of this host"),
        ("nameserver fe80::1%eth0\n", "fe80::1%eth0 is IPv6"),
        ("nameserver example.com\n", "example.com is not an address"),
        ("search example.com\nnameserver\n", "names none"),
        ("", "names none"),
    ],
)
def test_host_without_reachable_resolver_is_an_error(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(WrongConfiguration, match=why) as wrong:
        shown(tmp_path, text, ours="10.0.0.7")
    assert "sandbox.dns" in wrong.value.hint


def test_missing_resolv_conf_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WrongConfiguration, match="names none"):
        shown(tmp_path)


def test_setting_replaces_resolvers_only(tmp_path: Path) -> None:
    assert shown(tmp_path, STUB, dns=["10.1.0.2", "10.1.0.3"]) == (
        "nameserver 10.1.0.2\nnameserver 10.1.0.3\n"
        "options edns0 trust-ad\nsearch eu-west-1.compute.internal\n"
    )
    assert shown(tmp_path, "nameserver 127.0.0.1\n", dns=[]) == ""


@pytest.mark.parametrize(
    ("address", "why"), [("10.0.0.7", "an address of this host"), ("168.63.129.16", "a metadata")]
)
def test_setting_that_no_container_reaches_is_an_error(
    tmp_path: Path, address: str, why: str
) -> None:
    with pytest.raises(WrongConfiguration, match=f"sandbox.dns names .* {address} is {why}"):
        shown(tmp_path, UPLINK, dns=["10.0.0.2", address], ours="10.0.0.7")


@given(st.lists(st.ip_addresses().map(str) | st.sampled_from(["127.0.0.1", "x"]), max_size=4))
def test_every_resolver_shown_is_one_that_containers_reach(addresses: list[str]) -> None:
    with TemporaryDirectory() as directory:
        text = "".join(f"nameserver {address}\n" for address in addresses)
        try:
            lines = shown(Path(directory), text).splitlines()
        except WrongConfiguration as wrong:
            lines = []
            assert all(address in wrong.problem for address in addresses)
    found = [IPv4Address(line.removeprefix("nameserver ")) for line in lines]
    assert not [one for one in found if one.is_loopback or one.is_link_local]
    assert {str(one) for one in found} <= set(addresses)


def test_loopback_is_of_this_host_and_documentation_network_is_not() -> None:
    assert is_of_this_host(IPv4Address("127.0.0.1"))
    assert not is_of_this_host(IPv4Address("192.0.2.1"))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to change a setting of the kernel")
def test_address_that_can_only_be_bound_is_not_of_this_host() -> None:
    """Failover programs have the kernel bind addresses that this host does not have (yet)."""
    script = (
        "from ipaddress import IPv4Address as Address\n"
        "from bootstrap.sandbox.network.resolvers import is_of_this_host\n"
        "print([is_of_this_host(Address(a)) for a in ('127.0.0.1', '10.0.0.1', '10.0.0.2')])\n"
    )
    lab = (
        "ip link set lo up; ip addr add 10.0.0.1/32 dev lo; ip route add default dev lo;"
        ' echo 1 >/proc/sys/net/ipv4/ip_nonlocal_bind; exec "$@"'
    )
    command = ["unshare", "--net", "sh", "-c", lab, "sh", sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[True, True, False]\n"


def test_a_job_with_a_list_has_its_own_resolver_and_no_search_domain(tmp_path: Path) -> None:
    resolvers.write_own(tmp_path)
    assert (tmp_path / "resolv.conf").read_text() == "nameserver 127.0.0.53\n"


@pytest.mark.parametrize(
    ("texts", "dns", "expected"),
    [
        (["nameserver 127.0.0.53\nsearch a.example\n"], None, ("127.0.0.53",)),
        (["# none\n", "nameserver 10.0.0.2\nnameserver fe80::1%eth0\n"], None,
         ("10.0.0.2", "fe80::1%eth0")),
        (["nameserver not-an-address\nnameserver\nnameserver 10.0.0.2\n"], None, ("10.0.0.2",)),
        (["nameserver 10.0.0.2\n"], [IPv4Address("10.0.0.3")], ("10.0.0.3",)),
        (["nameserver 10.0.0.2\n"], [], ()),
        ([""], None, ()),
    ],
)  # fmt: skip
def test_this_host_asks_its_own_resolvers_also_on_its_loopback(
    tmp_path: Path, texts: list[str], dns: list[IPv4Address] | None, expected: tuple[str, ...]
) -> None:
    files = [tmp_path / f"resolv{number}.conf" for number in range(len(texts) + 1)]
    for file, text in zip(files, texts, strict=False):
        file.write_text(text)
    assert resolvers.of_host(dns, files=files) == expected

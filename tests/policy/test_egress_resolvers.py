"""Public resolvers, to which no name leads: a job would ask them what its own one refuses."""

from ipaddress import IPv4Address

import pytest

from bootstrap.policy.egress import EgressGrant


# Of each provider's own pages: those under which it answers queries over HTTPS as well.
@pytest.mark.parametrize(
    ("provider", "addresses"),
    [
        ("Cloudflare", "1.1.1.1 1.0.0.1 1.1.1.2 1.0.0.2 1.1.1.3 1.0.0.3"),
        ("Google", "8.8.8.8 8.8.4.4"),
        ("Quad9", "9.9.9.9 149.112.112.112 9.9.9.10 149.112.112.10 9.9.9.11 149.112.112.11"),
        ("OpenDNS", "208.67.222.222 208.67.220.220"),
        ("AdGuard", "94.140.14.14 94.140.15.15 94.140.14.15 94.140.15.16"),
        ("CleanBrowsing", "185.228.168.9 185.228.169.9"),
        ("Control D", "76.76.2.0 76.76.10.0"),
        ("DNS.SB", "185.222.222.222 45.11.45.11"),
        ("Mullvad", "194.242.2.2 194.242.2.3"),
        ("Comodo", "8.26.56.26 8.20.247.20"),
        ("Level 3", "4.2.2.1 4.2.2.2"),
        ("Verisign", "64.6.64.6 64.6.65.6"),
        ("Yandex", "77.88.8.8 77.88.8.1"),
        ("AliDNS", "223.5.5.5 223.6.6.6"),
        ("DNSPod", "119.29.29.29"),
        ("NextDNS", "45.90.28.0 45.90.30.0"),
    ],
)
def test_no_name_leads_to_a_resolver_of(provider: str, addresses: str) -> None:
    for address in map(IPv4Address, addresses.split()):
        assert EgressGrant(hosts=("*",)).refuses_answer(address) == "a public resolver", provider


def test_while_observing_every_name_is_on_the_list() -> None:
    assert EgressGrant(observe=True).has_name("a.example")
    assert not EgressGrant().has_name("a.example")

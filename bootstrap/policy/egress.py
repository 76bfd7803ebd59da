"""What the jobs of a rule may reach: names and networks, and whether one list is within another.

What it means in a sandbox: docs/egress.md
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

ANY_NAME = "*"
MOST = 500  # entries of each kind in one list
_BELOW = "*."
_LONGEST = 253  # characters of a name (RFC 1035, 2.3.4: 255 octets with lengths and root)
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_PATTERN = re.compile(rf"\*|(?:\*\.)?{_LABEL}(?:\.{_LABEL})*", re.ASCII)

# Addresses that belong to nobody outside, or to the host and its clouds (RFC 6890, RFC 5771): no
# list can allow them. The proof sends to TEST-NET-1, so it has to be among them.
NEVER = tuple(map(IPv4Network, (
    "0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.0.2.0/24", "224.0.0.0/4",
    "240.0.0.0/4", "168.63.129.16/32", "100.100.100.200/32",
)))  # fmt: skip
# Of whoever operates the network: RFC 1918, RFC 6598 (CGNAT), RFC 2544.
PRIVATE = tuple(map(IPv4Network, (
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "198.18.0.0/15",
)))  # fmt: skip
# Public resolvers, which take queries over HTTPS as well, where a port does not show them:
# Cloudflare, Google, Quad9, OpenDNS, AdGuard, CleanBrowsing, Control D, DNS.SB, Mullvad, Comodo,
# Level 3, Verisign, Yandex, AliDNS, DNSPod, NextDNS.
_RESOLVERS = """
    1.1.1.1 1.0.0.1 1.1.1.2 1.0.0.2 1.1.1.3 1.0.0.3 8.8.8.8 8.8.4.4 9.9.9.9 149.112.112.112
    9.9.9.10
    149.112.112.10 9.9.9.11 149.112.112.11 208.67.222.222 208.67.220.220 146.112.41.2 94.140.14.14
    94.140.15.15 94.140.14.15 94.140.15.16 185.228.168.9 185.228.169.9 76.76.2.0 76.76.10.0
    185.222.222.222 45.11.45.11 194.242.2.2 194.242.2.3 8.26.56.26 8.20.247.20 4.2.2.1 4.2.2.2
    64.6.64.6 64.6.65.6 77.88.8.8 77.88.8.1 223.5.5.5 223.6.6.6 119.29.29.29 45.90.28.0 45.90.30.0
"""
RESOLVERS = tuple(map(IPv4Address, _RESOLVERS.split()))


@dataclass(frozen=True, kw_only=True, slots=True)
class EgressGrant:
    """What a job may reach beside what every job needs. By default nothing.

    `hosts` are patterns in small letters; the others are networks as text, so that they are shown
    as they were written. With `observe` the job reaches everything, and the lists are ignored.
    """

    hosts: tuple[str, ...] = ()
    cidrs: tuple[str, ...] = ()  # none of PRIVATE or NEVER
    private: tuple[str, ...] = ()  # each within one of PRIVATE
    observe: bool = False

    @property
    def networks(self) -> tuple[IPv4Network, ...]:
        """The networks that are reached without a name."""
        return tuple(map(IPv4Network, (*self.cidrs, *self.private)))

    def has_name(self, name: str) -> bool:
        """Say whether a name, in any case of letters and without its last dot, is on the list."""
        return self.observe or any(name_matches(pattern, name) for pattern in self.hosts)

    def refuses_answer(self, address: IPv4Address) -> str:
        """Return why no name may lead to this address, or ""."""
        if self.observe:
            return ""
        if _within(address, NEVER):
            return "a reserved address, or one of this host or its cloud"
        if address in RESOLVERS and f"{address}/32" not in self.cidrs:
            return "a public resolver"
        if _within(address, PRIVATE) and not _within(address, self.networks):
            return "a private address"
        return ""


@dataclass(frozen=True, kw_only=True, slots=True)
class EgressBounds:
    """What the lists of rules may have. None limits nothing, but each rule has to have a list."""

    hosts: tuple[str, ...] | None = None
    cidrs: tuple[str, ...] | None = None
    private: tuple[str, ...] | None = None


def host_pattern(value: str) -> str:
    """Return a pattern of names in small letters. Raises ValueError with what was expected."""
    pattern = value.lower() if value.isascii() else ""
    if _is_address(pattern.removeprefix(_BELOW)):
        raise ValueError("expected a name: write an address under `cidrs` or `private`, as a /32")
    if len(pattern) > _LONGEST or not _PATTERN.fullmatch(pattern):
        raise ValueError(
            'expected a host such as "github.com", "*.example.com" for all names below, or "*": '
            "ASCII (`xn--…` for other letters), without scheme, port, path and last dot"
        )
    return pattern


def public_network(value: str) -> str:
    """Return a network in its usual form. Raises ValueError with what was expected."""
    network = _network(value)
    if network.prefixlen < 8:
        raise ValueError(
            "expected a network of /8 or smaller: `egress: internet` is for whoever needs all"
        )
    if any(network.overlaps(other) for other in PRIVATE):
        raise ValueError("expected a public network: write a private one under `private`")
    return _reachable(network)


def private_network(value: str) -> str:
    """Return a private network in its usual form. Raises ValueError with what was expected."""
    network = _network(value)
    if not any(network.subnet_of(other) for other in PRIVATE):
        raise ValueError(
            f"expected a network within {', '.join(map(str, PRIVATE))}: write a public one under "
            "`cidrs`"
        )
    return _reachable(network)


def _reachable(network: IPv4Network) -> str:
    for other in NEVER:
        if network.subnet_of(other):
            raise ValueError(f"expected a network that jobs can reach: {other} is reserved")
    return str(network)


def _network(value: str) -> IPv4Network:
    if ":" in value:
        raise ValueError("expected an IPv4 network: containers have no IPv6")
    try:
        return IPv4Network(value)
    except ValueError:
        raise ValueError(
            'expected an IPv4 network such as "203.0.113.0/24", whose address has no bit beyond '
            "the prefix"
        ) from None


def _is_address(text: str) -> bool:
    return bool(re.fullmatch(r"[0-9.]+", text))


def name_matches(pattern: str, name: str) -> bool:
    """Say whether the pattern stands for the name, in any case of letters."""
    small = name.lower()
    if pattern.startswith(_BELOW):
        return small.endswith(pattern[1:]) and len(small) > len(pattern) - 1
    return pattern in (ANY_NAME, small)


def covers(wide: str, narrow: str) -> bool:
    """Say whether each name that `narrow` stands for is one that `wide` stands for."""
    if wide in (ANY_NAME, narrow):
        return True
    return wide.startswith(_BELOW) and narrow.endswith(wide[1:])


def is_within(grant: EgressGrant, entry: str) -> bool:
    """Say whether a list reaches all that an entry of another one, name or network, stands for."""
    if grant.observe:
        return True
    try:
        network = IPv4Network(entry)
    except ValueError:
        return any(covers(wide, entry) for wide in grant.hosts)
    return any(network.subnet_of(wide) for wide in grant.networks)


def beyond(
    grant: EgressGrant | None, bounds: EgressBounds
) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield each part in which a grant exceeds bounds: the key below `egress`, got and allowed."""
    if grant is None or grant.observe:
        got = "internet" if grant is None else "mode: observe"
        yield "", got, ("what `egress` of a rule lists",)
        return
    if bounds.hosts is not None:
        for host in grant.hosts:
            if not any(covers(wide, host) for wide in bounds.hosts):
                yield "hosts", host, bounds.hosts
    for key, listed, allowed in (
        ("cidrs", grant.cidrs, bounds.cidrs), ("private", grant.private, bounds.private),
    ):  # fmt: skip
        if allowed is not None:
            for text in listed:
                if not any(IPv4Network(text).subnet_of(IPv4Network(wide)) for wide in allowed):
                    yield key, text, allowed


def _within(address: IPv4Address, networks: Iterable[IPv4Network]) -> bool:
    return any(address in network for network in networks)

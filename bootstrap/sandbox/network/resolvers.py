"""The resolvers that a job asks: this host's own, without the engine's between them.

Docker's resolver, at 127.0.0.11 in every container, answers for all containers of the network by
name and by address, and a container's name has the id of its job. So inside.nft refuses it, and a
file of our own replaces the container's /etc/resolv.conf, which leads to it.
"""

import socket
from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from pathlib import Path

from bootstrap.errors import WrongConfiguration
from bootstrap.files import write
from bootstrap.sandbox.network import netlink, routing

TARGET = Path("/etc/resolv.conf")
OWN = "127.0.0.53"  # of a job with a list of what it reaches: its own resolver (docs/egress.md)
# The host's, and then what its systemd-resolved asks: no container reaches its stub at 127.0.0.53.
HOST_FILES = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
_KEPT = {"search", "domain", "options", "sortlist"}  # resolv.conf(5)
# airlock.nft refuses these, beside the host's own addresses.
_REFUSED = {
    "loopback": IPv4Network("127.0.0.0/8"),
    "link-local": IPv4Network("169.254.0.0/16"),
    "a metadata address": IPv4Network("168.63.129.16/32"),
}


def write_into(directory: Path, dns: Sequence[IPv4Address] | None) -> None:
    """Write `directory`/resolv.conf. `dns` is sandbox.dns. Raises WrongConfiguration."""
    write(directory / TARGET.name, resolv_conf(dns).encode(), 0o444)


def write_own(directory: Path) -> None:
    """Write `directory`/resolv.conf for a job with a resolver of its own.

    Without search domains: each lookup of a name that is not on its list would become several.
    """
    write(directory / TARGET.name, f"nameserver {OWN}\n".encode(), 0o444)


def of_host(
    dns: Sequence[IPv4Address] | None, *, files: Sequence[Path] = HOST_FILES
) -> tuple[str, ...]:
    """Return the resolvers that this host asks: `dns`, else those of the first file that has one.

    Unlike a container, this host reaches those on its loopback too.
    """
    if dns is not None:
        return tuple(map(str, dns))
    for path in files:
        text = path.read_text(errors="replace") if path.is_file() else ""
        named = (w[1] for w in _lines(text) if w[0] == "nameserver" and len(w) > 1)
        if found := tuple(filter(_is_address, named)):
            return found
    return ()


def is_of_this_host(address: IPv4Address) -> bool:
    """Say whether packets to the address end at this host."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    # With net.ipv4.ip_nonlocal_bind, which failover programs set, any address can be bound.
    try:
        with netlink.connected(netlink.ROUTE) as kernel:
            return routing.is_local(kernel, address)
    except OSError:  # no route
        return False


def resolv_conf(
    dns: Sequence[IPv4Address] | None,
    *,
    files: Sequence[Path] = HOST_FILES,
    is_local: Callable[[IPv4Address], bool] = is_of_this_host,
) -> str:
    """Return a container's resolv.conf: nameservers, and the host's search domains and options.

    The nameservers are `dns`, else those of the first of `files` that has one which a container
    reaches. Raises WrongConfiguration if none has, or if `dns` has one which no container reaches.
    """
    texts = [path.read_text(errors="replace") for path in files if path.is_file()]
    if dns is not None:
        _require_reachable(dns, is_local)
        return _shown(map(str, dns), texts[0] if texts else "")
    found = [(text, list(_nameservers(text, is_local))) for text in texts]
    for text, servers in found:
        if reached := [address for address, why in servers if not why]:
            return _shown(reached, text)
    rejected = [f"{address} is {why}" for _, servers in found for address, why in servers]
    raise WrongConfiguration(
        "no resolver of this host can be reached from a container: "
        f"{', '.join(dict.fromkeys(rejected)) or f'{files[0]} names none'}",
        hint="Set sandbox.dns in airlock.toml to resolvers that jobs can reach, such as the VPC's "
        "base address plus two, or to [] if jobs look up no names.",
    )


def _require_reachable(dns: Sequence[IPv4Address], is_local: Callable[[IPv4Address], bool]) -> None:
    reasons = {address: _why_not(str(address), is_local) for address in dns}
    if rejected := [f"{address} is {why}" for address, why in reasons.items() if why]:
        raise WrongConfiguration(
            f"sandbox.dns names what no container can reach: {', '.join(rejected)}",
            hint="Set sandbox.dns in airlock.toml to other resolvers, or to [] if jobs look up no "
            "names.",
        )


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _shown(servers: "Iterator[str] | list[str]", text: str) -> str:
    kept = [" ".join(words) for words in _lines(text) if words[0] in _KEPT]
    return "".join(f"{line}\n" for line in (*(f"nameserver {one}" for one in servers), *kept))


def _lines(text: str) -> Iterator[list[str]]:
    return (line.split() for line in text.splitlines() if line.split())


def _nameservers(text: str, is_local: Callable[[IPv4Address], bool]) -> Iterator[tuple[str, str]]:
    """Yield each nameserver, with why a container cannot reach it, or ""."""
    for words in _lines(text):
        if words[0] == "nameserver" and len(words) > 1:
            yield words[1], _why_not(words[1].partition("%")[0], is_local)


def _why_not(text: str, is_local: Callable[[IPv4Address], bool]) -> str:
    try:
        address = ip_address(text)
    except ValueError:
        return "not an address"
    if isinstance(address, IPv6Address):
        return "IPv6"
    for what, network in _REFUSED.items():
        if address in network:
            return what
    return "an address of this host" if is_local(address) else ""

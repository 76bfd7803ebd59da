"""Routing rules, addresses, links and routes of the calling thread's namespace (rtnetlink(7)).

Every function takes a socket of `netlink.connected(netlink.ROUTE)` and raises OSError if the kernel
refuses.
"""

import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from bootstrap.sandbox.network import netlink
from bootstrap.sandbox.network.netlink import attribute, attributes, nested

_NEW_LINK, _GET_LINK = 16, 18  # RTM_*
_NEW_ADDRESS, _GET_ADDRESS = 20, 22
_GET_ROUTE = 26
_NEW_RULE, _GET_RULE = 32, 34
_ADD = netlink.CREATE | netlink.EXCLUSIVE

_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg
_NAME, _PEER, _MASTER, _INFO = 3, 5, 10, 18  # IFLA_*
_PORT_KIND, _PORT, _ISOLATED = 4, 5, 33  # IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA, IFLA_BRPORT_*

_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg
_TARGET, _LOCAL = 1, 2  # IFA_ADDRESS, IFA_LOCAL

_ROUTE = struct.Struct("=BBBBBBBBI")  # struct rtmsg
_DESTINATION, _DEVICE, _HOPS = 1, 4, 9  # RTA_DST, RTA_OIF, RTA_MULTIPATH
_HOP = struct.Struct("=HBBi")  # struct rtnexthop
_CLONED = 0x200  # RTM_F_CLONED: an entry of a cache
_IS_LOCAL = 2  # RTN_LOCAL

_RULE = struct.Struct("=BBBBBxxBI")  # struct fib_rule_hdr
_TO, _FROM_DEVICE, _PRIORITY, _SUPPRESSED, _TABLE, _PAD, _PROTOCOL = (
    1,
    3,
    6,
    14,
    15,
    18,
    21,
)  # FRA_*
_PROHIBIT = 8  # FR_ACT_PROHIBIT


@dataclass(frozen=True, kw_only=True, slots=True)
class Prohibition:
    """A rule that refuses what comes from a device, to `target` if it has one."""

    family: socket.AddressFamily
    device: str
    preference: int
    target: IPv4Network | None = None

    def selectors(self) -> dict[int, bytes]:
        """Return the attributes that say what the rule is about."""
        found = {
            _PRIORITY: struct.pack("=I", self.preference),
            _FROM_DEVICE: self.device.encode() + b"\0",
        }
        if self.target is not None:
            found[_TO] = self.target.network_address.packed
        return found

    def header(self) -> tuple[int, ...]:
        """Return struct fib_rule_hdr, without the table, which a prohibition does not use."""
        length = 0 if self.target is None else self.target.prefixlen
        return (self.family, length, 0, 0, _PROHIBIT, 0)


def has_rule(kernel: socket.socket, rule: Prohibition) -> bool:
    """Say whether exactly this rule exists: with no other condition, and on a device that exists.

    An attribute that is not known here may be a condition, so that it is another rule then.
    """
    query = _RULE.pack(rule.family, 0, 0, 0, 0, 0, 0)
    return any(_is(rule, payload) for _, payload in netlink.listed(kernel, _GET_RULE, query))


def _is(rule: Prohibition, payload: bytes) -> bool:
    family, to, source, service, _table, action, flags = _RULE.unpack_from(payload)
    found = dict(attributes(payload[_RULE.size :]))
    for unimportant in (_TABLE, _PROTOCOL, _PAD):
        found.pop(unimportant, None)
    if found.get(_SUPPRESSED) == b"\xff" * 4:
        del found[_SUPPRESSED]
    header = (family, to, source, service, action, flags)
    return header == rule.header() and found == rule.selectors()


def add_rule(kernel: socket.socket, rule: Prohibition) -> None:
    """Add the rule. Raises FileExistsError if there is one."""
    family, to, source, service, action, flags = rule.header()
    body = _RULE.pack(family, to, source, service, 0, action, flags)
    body += b"".join(attribute(name, value) for name, value in rule.selectors().items())
    netlink.asked(kernel, _NEW_RULE, body, _ADD)


def addresses_of(kernel: socket.socket, device: int | None = None) -> frozenset[IPv4Address]:
    """Return the IPv4 addresses of a device, or of all."""
    query = _ADDRESS.pack(socket.AF_INET, 0, 0, 0, 0)
    found = set()
    for _, payload in netlink.listed(kernel, _GET_ADDRESS, query):
        *_, index = _ADDRESS.unpack_from(payload)
        local = dict(attributes(payload[_ADDRESS.size :])).get(_LOCAL, b"")
        if device in (None, index) and len(local) == 4:
            found.add(IPv4Address(local))
    return frozenset(found)


def add_address(kernel: socket.socket, device: int, address: IPv4Address) -> None:
    """Give a device an address, without a network."""
    body = _ADDRESS.pack(socket.AF_INET, 32, 0, 0, device)
    body += attribute(_LOCAL, address.packed) + attribute(_TARGET, address.packed)
    netlink.asked(kernel, _NEW_ADDRESS, body, _ADD)


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """A network device: its number, and those of its bridge and of its other end, if it has any."""

    index: int
    master: int | None
    peer: int | None


def link(kernel: socket.socket, device: int | str) -> Link:
    """Return a device by its number or its name."""
    body = _LINK.pack(0, 0, device if isinstance(device, int) else 0, 0, 0)
    if isinstance(device, str):
        body += attribute(_NAME, device.encode() + b"\0")
    ((_, payload),) = netlink.asked(kernel, _GET_LINK, body)
    found = dict(attributes(payload[_LINK.size :]))
    return Link(
        index=_LINK.unpack_from(payload)[2],
        master=_number(found.get(_MASTER)),
        peer=_number(found.get(_PEER)),
    )


def isolate(kernel: socket.socket, port: int) -> None:
    """Keep a port of a bridge from reaching the other isolated ports."""
    settings = nested(_PORT, attribute(_ISOLATED, b"\1"))
    body = _LINK.pack(0, 0, port, 0, 0) + nested(
        _INFO, attribute(_PORT_KIND, b"bridge\0"), settings
    )
    netlink.asked(kernel, _NEW_LINK, body)


def routes(kernel: socket.socket) -> Iterator[Mapping[str, Any]]:
    """Yield the IPv4 routes of all tables, as `ip -j route` names what they have."""
    names: dict[int, str | None] = {}
    for _, payload in netlink.listed(kernel, _GET_ROUTE, _ROUTE.pack(socket.AF_INET, *(0,) * 8)):
        _, length, *_, kind, flags = _ROUTE.unpack_from(payload)
        if flags & _CLONED:
            continue
        found = dict(attributes(payload[_ROUTE.size :]))
        target = IPv4Network((found.get(_DESTINATION, bytes(4)), length))
        devices = [_number(found.get(_DEVICE)), *_hops(found.get(_HOPS, b""))]
        device = next((index for index in devices if index), None)
        if device is not None and device not in names:
            names[device] = _name(device)
        yield {
            "dst": str(target) if length else "default",
            "type": "local" if kind == _IS_LOCAL else "other",
            **({"dev": names[device]} if device is not None else {}),
        }


def _hops(payload: bytes) -> Iterator[int]:
    offset = 0
    while offset + _HOP.size <= len(payload):
        length, _, _, device = _HOP.unpack_from(payload, offset)
        yield device
        offset += max(_HOP.size, (length + 3) & ~3)


def is_local(kernel: socket.socket, address: IPv4Address) -> bool:
    """Say whether packets to the address end here. Raises OSError also if it has no route."""
    body = _ROUTE.pack(socket.AF_INET, 32, *(0,) * 7) + attribute(_DESTINATION, address.packed)
    ((_, payload),) = netlink.asked(kernel, _GET_ROUTE, body)
    return bool(_ROUTE.unpack_from(payload)[7] == _IS_LOCAL)


def _name(device: int) -> str | None:
    with suppress(OSError):  # it was removed meanwhile
        return socket.if_indextoname(device)
    return None


def _number(value: bytes | None) -> int | None:
    return None if value is None else int(struct.unpack_from("=I", value)[0])

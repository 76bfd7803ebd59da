"""The elements of table inet airlock that belong to one container: its listener, its refusals.

Directly in nftables' netlink protocol. `nft` reads the elements of all sets before it changes one
of them, and those are as many as containers were on this host in half a day.

Every function takes a socket of `netlink.connected(netlink.NETFILTER)` and raises OSError if the
kernel refuses. Few sockets: one that is closed soon after a deletion, by whomever, waits until the
kernel has freed what was deleted.
"""

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

from bootstrap.sandbox.network import netlink
from bootstrap.sandbox.network.netlink import attribute, attributes, nested

TABLE = "airlock"
LISTENERS, REFUSED = "credentials", "refused"
# Of these, what a limit has refused.
OVER_OPEN, OVER_OPENED, OVER_ASKED = "over_open", "over_opened", "over_asked"

_NFTABLES = 10  # NFNL_SUBSYS_NFTABLES
_BEGIN, _END = 0x10, 0x11  # NFNL_MSG_BATCH_*
_NEW, _GET, _DELETE = (_NFTABLES << 8 | number for number in (12, 13, 14))  # NFT_MSG_*SETELEM
_INET = 1  # NFPROTO_INET
_FAMILY = struct.pack("=BBH", _INET, 0, 0)  # struct nfgenmsg
_BATCH = struct.pack("=BB", socket.AF_UNSPEC, 0) + struct.pack("!H", _NFTABLES)
_OF_TABLE, _OF_SET, _ELEMENTS = 1, 2, 3  # NFTA_SET_ELEM_LIST_*
_KEY, _DATA, _EXPRESSION, _EXPRESSIONS = 1, 2, 7, 11  # NFTA_SET_ELEM_*
_EXPRESSION_NAME, _EXPRESSION_DATA = 1, 2  # NFTA_EXPR_*
_PACKETS = 2  # NFTA_COUNTER_PACKETS
_FIRST = 1  # NFTA_LIST_ELEM, NFTA_DATA_VALUE
_LISTENER = struct.Struct("!4sH2x")


@dataclass(frozen=True, kw_only=True, slots=True)
class Mapping:
    """Leads connections of the container with `address` to the listener at `port` of `host`."""

    address: IPv4Address
    host: IPv4Address
    port: int


def listeners(kernel: socket.socket) -> tuple[Mapping, ...]:
    """Return the elements of the map of listeners; none if there is no such map."""
    try:
        found = netlink.listed(kernel, _GET, _FAMILY + _of(LISTENERS))
    except FileNotFoundError:
        return ()
    return tuple(mapping for _, payload in found for mapping in _mappings(payload))


def change(
    kernel: socket.socket, *, delete: Mapping | None = None, create: Mapping | None = None
) -> None:
    """Delete and create an element of the map, both or none.

    There has to be one with the address of the one that is deleted, and none with the address of
    the one that is created, once the other is gone.
    """
    changes = [(_DELETE, 0, delete), (_NEW, netlink.CREATE | netlink.EXCLUSIVE, create)]
    flags = netlink.REQUEST | netlink.ACKNOWLEDGE
    batch = [
        netlink.message(kind, flags | more, _FAMILY + _of(LISTENERS) + _element(mapping))
        for kind, more, mapping in changes
        if mapping is not None
    ]
    if batch:
        begin = netlink.message(_BEGIN, netlink.REQUEST, _BATCH)
        end = netlink.message(_END, netlink.REQUEST, _BATCH)
        kernel.send(b"".join((begin, *batch, end)))
        netlink.acknowledged(kernel, len(batch))


def refusals(kernel: socket.socket, address: IPv4Address, name: str = REFUSED) -> int:
    """Return how many packets from this address the table has refused, by one of its counters."""
    wanted = nested(_ELEMENTS, nested(_FIRST, nested(_KEY, attribute(_FIRST, address.packed))))
    try:
        found = netlink.asked(kernel, _GET, _FAMILY + _of(name) + wanted)
    except FileNotFoundError:
        return 0
    return sum(packets(payload, address) for _, payload in found)


def packets(payload: bytes, address: IPv4Address) -> int:
    """Return the packets that the element of `address` has counted. Raises OSError if malformed."""
    return sum(
        _counted(element)
        for element in _elements(payload)
        if _value(element.get(_KEY, b"")) == address.packed
    )


def _counted(element: dict[int, bytes]) -> int:
    several = (value for _, value in attributes(element.get(_EXPRESSIONS, b"")))
    for expression in (element.get(_EXPRESSION, b""), *several):
        found = dict(attributes(expression))
        if found.get(_EXPRESSION_NAME) == b"counter\0":
            counter = dict(attributes(found.get(_EXPRESSION_DATA, b"")))
            return int.from_bytes(counter.get(_PACKETS, b""), "big")
    return 0


def _mappings(payload: bytes) -> Iterator[Mapping]:
    for element in _elements(payload):
        key, data = _value(element.get(_KEY, b"")), _value(element.get(_DATA, b""))
        if len(key) == 4 and len(data) == _LISTENER.size:
            host, port = _LISTENER.unpack(data)
            yield Mapping(address=IPv4Address(key), host=IPv4Address(host), port=port)


def _elements(payload: bytes) -> Iterator[dict[int, bytes]]:
    found = dict(attributes(payload[len(_FAMILY) :]))
    for _, element in attributes(found.get(_ELEMENTS, b"")):
        yield dict(attributes(element))


def _value(data: bytes) -> bytes:
    return dict(attributes(data)).get(_FIRST, b"")


def _element(mapping: Mapping) -> bytes:
    data = _LISTENER.pack(mapping.host.packed, mapping.port)
    key = nested(_KEY, attribute(_FIRST, mapping.address.packed))
    return nested(_ELEMENTS, nested(_FIRST, key, nested(_DATA, attribute(_FIRST, data))))


def _of(name: str) -> bytes:
    return b"".join(
        attribute(number, text.encode() + b"\0")
        for number, text in ((_OF_TABLE, TABLE), (_OF_SET, name))
    )

"""A job's table inet airlock_egress, in its network namespace: loaded, extended, and read again.

It is reached by a socket that was opened inside: that keeps the namespace, so the table is still
read when the job's last process has ended.
"""

import errno
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from ipaddress import IPv4Address
from types import MappingProxyType

from bootstrap import packaged
from bootstrap.policy.egress import NEVER, RESOLVERS, EgressGrant
from bootstrap.sandbox.egress.use import Target
from bootstrap.sandbox.network import netlink, nftables
from bootstrap.sandbox.network.namespaces import in_network_of
from bootstrap.sandbox.network.netlink import attribute, attributes, nested

TABLE = "airlock_egress"
NAMED, ONCE_NAMED = "named", "once_named"
PROVING = "proving"
REFUSED, REFUSED_OTHERS, REACHED = "refused", "refused_others", "reached"
LISTED_AT_MOST = 256  # of REFUSED
ADDRESSES = 4096  # of NAMED, as egress.nft has it

_REFUSE = "meta l4proto tcp reject with tcp reset\n\t\treject with icmpx admin-prohibited"
_GATEWAY = (
    "ip daddr $gateway meta l4proto tcp reject with tcp reset\n"
    "\t\tip daddr $gateway reject with icmpx admin-prohibited"
)
_OBSERVE = "ip daddr @named add @reached { ip daddr counter }"

# Made when this is imported, so that all workers of a service share them.
_RESOLVERS = tuple(map(str, RESOLVERS))
_NEVER = f"define never = {{ {', '.join(map(str, NEVER))} }}\n"

_NFTABLES = 10  # NFNL_SUBSYS_NFTABLES
_BEGIN, _END = 0x10, 0x11  # NFNL_MSG_BATCH_*
_NEW, _GET, _DELETE = (_NFTABLES << 8 | number for number in (12, 13, 14))  # NFT_MSG_*SETELEM
_FAMILY = struct.pack("=BBH", 1, 0, 0)  # struct nfgenmsg: NFPROTO_INET
_BATCH = struct.pack("=BB", socket.AF_UNSPEC, 0) + struct.pack("!H", _NFTABLES)
_OF_TABLE, _OF_SET, _ELEMENTS = 1, 2, 3  # NFTA_SET_ELEM_LIST_*
_KEY, _TIMEOUT, _EXPRESSION, _EXPRESSIONS = 1, 4, 7, 11  # NFTA_SET_ELEM_*
_FIRST = 1  # NFTA_LIST_ELEM, NFTA_DATA_VALUE
_PACKETS = 2  # NFTA_COUNTER_PACKETS
_AT_ONCE = 32  # addresses in one transaction, whose answers fit into the socket's buffer
_TRIES = 3  # an element may end between two requests of one transaction

PROTOCOLS = MappingProxyType(
    {1: "icmp", 6: "tcp", 17: "udp", 33: "dccp", 132: "sctp", 136: "udp-lite"}
)


class FullError(Exception):
    """The table can have no more addresses."""

    def __str__(self) -> str:
        return f"a job reaches at most {ADDRESSES} addresses at a time"


def ruleset(grant: EgressGrant, gateway: str) -> str:
    """Return the commands that load the table of a grant."""
    text = packaged.text("bootstrap.sandbox.egress", "egress.nft")
    text = text.replace("VERDICT\n", f"{'accept' if grant.observe else _REFUSE}\n")
    text = text.replace("OBSERVED\n", f"{_OBSERVE if grant.observe else ''}\n")
    text = text.replace(
        "GATEWAY\n", f"{'ip daddr $gateway accept' if grant.observe else _GATEWAY}\n"
    )
    listed = (*grant.cidrs, *grant.private)
    elements = (
        (PROVING, [gateway]),
        ("listed", listed),
        ("resolvers", [one for one in _RESOLVERS if f"{one}/32" not in listed]),
    )
    return "".join((
        f"define gateway = {IPv4Address(gateway)}\n",
        _NEVER,
        text,
        *(_added(name, listed) for name, listed in elements),
    ))  # fmt: skip


def _added(name: str, listed: Iterable[str]) -> str:
    shown = ", ".join(listed)
    return f"add element inet {TABLE} {name} {{ {shown} }}\n" if shown else ""


def load(pid: int, gateway: str, grant: EgressGrant) -> None:
    """Load the table in the network namespace of `pid`. Raises CannotStart."""
    nftables.load(ruleset(grant, gateway), inside=pid)


class Table:
    """The loaded table of one job. Its methods may be called in several threads."""

    def __init__(self, kernel: socket.socket, now: Callable[[], float] = time.monotonic) -> None:
        self._kernel = kernel
        self._now = now
        self._one_at_a_time = threading.Lock()
        self._until: dict[IPv4Address, float] = {}

    def close(self) -> None:
        """Close the socket, and with it the last use of the namespace."""
        self._kernel.close()

    def allow(self, listed: Iterable[IPv4Address], seconds: float) -> None:
        """Let packets to these addresses pass for so long, or longer if they already do.

        Raises FullError, OSError.
        """
        with self._one_at_a_time:
            until = self._now() + seconds
            wanted = [one for one in listed if self._until.get(one, 0.0) < until]
            if not wanted:
                return
            for first in range(0, len(wanted), _AT_ONCE):
                self._allow(wanted[first : first + _AT_ONCE], seconds)
            self._until |= dict.fromkeys(wanted, until)
            if len(self._until) > 2 * LISTED_AT_MOST:
                self._until = {k: v for k, v in self._until.items() if v > self._now()}

    def _allow(self, listed: list[IPv4Address], seconds: float) -> None:
        requests = [request for one in listed for request in _requests(one, seconds)]
        for remaining in reversed(range(_TRIES)):
            try:
                _transaction(self._kernel, requests)
            except FileNotFoundError:
                if not remaining:
                    raise
            except OSError as refused:
                if refused.errno == errno.ENFILE:
                    raise FullError from refused
                raise
            else:
                return

    def refuse_gateway(self, gateway: str) -> None:
        """Refuse the host's own address, which the proof has sent to. Raises OSError."""
        key = nested(_KEY, attribute(_FIRST, IPv4Address(gateway).packed))
        with self._one_at_a_time:
            _transaction(self._kernel, [_request(_DELETE, PROVING, key)])

    def refused(self) -> dict[Target, int]:
        """Return the packets that were refused, or would have been. Raises OSError."""
        return self._counted(REFUSED) | self._counted(REFUSED_OTHERS)

    def reached(self) -> frozenset[IPv4Address]:
        """Return the named addresses to which an observed job has sent. Raises OSError."""
        return frozenset(target.address for target in self._counted(REACHED))

    def _counted(self, name: str) -> dict[Target, int]:
        with self._one_at_a_time:
            listed = netlink.listed(self._kernel, _GET, _FAMILY + _of(name))
        return dict(pair for _, payload in listed for pair in counted(payload))


def opened(pid: int) -> Table:
    """Return the table in the network namespace of `pid`. Raises CannotStart, OSError."""
    return Table(in_network_of(pid, lambda: netlink.connected(netlink.NETFILTER)))


def counted(payload: bytes) -> Iterator[tuple[Target, int]]:
    """Yield targets and packets of a listing's message. Raises OSError if it is malformed."""
    found = dict(attributes(payload[len(_FAMILY) :]))
    for _, entry in attributes(found.get(_ELEMENTS, b"")):
        element = dict(attributes(entry))
        key = dict(attributes(element.get(_KEY, b""))).get(_FIRST, b"")
        if len(key) in (4, 8, 12):
            yield _target(key), _packets(element)


def _target(key: bytes) -> Target:
    number = key[4] if len(key) > 4 else 0
    return Target(
        address=IPv4Address(key[:4]),
        protocol=PROTOCOLS.get(number, f"protocol {number}"),
        port=int.from_bytes(key[8:10], "big") if len(key) > 8 else None,
    )


def _packets(element: dict[int, bytes]) -> int:
    several = (value for _, value in attributes(element.get(_EXPRESSIONS, b"")))
    for expression in (element.get(_EXPRESSION, b""), *several):
        data = dict(attributes(expression)).get(2, b"")  # NFTA_EXPR_DATA
        if data:
            return int.from_bytes(dict(attributes(data)).get(_PACKETS, b""), "big")
    return 0


def _requests(address: IPv4Address, seconds: float) -> Iterator[bytes]:
    """Yield what gives an address this time: before 6.12, Linux keeps that of an element."""
    key = nested(_KEY, attribute(_FIRST, address.packed))
    lasting = key + attribute(_TIMEOUT, struct.pack("!Q", int(seconds * 1000)))
    yield _request(_NEW, ONCE_NAMED, key)
    yield _request(_NEW, NAMED, lasting)
    yield _request(_DELETE, NAMED, key)
    yield _request(_NEW, NAMED, lasting)


def _request(kind: int, name: str, element: bytes) -> bytes:
    flags = netlink.REQUEST | netlink.ACKNOWLEDGE | (netlink.CREATE if kind == _NEW else 0)
    elements = nested(_ELEMENTS, nested(_FIRST, element))
    return netlink.message(kind, flags, _FAMILY + _of(name) + elements)


def _of(name: str) -> bytes:
    pairs = ((_OF_TABLE, TABLE), (_OF_SET, name))
    return b"".join(attribute(number, text.encode() + b"\0") for number, text in pairs)


def _transaction(kernel: socket.socket, requests: list[bytes]) -> None:
    """Make all requests or none. Raises OSError."""
    begin = netlink.message(_BEGIN, netlink.REQUEST, _BATCH)
    end = netlink.message(_END, netlink.REQUEST, _BATCH)
    kernel.send(b"".join((begin, *requests, end)))
    try:
        netlink.acknowledged(kernel, len(requests))
    except OSError:
        _drain(kernel)
        raise


def _drain(kernel: socket.socket) -> None:
    """Read the other answers of a transaction that failed: they are all there when it is sent."""
    with suppress(OSError):
        while kernel.recv(1 << 16, socket.MSG_DONTWAIT):
            pass

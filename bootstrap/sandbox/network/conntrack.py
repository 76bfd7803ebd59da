"""Delete the tracked connections that an address has opened (ctnetlink).

A job's connections outlive it: the kernel tracks an idle TCP connection for five days, and a UDP
flow for as long as the peer keeps sending. The next container at the address would receive that.
"""

import errno
import socket
import struct
from ipaddress import IPv4Address

from bootstrap.errors import CannotStart
from bootstrap.sandbox.network import netlink
from bootstrap.sandbox.network.netlink import attribute, attributes, nested

ROUNDS = 5  # of two, the first deletes, the second finds nothing left
BATCH = 64  # requests at once: their answers fit into the socket's buffer

_GET, _DELETE = 0x0101, 0x0102  # NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_{GET,DELETE}
_TUPLE_ORIG, _ID, _ZONE, _FILTER = 1, 12, 18, 25  # CTA_*
_FAMILY = struct.pack("=BBH", socket.AF_INET, 0, 0)  # struct nfgenmsg


def forget(address: str) -> None:
    """Delete every tracked connection whose original source is `address`.

    Connections to the address stay: airlock.nft lets only answers through. Raises CannotStart if
    the kernel refuses, or if new ones appear as fast as they are deleted.
    """
    source = IPv4Address(address).packed
    try:
        with netlink.connected(netlink.NETFILTER) as kernel:
            try:
                delete_at_once(kernel, source)
            except OSError as refused:
                if refused.errno != errno.EINVAL:
                    raise
                delete_listed(kernel, source)
    except OSError as refused:
        raise _failed(address, str(refused)) from refused


def delete_at_once(kernel: socket.socket, source: bytes) -> None:
    """Have the kernel delete them (since 6.12).

    An older one knows requests without a tuple, to delete all, and with a whole one, to delete
    that. To it this is one of the latter, and invalid (EINVAL). It takes a tenth of the time: a
    listing locks each bucket of the table, also where nothing is in it.
    """
    netlink.asked(kernel, _DELETE, _FAMILY + _opened_by(source))


def delete_listed(kernel: socket.socket, source: bytes) -> None:
    """List them and delete each, again and again until there are none. Raises OSError."""
    for _ in range(ROUNDS):
        # The kernel filters (since 5.8; an older one ignores that and lists all), because the table
        # may have several hundred thousand entries.
        listed = netlink.listed(kernel, _GET, _FAMILY + _opened_by(source))
        entries = (dict(attributes(payload[len(_FAMILY) :])) for _, payload in listed)
        found = [_identity(entry) for entry in entries if _source(entry) == source]
        if not found:
            return
        _delete(kernel, found)
    raise OSError(errno.EAGAIN, "new ones appear as fast as they are deleted")


def _opened_by(source: bytes) -> bytes:
    """Return the attributes that select them: CTA_TUPLE_IP with CTA_IP_V4_SRC, and only that."""
    flags = attribute(1, struct.pack("=I", 1)), attribute(2, struct.pack("=I", 0))
    return nested(_TUPLE_ORIG, nested(1, attribute(1, source))) + nested(_FILTER, *flags)


def _identity(entry: dict[int, bytes]) -> bytes:
    return b"".join(
        attribute(name | (netlink.NESTED if name == _TUPLE_ORIG else 0), entry[name])
        for name in (_TUPLE_ORIG, _ID, _ZONE)
        if name in entry
    )


def _source(entry: dict[int, bytes]) -> bytes | None:
    inside = dict(attributes(entry.get(_TUPLE_ORIG, b"")))
    return dict(attributes(inside.get(1, b""))).get(1)


def _delete(kernel: socket.socket, entries: list[bytes]) -> None:
    """Delete these, except for those that have ended meanwhile."""
    flags = netlink.REQUEST | netlink.ACKNOWLEDGE
    for first in range(0, len(entries), BATCH):
        batch = entries[first : first + BATCH]
        requests = (netlink.message(_DELETE, flags, _FAMILY + entry) for entry in batch)
        kernel.send(b"".join(requests))
        netlink.acknowledged(kernel, len(batch), but=errno.ENOENT)


def _failed(address: str, why: str) -> CannotStart:
    return CannotStart(
        f"the tracked connections of earlier holders of {address} could not be deleted: {why}",
        hint="Airlock needs root and a kernel with ctnetlink (CONFIG_NF_CT_NETLINK): try "
        "`modprobe nf_conntrack_netlink`.",
    )

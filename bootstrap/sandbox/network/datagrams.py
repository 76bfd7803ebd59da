"""One packet is one datagram: a container's interface passes on no bundle of them (UDP_SEGMENT).

With udp(7)'s UDP_SEGMENT one packet carries up to 128 datagrams, which are separated only where
the host sends them on. airlock.nft counts packets, and with them a job's queries to resolvers.
"""

import fcntl
import socket
import struct
from collections.abc import Iterator

from bootstrap.errors import CannotStart
from bootstrap.libc import address_of
from bootstrap.sandbox.network.namespaces import in_network_of

INTERFACE = b"eth0"
_BUNDLES = "tx-udp-segmentation"  # `ethtool --show-features eth0`

# <linux/sockios.h>, <linux/ethtool.h>
_SIOCETHTOOL = 0x8946
_STRINGS, _SET_INFO, _GET, _SET = 0x1B, 0x37, 0x3A, 0x3B
_FEATURES, _NAME = 4, 32  # ETH_SS_FEATURES, ETH_GSTRING_LEN


def separate(pid: int) -> None:
    """Have the kernel separate datagrams in the network namespace of `pid`. Raises CannotStart.

    TCP is not slower for it.
    """
    if in_network_of(pid, _turn_off):
        return
    raise CannotStart(
        f"this kernel does not turn off {_BUNDLES} of a container's interface",
        hint="Expected Linux 5.9 or newer and Docker's bridge driver: see `ethtool -k`.",
    )


def _turn_off() -> bool:
    """Turn it off, and say whether it is; a kernel that does not know it has no bundles."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        names = list(_names(channel))
        if _BUNDLES not in names:
            return True
        word, bit = divmod(names.index(_BUNDLES), 32)
        words = (len(names) + 31) // 32
        pairs = [(1 << bit, 0) if number == word else (0, 0) for number in range(words)]
        _call(channel, struct.pack("=II", _SET, words) + b"".join(_pair(*p) for p in pairs))
        found = _call(channel, struct.pack("=II", _GET, words) + bytes(16 * words))
        _available, _requested, active, _never_changed = struct.unpack_from(
            "=IIII", found, 8 + 16 * word
        )
        return not active & 1 << bit


def _pair(valid: int, requested: int) -> bytes:
    return struct.pack("=II", valid, requested)


def _names(channel: socket.socket) -> Iterator[str]:
    asked = struct.pack("=IIQI", _SET_INFO, 0, 1 << _FEATURES, 0)
    number = struct.unpack_from("=I", _call(channel, asked), 16)[0]
    listed = struct.pack("=III", _STRINGS, _FEATURES, number) + bytes(_NAME * number)
    found = _call(channel, listed)[12:]
    for start in range(0, len(found), _NAME):
        yield found[start : start + _NAME].rstrip(b"\0").decode()


def _call(channel: socket.socket, command: bytes) -> bytes:
    """Return what the kernel makes of `command` (struct ifreq with a pointer to it)."""
    memory = bytearray(command)
    asked = struct.pack("=16sQ16x", INTERFACE, address_of(memory))
    fcntl.ioctl(channel, _SIOCETHTOOL, asked)
    return bytes(memory)

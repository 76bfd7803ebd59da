"""Whether this kernel has IPv6 at all, or was booted with ipv6.disable=1."""

import errno
import socket
from pathlib import Path

_INTERFACES = Path("/proc/self/net/if_inet6")


def is_supported() -> bool:
    """Say whether containers of this host could use IPv6 if they had an address.

    With ipv6.disable=1 the kernel opens no IPv6 socket (its Documentation/networking/ipv6.rst) and
    has no list of IPv6 addresses. Only both together say so: a filter on this process may refuse
    the socket (systemd's RestrictAddressFamilies=), and a mount may hide the list.
    """
    if _INTERFACES.exists():
        return True
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC).close()
    except OSError as refused:
        return refused.errno != errno.EAFNOSUPPORT
    return True

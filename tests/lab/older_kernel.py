"""Run a command on what looks like an older kernel: `older_kernel.py FEATURES COMMAND...`.

A seccomp filter answers as the older kernel would. FEATURES is "connector", for one whose pidfds do
not report a process's end, or "nothing", for one without the process connector too.
"""

import ctypes
import errno
import os
import platform
import socket
import struct
import sys

SOCKET, IOCTL = {"x86_64": (41, 16), "aarch64": (198, 29)}[platform.machine()]
PIDFD_GET_INFO = 0xFF << 8 | 11  # without direction and size
NETLINK_CONNECTOR = 11
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
LOAD, AND, IF_EQUAL, RETURN = 0x20, 0x54, 0x15, 0x06


def argument(number: int) -> int:
    """Return the offset of the lower half of a system call's argument."""
    return 16 + 8 * number + (4 if sys.byteorder == "big" else 0)


def program(*, connector: bool) -> list[tuple[int, int, int, int]]:
    """Return the filter, as (code, jump if true, jump if false, value)."""
    return [
        (LOAD, 0, 0, 0),
        (IF_EQUAL, 0, 3, IOCTL),
        (LOAD, 0, 0, argument(1)),
        (AND, 0, 0, 0xFFFF),
        (IF_EQUAL, 7, 5, PIDFD_GET_INFO),
        (IF_EQUAL, 0, 4, IOCTL if connector else SOCKET),  # IOCTL: it was none
        (LOAD, 0, 0, argument(0)),
        (IF_EQUAL, 0, 2, socket.AF_NETLINK),
        (LOAD, 0, 0, argument(2)),
        (IF_EQUAL, 1, 0, NETLINK_CONNECTOR),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, ERRNO | errno.EPROTONOSUPPORT),
        (RETURN, 0, 0, ERRNO | errno.ENOTTY),
    ]


def install(lines: list[tuple[int, int, int, int]]) -> None:
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in lines))
    filter_program = ctypes.create_string_buffer(
        struct.pack("HP", len(lines), ctypes.addressof(code))
    )
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter_program, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_SECCOMP)")


if __name__ == "__main__":
    install(program(connector=sys.argv[1] == "connector"))
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 - no shell is wanted

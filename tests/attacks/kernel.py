"""Dangerous system calls, made inside a container: prints one JSON object with their results.

A result is "done" or the name of the error. It is a program for the image's python3 and imports
nothing of the tests.
"""

import ctypes
import errno
import json
import mmap
import os
import platform
import resource
import socket
import struct
import sys
from collections.abc import Callable

LIBC = ctypes.CDLL(None, use_errno=True)
ARM = platform.machine() == "aarch64"
BUFFER = ctypes.create_string_buffer(256)
HERE = ctypes.addressof(BUFFER)
FILTER = ctypes.create_string_buffer(32)
ROOT = ctypes.create_string_buffer(b"/")


def call(number: int, *arguments: int) -> str:
    ctypes.set_errno(0)
    result = LIBC.syscall(*(ctypes.c_long(value) for value in (number, *arguments)))
    return "done" if result >= 0 else errno.errorcode.get(ctypes.get_errno(), "?")


def family(number: int, kind: int) -> str:
    try:
        socket.socket(number, kind).close()
    except OSError as refused:
        return errno.errorcode.get(refused.errno or 0, "?")
    return "done"


def here(x86: int, arm: int) -> int:
    """Return the call's number on this machine; those from 424 on are the same everywhere."""
    return arm if ARM else x86


def perf() -> str:
    """Open a counter of this process's time in user space, by the kernel's own clock."""
    attributes = struct.pack("=IIQQQQQ", 1, 112, 1, 0, 0, 0, 1 << 0 | 1 << 5 | 1 << 6)
    ctypes.memmove(BUFFER, attributes, len(attributes))
    return call(here(298, 241), HERE, 0, -1, -1, 0)


def socketcall() -> str:
    """Make a socket by the entry for 32-bit programs, with arguments in memory (int 0x80)."""
    if platform.machine() != "x86_64":
        return "no such entry"
    code = bytes.fromhex("53b866000000bb0100000089f9cd805bc3")
    low = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40, 7)  # MAP_32BIT
    low.write(code.ljust(64, b"\0") + struct.pack("=III", socket.AF_INET, socket.SOCK_DGRAM, 0))
    start = ctypes.addressof(ctypes.c_char.from_buffer(low))
    result = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint)(start)(start + 64)
    return "done" if result >= 0 else errno.errorcode.get(-result, "?")


def in_child(work: Callable[[], str]) -> str:
    """Call it in a child, since it would change the calls after it."""
    if (child := os.fork()) == 0:
        answer = work()
        os._exit(0 if answer == "done" else getattr(errno, answer))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return errno.errorcode[status] if status else "done"


def clone() -> str:
    """Clone without a stack of its own, like fork: the new process returns here too."""
    before = os.getpid()
    answer = call(here(56, 220), 0x10000000 | 17, 0, 0, 0, 0)  # CLONE_NEWUSER, SIGCHLD
    if os.getpid() != before:
        os._exit(0)
    return answer


def filtering() -> int:
    """Return the address of a filter that allows everything (struct sock_fprog)."""
    at = ctypes.addressof(FILTER)
    ctypes.memmove(at, struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000), 8)  # BPF_RET
    ctypes.memmove(at + 16, struct.pack("@HP", 1, at), 16)
    return at + 16


def seccomp(operation: int) -> str:
    return in_child(lambda: call(here(317, 277), operation, 0, filtering()))


def by_prctl(option: int) -> str:
    return in_child(lambda: call(here(157, 167), option, 2, filtering(), 0, 0))


def of_a_socket(level: int, option: int) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind(("127.0.0.1", 0))
        return call(here(54, 208), one.fileno(), level, option, filtering(), 16)


def memory(family: int, level: int, option: int, content: bytes) -> str:
    """Have the kernel keep something for a socket."""
    with socket.socket(family, socket.SOCK_STREAM if level == 6 else socket.SOCK_DGRAM) as one:
        kept = ctypes.create_string_buffer(content)
        at = ctypes.addressof(kept)
        return call(here(54, 208), one.fileno(), level, option, at, len(content))


TCP_KEY = struct.pack("=HH4s120xBBHi", socket.AF_INET, 0, b"\x0a\0\0\1", 0, 0, 80, 0) + bytes(80)
GROUP = socket.inet_pton(socket.AF_INET6, "ff02::1:7") + struct.pack("=I", 1)
SAME_GROUP = struct.pack("=I4xHHI16s", 1, socket.AF_INET6, 0, 0, GROUP[:16]).ljust(136, b"\0")
CONTROL = struct.pack("=QiiI4x", 20, 41, 67, 0)  # IPV6_TCLASS
HIGH = 1 << 32  # the kernel takes the lower half of such an argument
ASKED: dict[str, Callable[[], str]] = {
    "filter of system calls": lambda: seccomp(1),
    "filter of system calls with high bits": lambda: seccomp(HIGH | 1),
    "filter of system calls by prctl": lambda: by_prctl(22),
    "filter of system calls by prctl with high bits": lambda: by_prctl(HIGH | 22),
    "filter of a socket": lambda: of_a_socket(1, 26),
    "filter of a socket with high bits": lambda: of_a_socket(HIGH | 1, HIGH | 26),
    "filter of sockets at one port": lambda: of_a_socket(1, 51),
    "key of a TCP socket": lambda: memory(socket.AF_INET, 6, 14, TCP_KEY),
    "key of a TCP socket with a prefix": lambda: memory(socket.AF_INET, 6, 32, TCP_KEY),
    "headers of an IPv6 socket": lambda: memory(socket.AF_INET6, 41, 6, CONTROL * 100),
    "group of an IPv6 socket": lambda: memory(socket.AF_INET6, 41, 20, GROUP),
    "group of any socket": lambda: memory(socket.AF_INET6, 41, 42, SAME_GROUP),
    "AF_ALG": lambda: family(38, socket.SOCK_SEQPACKET),
    "AF_ALG with high bits": lambda: call(here(41, 198), 1 << 32 | 38, socket.SOCK_SEQPACKET, 0),
    "AF_VSOCK": lambda: family(40, socket.SOCK_STREAM),
    "AF_TIPC pair": lambda: call(here(53, 199), 30, socket.SOCK_STREAM, 0, HERE),
    "any family by socketcall": socketcall,
    "io_uring": lambda: call(425, 4, HERE),
    "keyctl": lambda: call(here(250, 219), 0, -3, 1),  # one's own session keyring
    "add_key": lambda: call(here(248, 217), HERE, HERE, HERE, 1, -3),
    "request_key": lambda: call(here(249, 218), HERE, HERE, 0, -3),
    "userfaultfd": lambda: call(here(323, 282), 1),  # UFFD_USER_MODE_ONLY
    "bpf": lambda: call(here(321, 280), 0, HERE, 64),
    "perf_event_open": perf,
    "unshare a user namespace": lambda: in_child(lambda: call(here(272, 97), 0x10000000)),
    "unshare a network": lambda: in_child(lambda: call(here(272, 97), 0x50000000)),
    "clone into a user namespace": lambda: in_child(clone),
    "pidfd_getfd": lambda: call(438, os.pidfd_open(os.getpid()), 0, 0),
    "open_tree": lambda: call(428, -100, ctypes.addressof(ROOT), 0),
    "kcmp": lambda: call(here(312, 272), os.getpid(), os.getpid(), 0, 0, 0),
    "io_uring_register": lambda: call(427, 0, 0, HERE, 0),
    "keyctl for a new session": lambda: in_child(lambda: call(here(250, 219), 1, 0)),
    "setns": lambda: call(here(308, 268), os.open("/proc/self/ns/uts", os.O_RDONLY), 0),
    "clone3": lambda: call(435, 0, 0),
    "mount": lambda: call(here(165, 40), HERE, HERE, HERE, 0, 0),
    "fsopen": lambda: call(430, HERE, 0),
    "personality": lambda: call(here(135, 92), 0x40000),  # ADDR_NO_RANDOMIZE
    "open_by_handle_at": lambda: call(here(304, 265), -100, HERE, 0),
    "name_to_handle_at, which is harmless": lambda: call(here(303, 264), -100, 0, 0, 0, 0),
}


def limits() -> list[int]:
    """Try to change RLIMIT_CORE, and another one."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
    return [resource.getrlimit(resource.RLIMIT_CORE)[0],
            resource.getrlimit(resource.RLIMIT_NOFILE)[0]]  # fmt: skip


wanted = sys.argv[1:] or list(ASKED)
print(json.dumps({**{name: ASKED[name]() for name in wanted}, "limits": limits()}))

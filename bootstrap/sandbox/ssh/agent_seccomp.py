"""The system calls that the real ssh-agent may use, as a seccomp filter in classic BPF.

An allow-list: every other call fails with ENOSYS, so that libraries fall back instead of failing.
No listed call starts a process, opens a network socket, mounts, traces or loads code. The one
execve that starts the agent is approved by confine.py, which answers once and then closes the
descriptor; from then on execve fails with ENOSYS too (seccomp_unotify(2)).
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

AF_UNIX = 1
ENOSYS = 38
PR_SET_DUMPABLE = 4
PROT_EXEC, MAP_ANONYMOUS = 4, 0x20

KILL, NOTIFY, ERRNO, ALLOW = 0x80000000, 0x7FC00000, 0x00050000, 0x7FFF0000
REFUSE = ERRNO | ENOSYS

_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06  # of struct sock_filter
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """The kernel's numbers for one architecture and its system calls."""

    audit: int  # AUDIT_ARCH_*
    numbers: Mapping[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """One 32-bit half of an argument is `value`, or with `bits` has none of its bits."""

    argument: int
    value: int
    high: bool = False
    bits: bool = False


# The calls of ssh-agent -D with glibc or musl: from the loader to poll, sign, answer.
PLAIN = (
    "accept", "accept4", "access", "arch_prctl", "bind", "brk", "clock_gettime", "close",
    "close_range", "exit", "exit_group", "faccessat", "faccessat2", "fcntl", "fstat", "futex",
    "getegid", "geteuid", "getgid", "getpeername", "getpid", "getppid", "getrandom", "getsockname",
    "getsockopt", "gettid", "gettimeofday", "getuid", "listen", "lseek", "lstat", "madvise",
    "mremap", "munmap", "newfstatat", "open", "openat", "poll", "ppoll", "pread64", "pselect6",
    "read", "readlink", "readlinkat", "readv", "recvfrom", "recvmsg", "restart_syscall", "rseq",
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sched_yield", "select", "sendmsg", "sendto",
    "set_robust_list", "set_tid_address", "sigaltstack", "stat", "statx", "sysinfo", "umask",
    "uname", "write", "writev",
)  # fmt: skip

CONDITIONAL: Mapping[str, tuple[Condition, ...]] = {
    "socket": (Condition(argument=0, value=AF_UNIX),),
    "prctl": (Condition(argument=0, value=PR_SET_DUMPABLE), Condition(argument=1, value=0)),
    # Limits can be read, not changed: both halves of the pointer have to be null.
    "prlimit64": (
        Condition(argument=2, value=0),
        Condition(argument=2, value=0, high=True),
    ),
    # Code can only be mapped from files, and after the start there are none.
    "mprotect": (Condition(argument=2, value=PROT_EXEC, bits=True),),
}

X86_64 = Machine(
    audit=0xC000003E,
    numbers={
        "accept": 43, "accept4": 288, "access": 21, "arch_prctl": 158, "bind": 49, "brk": 12,
        "clock_gettime": 228, "close": 3, "close_range": 436, "execve": 59, "exit": 60,
        "exit_group": 231, "faccessat": 269, "faccessat2": 439, "fcntl": 72, "fstat": 5,
        "futex": 202, "getegid": 108, "geteuid": 107, "getgid": 104, "getpeername": 52,
        "getpid": 39, "getppid": 110, "getrandom": 318, "getsockname": 51, "getsockopt": 55,
        "gettid": 186, "gettimeofday": 96, "getuid": 102, "listen": 50, "lseek": 8, "lstat": 6,
        "madvise": 28, "mmap": 9, "mprotect": 10, "mremap": 25, "munmap": 11, "newfstatat": 262,
        "open": 2, "openat": 257, "poll": 7, "ppoll": 271, "prctl": 157, "pread64": 17,
        "prlimit64": 302, "pselect6": 270, "read": 0, "readlink": 89, "readlinkat": 267,
        "readv": 19, "recvfrom": 45, "recvmsg": 47, "restart_syscall": 219, "rseq": 334,
        "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "sched_yield": 24,
        "select": 23, "sendmsg": 46, "sendto": 44, "set_robust_list": 273, "set_tid_address": 218,
        "sigaltstack": 131, "socket": 41, "stat": 4, "statx": 332, "sysinfo": 99, "umask": 95,
        "uname": 63, "write": 1, "writev": 20,
    },
)  # fmt: skip

AARCH64 = Machine(
    audit=0xC00000B7,
    numbers={
        "accept": 202, "accept4": 242, "bind": 200, "brk": 214, "clock_gettime": 113, "close": 57,
        "close_range": 436, "execve": 221, "exit": 93, "exit_group": 94, "faccessat": 48,
        "faccessat2": 439, "fcntl": 25, "fstat": 80, "futex": 98, "getegid": 177, "geteuid": 175,
        "getgid": 176, "getpeername": 205, "getpid": 172, "getppid": 173, "getrandom": 278,
        "getsockname": 204, "getsockopt": 209, "gettid": 178, "gettimeofday": 169, "getuid": 174,
        "listen": 201, "lseek": 62, "madvise": 233, "mmap": 222, "mprotect": 226, "mremap": 216,
        "munmap": 215, "newfstatat": 79, "openat": 56, "ppoll": 73, "prctl": 167, "pread64": 67,
        "prlimit64": 261, "pselect6": 72, "read": 63, "readlinkat": 78, "readv": 65,
        "recvfrom": 207, "recvmsg": 212, "restart_syscall": 128, "rseq": 293, "rt_sigaction": 134,
        "rt_sigprocmask": 135, "rt_sigreturn": 139, "sched_yield": 124, "sendmsg": 211,
        "sendto": 206, "set_robust_list": 99, "set_tid_address": 96, "sigaltstack": 132,
        "socket": 198, "statx": 291, "sysinfo": 179, "umask": 166, "uname": 160, "write": 64,
        "writev": 66,
    },
)  # fmt: skip

MACHINES: Mapping[str, Machine] = {"x86_64": X86_64, "aarch64": AARCH64}


def program(machine: Machine) -> bytes:
    """Return the filter as an array of struct sock_filter.

    Calls of another architecture (32-bit on a 64-bit kernel) kill; x32's numbers get ENOSYS.
    """
    numbers = machine.numbers
    lines = [
        *_load(_ARCHITECTURE),
        _line(_EQUAL, machine.audit, 1, 0),
        _line(_RETURN, KILL),
        *_load(_NUMBER),
        *_case(numbers["execve"], (), NOTIFY),
        *_mmap(numbers["mmap"]),
    ]
    for name, conditions in CONDITIONAL.items():
        lines += _case(numbers[name], conditions, ALLOW)
    for name in PLAIN:
        if name in numbers:
            lines += _case(numbers[name], (), ALLOW)
    return b"".join((*lines, _line(_RETURN, REFUSE)))


def _case(number: int, conditions: tuple[Condition, ...], verdict: int) -> list[bytes]:
    """Return `verdict` for this call if all conditions hold, refuse it if one does not."""
    checks = [line for condition in conditions for line in _check(condition)]
    body = [*checks, _line(_RETURN, verdict)]
    return [_line(_EQUAL, number, 0, len(body)), *body]


def _check(condition: Condition) -> list[bytes]:
    """Refuse unless the condition holds."""
    load = _load(_ARGUMENTS + 8 * condition.argument + 4 * condition.high)
    if condition.bits:
        return [*load, _line(_ANY_BIT, condition.value, 0, 1), _line(_RETURN, REFUSE)]
    return [*load, _line(_EQUAL, condition.value, 1, 0), _line(_RETURN, REFUSE)]


def _mmap(number: int) -> list[bytes]:
    """Refuse anonymous executable memory: the loader needs none, an exploit does."""
    body = [
        *_load(_ARGUMENTS + 8 * 2),
        _line(_ANY_BIT, PROT_EXEC, 0, 3),
        *_load(_ARGUMENTS + 8 * 3),
        _line(_ANY_BIT, MAP_ANONYMOUS, 0, 1),
        _line(_RETURN, REFUSE),
        _line(_RETURN, ALLOW),
    ]
    return [_line(_EQUAL, number, 0, len(body)), *body]


def _load(offset: int) -> list[bytes]:
    return [_line(_LOAD, offset)]


def _line(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)

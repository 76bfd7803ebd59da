"""The filter's verdict on each call, by running the BPF program as the kernel would."""

import ctypes
import ctypes.util
import struct
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bootstrap.sandbox.ssh.agent_seccomp import (
    ALLOW,
    CONDITIONAL,
    KILL,
    MACHINES,
    NOTIFY,
    PLAIN,
    REFUSE,
    program,
)

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # linux/audit.h
I386 = 0x40000003
AF_UNIX, AF_INET, AF_NETLINK, AF_ALG, AF_VSOCK = 1, 2, 16, 38, 40
ANONYMOUS, PRIVATE = 0x20, 2
READ, WRITE, EXEC = 1, 2, 4

# Calls by which a compromised process could get further (syscalls(2)).
DANGEROUS = (
    "execveat", "clone", "clone3", "fork", "vfork", "ptrace", "process_vm_readv", "bpf", "keyctl",
    "process_vm_writev", "mount", "move_mount", "open_tree", "umount2", "pivot_root", "unshare",
    "setns", "connect", "kill", "tgkill", "perf_event_open", "io_uring_setup", "userfaultfd",
    "add_key", "memfd_create", "chmod", "fchmodat", "unlink", "rename", "setuid", "setresuid",
    "setrlimit", "capset", "init_module", "kexec_load", "personality", "socketpair", "ioctl",
    "pidfd_getfd", "pidfd_open", "name_to_handle_at", "open_by_handle_at", "seccomp", "sendmmsg",
)  # fmt: skip

machines = pytest.mark.parametrize("machine", sorted(MACHINES))


def verdict(machine: str, number: int, *arguments: int, audit: int | None = None) -> int:
    """Run the program on struct seccomp_data (seccomp(2)), with the semantics of BSD's bpf(4)."""
    wide = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("<iIQ6Q", number, audit or ARCHITECTURES[machine], 0, *wide)
    lines = list(struct.iter_unpack("<HBBI", program(MACHINES[machine])))
    at, accumulator = 0, 0
    while True:
        code, if_true, if_false, value = lines[at]
        at += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, value)
            case 0x15:
                at += if_true if accumulator == value else if_false
            case 0x45:
                at += if_true if accumulator & value else if_false
            case 0x06:
                return int(value)
            case _:
                raise AssertionError(f"unknown instruction {code:#x}")


def verdict_on(machine: str, name: str, *arguments: int) -> int:
    return verdict(machine, MACHINES[machine].numbers[name], *arguments)


def libseccomp(name: str, audit: int) -> int:
    """Return a call's number from the library that Docker's runtime uses."""
    path = ctypes.util.find_library("seccomp") or "libseccomp.so.2"
    resolve = ctypes.CDLL(path).seccomp_syscall_resolve_name_arch
    return int(resolve(ctypes.c_uint32(audit), name.encode()))


@pytest.mark.lab
@machines
def test_syscall_numbers_equal_those_of_libseccomp(machine: str) -> None:
    numbers = MACHINES[machine].numbers
    real = {name: libseccomp(name, ARCHITECTURES[machine]) for name in numbers}
    assert dict(numbers) == real


@pytest.mark.lab
@machines
def test_dangerous_syscalls_are_refused(machine: str) -> None:
    numbers = {name: libseccomp(name, ARCHITECTURES[machine]) for name in DANGEROUS}
    known = {name: number for name, number in numbers.items() if number >= 0}
    assert set(DANGEROUS) - set(known) <= {"fork", "vfork", "chmod", "unlink", "rename"}  # aarch64
    assert {name for name, number in known.items() if verdict(machine, number) != REFUSE} == set()


@machines
def test_unlisted_syscalls_are_refused(machine: str) -> None:
    numbers = MACHINES[machine].numbers
    allowed = {
        numbers[name] for name in (*PLAIN, *CONDITIONAL, "mmap", "execve") if name in numbers
    }
    unlisted = set(range(1024)) - allowed
    assert {number for number in unlisted if verdict(machine, number) != REFUSE} == set()


@machines
def test_execve_is_reported_to_supervisor(machine: str) -> None:
    assert verdict_on(machine, "execve", 1, 2, 3) == NOTIFY


@machines
@given(audit=st.integers(0, 0xFFFFFFFF), number=st.integers(0, 500))
def test_syscall_of_another_architecture_kills(machine: str, audit: int, number: int) -> None:
    assume(audit != ARCHITECTURES[machine])
    assert verdict(machine, number, audit=audit or I386) == KILL


@given(number=st.integers(0, 0x0FFFFFFF))
def test_x32_syscalls_are_refused(number: int) -> None:
    assert verdict("x86_64", 0x40000000 | number) == REFUSE


@machines
def test_socket_of_any_family_but_unix_is_refused(machine: str) -> None:
    assert verdict_on(machine, "socket", AF_UNIX, 1) == ALLOW
    for family in (AF_INET, 10, AF_NETLINK, 17, AF_ALG, AF_VSOCK):
        assert verdict_on(machine, "socket", family, 1) == REFUSE


@machines
def test_prctl_other_than_undumpable_is_refused(machine: str) -> None:
    assert verdict_on(machine, "prctl", 4, 0) == ALLOW
    assert verdict_on(machine, "prctl", 4, 1) == REFUSE
    assert verdict_on(machine, "prctl", 1, 0) == REFUSE  # PR_SET_PDEATHSIG


@machines
def test_prlimit_that_sets_limits_is_refused(machine: str) -> None:
    assert verdict_on(machine, "prlimit64", 0, 4, 0, 0x7FFF00000000) == ALLOW
    assert verdict_on(machine, "prlimit64", 0, 4, 0x7FFF00000000, 0) == REFUSE
    assert verdict_on(machine, "prlimit64", 0, 4, 1, 0) == REFUSE


@machines
def test_executable_anonymous_memory_is_refused(machine: str) -> None:
    assert verdict_on(machine, "mmap", 0, 4096, READ | EXEC, PRIVATE) == ALLOW  # a library
    assert verdict_on(machine, "mmap", 0, 4096, READ | WRITE, PRIVATE | ANONYMOUS) == ALLOW
    assert verdict_on(machine, "mmap", 0, 4096, READ | WRITE | EXEC, PRIVATE | ANONYMOUS) == REFUSE
    assert verdict_on(machine, "mprotect", 0, 4096, READ) == ALLOW
    assert verdict_on(machine, "mprotect", 0, 4096, READ | EXEC) == REFUSE


def test_confine_script_supports_the_same_machines() -> None:
    script = (Path(__file__).parents[3] / "bootstrap/sandbox/ssh/confine.py").read_text()
    assert all(f'"{machine}": {{"clone"' in script for machine in MACHINES)

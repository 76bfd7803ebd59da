"""Starts a program with what airlock.service takes from it, on a machine without systemd.

    python -m tests.service.as_unit PROGRAM [ARGUMENT…]

Settings that are not known here are an error, so that no setting goes untested. systemd.exec(5)
describes systemd's own filters; those here refuse at least as much.
"""

import ctypes
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.service.units import SERVICE, unit

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_NO_NEW_PRIVS, PR_SET_MDWE, PR_CAPBSET_DROP = 38, 65, 24
ALLOW, EPERM, EAFNOSUPPORT = 0x7FFF0000, 1, 97
NE, LE, EQ, GE, GT, MASKED = 1, 3, 4, 5, 6, 7
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}
NAMESPACES = {
    "cgroup": 0x02000000, "uts": 0x04000000, "ipc": 0x08000000, "user": 0x10000000,
    "pid": 0x20000000, "net": 0x40000000, "mnt": 0x00020000,
}  # fmt: skip
# What does not restrict a program, or is for the manager alone.
OTHERS = {
    "Type", "NotifyAccess", "ExecStart", "ExecReload", "Restart", "RestartSec", "KillMode",
    "TimeoutStartSec", "TimeoutStopSec", "WatchdogSec", "WatchdogSignal", "OOMPolicy",
    "OOMScoreAdjust", "TasksMax", "SystemCallErrorNumber",
}  # fmt: skip
Argument = tuple[int, int, int, int]  # number, comparison, first operand, second operand


class _Comparison(ctypes.Structure):
    """struct scmp_arg_cmp."""

    _fields_ = (
        ("arg", ctypes.c_uint), ("op", ctypes.c_int),
        ("a", ctypes.c_uint64), ("b", ctypes.c_uint64),
    )  # fmt: skip


class Filter:
    """A seccomp filter, built by libseccomp: what it does not refuse is allowed."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libseccomp.so.2")
        self._library.seccomp_init.restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(self._library.seccomp_init(ALLOW))

    def refuse(self, name: str, *arguments: Argument, error: int = EPERM) -> None:
        """Answer a system call with an error, if all of these hold of its arguments."""
        number = self._library.seccomp_syscall_resolve_name(name.encode())
        if number < 0:
            return  # of another architecture
        comparisons = (_Comparison * len(arguments))(*(_Comparison(*a) for a in arguments))
        status = self._library.seccomp_rule_add_array(
            self._context, 0x00050000 | error, number, len(arguments), comparisons
        )
        if status:
            raise OSError(-status, f"seccomp refuses the rule for {name}")

    def load(self) -> None:
        """Apply it to this process, for good."""
        if status := self._library.seccomp_load(self._context):
            raise OSError(-status, "seccomp_load")


def system_calls(names: Iterable[str]) -> set[str]:
    """Return the system calls that a deny list names, those of its groups among them."""
    found = set()
    for name in names:
        if not name.startswith("@"):
            found.add(name)
            continue
        listed = ["systemd-analyze", "syscall-filter", name]
        lines = subprocess.run(listed, capture_output=True, text=True, check=True).stdout
        members = [line.strip() for line in lines.splitlines()[1:]]
        found |= system_calls(m for m in members if m and not m.startswith("#"))
    return found


def no_system_calls(filtered: Filter, value: str) -> None:
    assert value.startswith("~"), "this is for deny lists"
    for name in system_calls(value[1:].split()):
        filtered.refuse(name)


def no_other_families(filtered: Filter, value: str) -> None:
    allowed = sorted(FAMILIES[name] for name in value.split())
    between = set(range(allowed[-1] + 1)) - set(allowed)
    for family in between:
        filtered.refuse("socket", (0, EQ, family, 0), error=EAFNOSUPPORT)
    filtered.refuse("socket", (0, GT, allowed[-1], 0), error=EAFNOSUPPORT)


def no_other_namespaces(filtered: Filter, value: str) -> None:
    for name in NAMESPACES.keys() - set(value.split()):
        flag = NAMESPACES[name]
        filtered.refuse("unshare", (0, MASKED, flag, flag))
        filtered.refuse("clone", (0, MASKED, flag, flag))
        filtered.refuse("setns", (1, MASKED, flag, flag))
    filtered.refuse("setns", (1, EQ, 0, 0))
    filtered.refuse("clone3", error=38)  # its flags are in memory, which no filter sees


def no_set_id_bits(filtered: Filter, value: str) -> None:
    assert value == "yes"
    calls = {"chmod": 1, "fchmod": 1, "fchmodat": 2, "mkdir": 1, "mkdirat": 2, "creat": 1,
             "mknod": 1, "mknodat": 2}  # fmt: skip
    for bit in (0o4000, 0o2000):
        for name, argument in calls.items():
            filtered.refuse(name, (argument, MASKED, bit, bit))
        creating = (os.O_CREAT, os.O_CREAT)
        filtered.refuse("open", (1, MASKED, *creating), (2, MASKED, bit, bit))
        filtered.refuse("openat", (2, MASKED, *creating), (3, MASKED, bit, bit))


def no_realtime(filtered: Filter, value: str) -> None:
    assert value == "yes"
    for policy in (1, 2, 6):
        filtered.refuse("sched_setscheduler", (1, EQ, policy, 0))


def no_personality(filtered: Filter, value: str) -> None:
    assert value == "yes"
    filtered.refuse("personality", (0, NE, 0, 0))


FILTERS: dict[str, Callable[[Filter, str], None]] = {
    "SystemCallFilter": no_system_calls,
    "RestrictAddressFamilies": no_other_families,
    "RestrictNamespaces": no_other_namespaces,
    "RestrictSUIDSGID": no_set_id_bits,
    "RestrictRealtime": no_realtime,
    "LockPersonality": no_personality,
    "SystemCallArchitectures": lambda _, value: None if value == "native" else sys.exit(value),
}


def checked(status: int, what: str) -> None:
    if status != 0:
        raise OSError(ctypes.get_errno(), what)


def limit(name: str, value: str) -> None:
    """Apply a setting that is no filter."""
    match name:
        case "NoNewPrivileges" if value == "yes":
            checked(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), name)
        case "MemoryDenyWriteExecute" if value == "yes":
            checked(LIBC.prctl(PR_SET_MDWE, 1, 0, 0, 0), name)
        case "LimitCORE" | "LimitNOFILE":
            kind = getattr(resource, f"RLIMIT_{name.removeprefix('Limit')}")
            most = min(int(value), resource.getrlimit(kind)[1] & sys.maxsize)
            resource.setrlimit(kind, (most, most))
        case "UMask":
            os.umask(int(value, 8))
        case _:
            raise ValueError(f"{name}={value}: this setting is not known here")


def become(settings: dict[str, str]) -> list[str]:
    """Apply everything but the capabilities; return the command that starts without those."""
    known = {*OTHERS, *FILTERS, "CapabilityBoundingSet"}
    for name, value in settings.items():
        if name not in known:
            limit(name, value)
    filtered = Filter()
    for name, apply in FILTERS.items():
        apply(filtered, settings[name])
    names = (cap.removeprefix("CAP_").lower() for cap in settings["CapabilityBoundingSet"].split())
    kept = ",".join(f"+{name}" for name in names)
    filtered.load()
    return ["setpriv", "--inh-caps=-all", f"--bounding-set=-all,{kept}", "--"]


if __name__ == "__main__":
    command = [*become(unit(SERVICE)["Service"]), *sys.argv[1:]]
    os.execv(Path("/usr/bin/setpriv"), command)  # noqa: S606 - no shell is needed

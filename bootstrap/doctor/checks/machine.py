"""Checks of the machine: kernel, programs, users, mounts."""

from collections.abc import Mapping
from pathlib import Path

from bootstrap.doctor.agent_cfg import agents
from bootstrap.doctor.model import Check, Verdict, fail, known, ok, warn
from bootstrap.doctor.snapshot import Mount, Snapshot
from bootstrap.doctor.versions import version
from bootstrap.host.builds_settings import REFUSING
from bootstrap.host.config import Host
from bootstrap.text import counted

PYTHON, KERNEL = (3, 11), (5, 9)
CONNECTIONS = 15_000  # entries of the connection tracking table that each agent may need
_MODULE = "nf_conntrack is loaded with the first ruleset"


def _root(snapshot: Snapshot) -> Verdict:
    uid = snapshot.machine.uid
    if uid == 0:
        return ok("doctor runs as root, as the service does")
    return fail(f"doctor runs as uid {uid}", "Run `sudo airlock doctor`.")


def _python(snapshot: Snapshot) -> Verdict:
    seen = ".".join(map(str, snapshot.machine.python))
    if snapshot.machine.python[:2] >= PYTHON:
        return ok(seen)
    return fail(
        seen,
        "Make the virtual environment with Python 3.11 or newer: `python3.11 -m venv /opt/airlock` "
        "(Amazon Linux 2023: package python3.11).",
    )


def _kernel(snapshot: Snapshot) -> Verdict:
    seen = snapshot.machine.kernel
    if version(seen) >= KERNEL:
        return ok(f"Linux {seen}")
    return fail(
        f"Linux {seen}", "Boot a kernel 5.9 or newer; every supported distribution has one."
    )


def _programs(snapshot: Snapshot) -> Verdict:
    missing = snapshot.machine.missing_programs
    if not missing:
        return ok("all are installed")
    packages = " ".join(sorted(set(missing.values())))
    optional = {"openssh-client"} >= set(missing.values())
    verdict = warn if optional else fail
    return verdict(
        f"missing: {', '.join(sorted(missing))}",
        f"Install {packages} (Debian's names of the packages).",
    )


def _user_namespaces(snapshot: Snapshot) -> Verdict:
    """Of the kernel's settings only the first concerns Docker's userns-remap, which is root's."""
    found = snapshot.machine.settings
    refusing = [
        (name.replace("/", "."), refuses, allows)
        for name, refuses, allows in REFUSING
        if found.get(name) == refuses
    ]
    builds = isinstance(snapshot.host, Host) and snapshot.host.builds is not None
    most = found.get("user/max_user_namespaces")
    if not refusing or (not builds and most != 0):
        return ok(f"user.max_user_namespaces is {'not limited' if most is None else most}")
    commands = ", ".join(f"`sysctl -w {name}={allows}`" for name, _, allows in refusing)
    shown = ", ".join(f"{name} is {refuses}" for name, refuses, _ in refusing)
    if builds:
        return fail(
            f"{shown}: jobs whose rule has builds end with 78",
            f"{commands}, and the same in /etc/sysctl.d; or leave [builds] out of airlock.toml.",
        )
    return warn(
        shown,
        f"{commands}, and the same in /etc/sysctl.d, if images are built on this host or Docker "
        "maps users.",
    )


def _connections(snapshot: Snapshot) -> Verdict:
    """One agent may have CONNECTIONS of them; each slot is one agent's."""
    slots = snapshot.configured.sandbox.slots
    most = snapshot.machine.settings.get("net/netfilter/nf_conntrack_max")
    needed = CONNECTIONS * min(slots, _agents(snapshot))
    if most is None:
        return ok(f"not there yet: {_MODULE}")
    if most >= needed:
        return ok(f"{most} entries")
    return warn(
        f"{most} entries, expected {needed} or more for {counted(_agents(snapshot), 'agent')}",
        f"`sysctl -w net.netfilter.nf_conntrack_max={max(needed, 262_144)}`, and the same in "
        "/etc/sysctl.d.",
    )


def _agents(snapshot: Snapshot) -> int:
    """Return how many agents this host runs; one if that cannot be read."""
    settings = snapshot.agent.settings
    found = settings if isinstance(settings, Mapping) else {}
    return agents(found, snapshot.machine.processors)


def _limits(snapshot: Snapshot) -> Verdict:
    sandbox = snapshot.configured.sandbox
    settings = snapshot.machine.settings
    wanted = {
        "kernel/pid_max": sandbox.slots * sandbox.pids,
        "kernel/threads-max": sandbox.slots * sandbox.pids,
        "net/ipv4/neigh/default/gc_thresh3": 2 * sandbox.slots,
    }
    low = {
        name.replace("/", "."): least
        for name, least in wanted.items()
        if (found := settings.get(name)) is not None and found < least
    }
    if not low:
        return ok(f"enough for {sandbox.slots} slots of {sandbox.pids} processes")
    fixes = " ".join(f"{name}={least}" for name, least in low.items())
    shown = ", ".join(f"{name} is {settings[name.replace('.', '/')]}" for name in low)
    return warn(
        f"{shown}: too low for {sandbox.slots} slots of {sandbox.pids} processes",
        f"`sysctl -w {fixes}`, and the same in /etc/sysctl.d; or lower sandbox.slots or "
        "sandbox.pids in airlock.toml.",
    )


def _job_uids(snapshot: Snapshot) -> Verdict:
    known(snapshot.machine.accounts)
    uids = snapshot.configured.sandbox.uids
    return ok(f"{uids[0] - 1} to {uids[-1]} belong to nobody")


def mount_of(path: Path, mounts: tuple[Mount, ...]) -> Mount | None:
    """Return the mount that a path is on: the last one of the longest path above it."""
    above = [one for one in mounts if path.is_relative_to(one.path)]
    return max(above, key=lambda one: (len(one.path.parts), mounts.index(one)), default=None)


def _state_mount(snapshot: Snapshot) -> Verdict:
    path = snapshot.configured.paths.state
    found = mount_of(path, snapshot.machine.mounts)
    if found is None:
        return ok(f"{path}: no mount is listed")
    wrong = sorted({"noexec", "ro"} & found.options)
    if wrong:
        return fail(
            f"{path} is on {found.path}, which is mounted {' and '.join(wrong)}",
            f"`mount -o remount,exec,rw {found.path}`, and the same in /etc/fstab; or set "
            "paths.state in airlock.toml to a directory of another filesystem.",
        )
    if found.kind in {"tmpfs", "ramfs"}:
        return warn(
            f"{path} is in memory ({found.kind})",
            "Set paths.state in airlock.toml to a directory on a disk.",
        )
    return ok(f"{path} is on {found.path} ({found.kind})")


def _runtime_mount(snapshot: Snapshot) -> Verdict:
    path = snapshot.configured.paths.runtime
    found = mount_of(path, snapshot.machine.mounts)
    options = found.options if found else frozenset()
    if "ro" in options:
        return fail(
            f"{path} is on a filesystem that is mounted read-only",
            "Set paths.runtime in airlock.toml to a directory that can be written to.",
        )
    kind = found.kind if found else "unknown"
    memory = "in memory" if kind in {"tmpfs", "ramfs"} else "on disk: a tmpfs is mounted there"
    return ok(f"{path} is {memory}{', noexec, which it may be' if 'noexec' in options else ''}")


TITLE = "The machine"
CHECKS = (
    Check(
        name="root", judge=_root, what="It runs as root, as the service does",
        why="Without root nearly nothing of this host can be seen, and no job can be started.",
    ),
    Check(
        name="python", judge=_python, what="Python is 3.11 or newer",
        why="Airlock uses what older versions lack.",
    ),
    Check(
        name="kernel", judge=_kernel, what="The kernel is 5.9 or newer",
        why="Older kernels lack what the ruleset and the supervision of jobs use.",
    ),
    Check(
        name="programs", judge=_programs, what="Every program that Airlock runs is installed",
        why="A job that needs a missing one ends with 125. ssh-agent and ssh-add are only for "
        "rules with ssh-keys.",
    ),
    Check(
        name="user-namespaces", judge=_user_namespaces,
        what="The kernel allows user namespaces",
        why="Docker's userns-remap and `builds` of rules need them; other jobs do not.",
    ),
    Check(
        name="connections", judge=_connections,
        what="The connection tracking table has 15 000 entries for each agent",
        why="When it is full, the kernel drops new connections of jobs and of this host alike.",
    ),
    Check(
        name="machine-limits", judge=_limits,
        what="Limits of the whole machine suffice for all slots",
        why="They exist once: a job that reaches one of them disturbs all others.",
    ),
    Check(
        name="job-uids", judge=_job_uids,
        what="The numbers of jobs' users belong to no user, group or subordinate range",
        why="A job that has the number of an account could read what that account may read. Jobs "
        "end with 78.",
    ),
    Check(
        name="state-mount", judge=_state_mount,
        what="The filesystem of paths.state is on disk, writable, and not noexec",
        why="Checkouts are there, and jobs run programs of their checkouts.",
    ),
    Check(
        name="runtime-mount", judge=_runtime_mount,
        what="The filesystem of paths.runtime can be written to; noexec is fine",
        why="Job directories are there: without them no job starts.",
    ),
)  # fmt: skip

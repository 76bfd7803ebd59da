"""The machine: its kernel, its settings and mounts, the programs that Airlock runs, its users."""

import os
import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bootstrap import process
from bootstrap.doctor.model import Read, known
from bootstrap.doctor.read import packages
from bootstrap.doctor.read.places import Places
from bootstrap.doctor.read.reading import read, text
from bootstrap.doctor.snapshot import Machine, Mount
from bootstrap.host.builds_settings import REFUSING
from bootstrap.host.config import Host
from bootstrap.sandbox import confinement
from bootstrap.sandbox.leases import slots

SETTINGS = (
    *(name for name, _, _ in REFUSING),
    "net/netfilter/nf_conntrack_max",
    "net/ipv4/ip_forward",
    "net/ipv4/neigh/default/gc_thresh3",
    "kernel/pid_max",
    "kernel/threads-max",
    "fs/file-max",
)
_OCTAL = re.compile(r"\\([0-7]{3})")


def machine(host: Read[Host], places: Places) -> Machine:
    """Return this machine; `host` is for the numbers that its jobs get."""
    return Machine(
        uid=os.geteuid(),
        python=(sys.version_info.major, sys.version_info.minor, sys.version_info.micro),
        kernel=kernel(
            os.uname().release, os.uname().version, _text(Path("/proc/version_signature"))
        ),
        release=os.uname().release,
        processors=os.cpu_count() or 1,
        has_apparmor=confinement.has_apparmor(),
        selinux_enforcing=_text(Path("/sys/fs/selinux/enforce")).strip() == "1",
        settings={name: _number(Path("/proc/sys", name)) for name in SETTINGS},
        mounts=tuple(mounts(_text(Path("/proc/self/mountinfo")))),
        missing_programs=process.missing(),
        accounts=read(partial(_accounts, host)),
        changelogs=packages.changelogs(os.uname().release, places),
    )


def kernel(release: str, version: str, signature: str = "") -> str:
    """Return the upstream version of a kernel.

    Debian has it in the version ("#1 SMP Debian 6.1.140-1"), Ubuntu in /proc/version_signature.
    """
    if found := re.search(r" (\d+\.\d+\.\d+)\s*$", signature):
        return found[1]
    if found := re.search(r"Debian (\d+\.\d+\.\d+)", version):
        return found[1]
    return re.split(r"[^\d.]", release, maxsplit=1)[0].rstrip(".")


def mounts(mountinfo: str) -> Iterator[Mount]:
    """Yield every mount of /proc/self/mountinfo, in its order: later ones hide earlier ones."""
    for line in mountinfo.splitlines():
        ours, _, theirs = line.partition(" - ")
        fields, others = ours.split(), theirs.split()
        if len(fields) < 6 or len(others) < 3:
            continue
        path = _OCTAL.sub(lambda octal: chr(int(octal[1], 8)), fields[4])
        options = frozenset((*fields[5].split(","), *others[2].split(",")))
        yield Mount(path=Path(path), kind=others[0], options=options)


def _accounts(host: Read[Host]) -> None:
    slots.require_free(known(host).sandbox)


def _number(path: Path) -> int | None:
    found = _text(path).strip()
    return int(found) if re.fullmatch(r"\d+", found) else None


def _text(path: Path) -> str:
    try:
        return text(path)
    except OSError:
        return ""

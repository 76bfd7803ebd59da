"""Which CVEs the packages of this host say that they fix: distributions fix old versions too."""

import gzip
import re
from collections.abc import Iterable
from pathlib import Path

from bootstrap import process
from bootstrap.doctor.read.places import Places
from bootstrap.doctor.read.reading import MOST
from bootstrap.errors import CannotStart

# Component -> the packages that may have it, of Debian, Ubuntu, Amazon Linux and Docker itself.
PACKAGES = {
    "Engine": ("docker.io", "docker-ce", "docker", "moby-engine"),
    "containerd": ("containerd", "containerd.io"),
    "runc": ("runc", "containerd.io"),
}
_CVE = re.compile(r"CVE-\d{4}-\d{4,}")


def changelogs(release: str, places: Places) -> dict[str, frozenset[str]]:
    """Return the CVEs in the change logs of each component's packages.

    `release` is that of the kernel that runs: a newer one that is installed fixes nothing yet.
    """
    kernels = (f"linux-image-{release}", f"linux-image-unsigned-{release}", f"kernel-{release}")
    components = {**PACKAGES, "kernel": kernels}
    return {name: frozenset(_fixed(packages, places)) for name, packages in components.items()}


def _fixed(packages: Iterable[str], places: Places) -> set[str]:
    found: set[str] = set()
    for package in packages:
        for name in ("changelog.Debian.gz", "changelog.gz"):
            found |= set(_CVE.findall(_unpacked(places.documents / package / name)))
        found |= set(_CVE.findall(_of_rpm(package)))
    return found


def _unpacked(path: Path) -> str:
    """Return the text of a compressed change log, as far as MOST bytes; "" without one."""
    try:
        with gzip.open(path) as file:
            return file.read(MOST).decode(errors="replace")
    except (OSError, EOFError):
        return ""


def _of_rpm(package: str) -> str:
    try:
        return process.run(["rpm", "-q", "--changelog", package], timeout=5.0)[:MOST]
    except CannotStart:  # no rpm here, or no such package
        return ""

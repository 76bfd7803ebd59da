"""The users of a builder: numbers of this host that nobody else has, one range for each slot."""

import grp
import pwd
from collections.abc import Iterator
from pathlib import Path

from bootstrap.errors import WrongConfiguration
from bootstrap.host.builds_settings import REFUSING
from bootstrap.host.config import Host
from bootstrap.sandbox.leases import subordinate

_SYSCTL = Path("/proc/sys")
_ALTERNATIVE = (
    "Run such jobs on a queue whose hosts allow user namespaces, or have them use a BuildKit "
    "elsewhere (`docker buildx create --driver remote`): "
    "docs/builds.md#hosts-without-user-namespaces."
)


def of_slot(host: Host, uid: int) -> range:
    """Return the users of the builder of the job that runs as `uid`: root's in it is the first."""
    assert host.builds is not None  # noqa: S101 - for the type checker: `require` was called
    return host.builds.uids_of(uid - host.sandbox.first_uid)


def require(host: Host, sysctl: Path = _SYSCTL) -> None:
    """Raise WrongConfiguration unless this host can build images: by its settings and kernel."""
    if host.builds is None:
        raise WrongConfiguration(
            "the rule has `builds: buildkit`, and this host has no image of BuildKit",
            hint="Set `image` in the table [builds] of airlock.toml: docs/builds.md. "
            f"{_ALTERNATIVE}",
        )
    for name, refuses, allows in REFUSING:
        if _read(sysctl / name) == str(refuses):
            setting = name.replace("/", ".")
            raise WrongConfiguration(
                "the rule has `builds: buildkit`, and this host's kernel refuses user namespaces: "
                f"{setting} is {refuses}",
                hint=f"`sysctl -w {setting}={allows}` allows them, and the same in /etc/sysctl.d "
                f"after the next boot. {_ALTERNATIVE}",
            )
    _refuse_others(host.builds.uids(host.sandbox.slots))


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # this kernel has no such setting
        return ""


def _refuse_others(ours: range) -> None:
    """A process of theirs could read what a build has written, and send signals to it."""
    if found := next(_others(ours), None):
        raise WrongConfiguration(
            f"{found}, among those of builders: {ours.start} to {ours.stop - 1}",
            hint="Set builds.first-uid in airlock.toml to the first of 65536 numbers for each of "
            "sandbox.slots that no user and no group has, and no line of /etc/subuid and "
            "/etc/subgid gives away.",
        )


def _others(ours: range) -> Iterator[str]:
    for file in subordinate.FILES:
        for one in subordinate.ranges(file):
            if max(ours.start, one.numbers.start) < min(ours.stop, one.numbers.stop):
                yield f"{file} gives {one.user} numbers from {one.numbers.start} on"
    yield from (f"the user {a.pw_name} has {a.pw_uid}" for a in pwd.getpwall() if a.pw_uid in ours)
    yield from (f"the group {g.gr_name} has {g.gr_gid}" for g in grp.getgrall() if g.gr_gid in ours)

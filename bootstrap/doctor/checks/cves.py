"""Checks of versions against the table of vulnerabilities (cves.toml)."""

from functools import cache, partial

from bootstrap import packaged
from bootstrap.doctor import versions
from bootstrap.doctor.model import Check, Verdict, fail, ok, warn
from bootstrap.doctor.snapshot import Snapshot
from bootstrap.doctor.versions import Cve, Table, affected, is_of_distribution

_PACKAGES = {
    "Engine": "docker-ce, docker.io or docker",
    "containerd": "containerd.io or containerd",
    "runc": "containerd.io or runc",
    "kernel": "the kernel, and reboot",
}
_DISTRIBUTION = " (a distribution's, which may have a fix that its change log does not name)"


@cache
def table() -> Table:
    """Return the table that this version of Airlock has."""
    return versions.table(packaged.text("bootstrap.doctor", "cves.toml"))


def _judge(component: str, snapshot: Snapshot) -> Verdict:
    text = _version(component, snapshot)
    if not text:
        return ok(f"the engine does not report its {component}")
    fixed = snapshot.machine.changelogs.get(component, frozenset())
    found = list(affected(table(), component, text, fixed=fixed))
    if not found:
        return ok(f"{text}: none of the table of {table().checked}")
    of_distribution = is_of_distribution(
        snapshot.machine.release if component == "kernel" else text
    )
    least = max(found, key=lambda cve: max(cve.fixed, default=()))
    shown = ", ".join(cve.id for cve in found)
    verdict = warn if of_distribution or not any(c.severity == "high" for c in found) else fail
    return verdict(
        f"{text}{_DISTRIBUTION if of_distribution else ''} has {shown}",
        f"Update {_PACKAGES[component]}: fixed from {_versions(least)} on. `apt-get update && "
        "apt-get upgrade`, or `dnf upgrade --refresh`.",
        tuple(f"{cve.id} ({cve.severity}): {cve.what}" for cve in found),
    )


def _version(component: str, snapshot: Snapshot) -> str:
    if component == "kernel":
        return snapshot.machine.kernel
    engine = snapshot.docker
    return {**engine.components, "Engine": engine.version}.get(component, "")


def _versions(cve: Cve) -> str:
    return ", ".join(".".join(map(str, one)) for one in cve.fixed)


def _check(component: str, called: str, why: str) -> Check:
    return Check(
        name=f"{component.lower()}-cves",
        judge=partial(_judge, component),
        what=f"{called} has none of the vulnerabilities in Airlock's table",
        why=why,
    )


_ESCAPE = "By these a job reaches this host, or another job, however it is confined."
TITLE = "Known vulnerabilities"
CHECKS = (
    _check("Engine", "Docker Engine", _ESCAPE),
    _check("containerd", "containerd", _ESCAPE),
    _check("runc", "runc", _ESCAPE),
    _check("kernel", "The kernel", _ESCAPE),
)

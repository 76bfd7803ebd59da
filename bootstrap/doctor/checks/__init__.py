"""The checks, one module for each subject: pure rules over one snapshot of the host."""

from bootstrap.doctor.checks import (
    agent,
    aws,
    configuration,
    cves,
    engine,
    image,
    machine,
    network,
    storage,
    units,
)
from bootstrap.doctor.model import Check, Finding, finding
from bootstrap.doctor.snapshot import Snapshot

# In the order in which they are printed: first what the others depend on.
SUBJECTS: tuple[tuple[str, tuple[Check, ...]], ...] = tuple(
    (subject.TITLE, subject.CHECKS)
    for subject in (
        machine,
        configuration,
        engine,
        cves,
        network,
        aws,
        agent,
        units,
        storage,
        image,
    )
)
CHECKS: tuple[Check, ...] = tuple(check for _, checks in SUBJECTS for check in checks)
NAMES = tuple(check.name for check in CHECKS)


def findings(snapshot: Snapshot, *, skip: frozenset[str] = frozenset()) -> tuple[Finding, ...]:
    """Return what every check of the snapshot's stage finds, but for those in `skip`."""
    return tuple(
        finding(check, snapshot)
        for check in CHECKS
        if check.name not in skip and snapshot.stage.includes(check.since)
    )

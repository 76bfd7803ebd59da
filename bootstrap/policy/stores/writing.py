"""Writes to the store, each only over the version that was planned for."""

from collections.abc import Iterator
from dataclasses import dataclass

from bootstrap.aws.ssm import Conflict, Written
from bootstrap.policy.stores.publishing import Plan, Removal, Write
from bootstrap.policy.stores.ssm import Ssm


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """One parameter was written, as this version, or removed."""

    path: str
    version: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Lost:
    """Somebody else wrote the parameter at the same time.

    `overwritten`: theirs was replaced by ours, since SSM cannot write over one version only;
    otherwise ours was not written.
    """

    path: str
    found: int | None
    overwritten: bool
    written: Written | None


def publish(planned: Plan, ssm: Ssm) -> Iterator[Done | Lost]:
    """Write and remove in the plan's order, and end with the first Lost. Raises CannotStart.

    A version is looked at right before it is replaced. What is written by others in the moment
    between is noticed by the number of the new version.
    """
    for write in planned.writes:
        result = _write(write, ssm)
        yield result
        if isinstance(result, Lost):
            return
    for removal in planned.removals:
        gone = _remove(removal, ssm)
        yield gone
        if isinstance(gone, Lost):
            return


def _write(write: Write, ssm: Ssm) -> Done | Lost:
    if write.over is None:
        try:
            version = ssm.put(write.path, write.text, replaces=False)
        except Conflict:
            return _lost(write.path, ssm)
        return Done(path=write.path, version=version)
    if _version(write.path, ssm) != write.over:
        return _lost(write.path, ssm)
    version = ssm.put(write.path, write.text, replaces=True)
    if version != write.over + 1:
        return Lost(path=write.path, found=version - 1, overwritten=True, written=None)
    return Done(path=write.path, version=version)


def _remove(removal: Removal, ssm: Ssm) -> Done | Lost:
    if _version(removal.path, ssm) != removal.version:
        return _lost(removal.path, ssm)
    ssm.delete(removal.path)
    return Done(path=removal.path, version=None)


def _version(path: str, ssm: Ssm) -> int | None:
    found = ssm.one(path)
    return found.version if found else None


def _lost(path: str, ssm: Ssm) -> Lost:
    return Lost(path=path, found=_version(path, ssm), overwritten=False, written=ssm.written(path))

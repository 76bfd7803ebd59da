"""The checks' words: a check, its verdict about a snapshot, and values that could not be read."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from bootstrap.doctor.snapshot import Snapshot

T = TypeVar("T")


class Status(StrEnum):
    """`unknown` is what could not be found out: neither a yes nor a no."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"


class Stage(StrEnum):
    """When a check can be expected to hold; each stage has the checks of those before it.

    IMAGE is the build of a machine image, where nothing runs but Docker. START is before the
    service starts on an instance, RUN is afterwards.
    """

    IMAGE = "image"
    START = "start"
    RUN = "run"

    def includes(self, other: "Stage") -> bool:
        """Return whether checks of the other stage are made at this one."""
        order = list(Stage)
        return order.index(other) <= order.index(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Unread:
    """A value that could not be read, and what to do so that it can be."""

    why: str
    fix: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """What the host's own code found wrong, as a job would fail because of it."""

    problem: str
    fix: str
    details: tuple[str, ...] = ()


# What may be read: the value itself, or one of the two reasons why there is none.
Read: TypeAlias = T | Unread | Failed


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What a check found. `fix` is the exact thing to do; an `ok` has none."""

    status: Status
    seen: str
    fix: str = ""
    details: tuple[str, ...] = ()


class NotKnown(Exception):
    """A check needs a value that was not read. `verdict` is the check's then."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.seen)
        self.verdict = verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One assumption about the host.

    `what` is what has to hold, `why` what happens otherwise. `since` is the first stage at which it
    can hold. `repair` is what --fix does about it, "" if nothing.
    """

    name: str
    what: str
    why: str
    judge: "Callable[[Snapshot], Verdict]"
    since: Stage = Stage.IMAGE
    repair: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What one check found on this host."""

    check: str
    status: Status
    seen: str
    why: str
    fix: str
    details: tuple[str, ...] = ()


def ok(seen: str) -> Verdict:
    """Return the verdict that all is as it should be."""
    return Verdict(status=Status.OK, seen=seen)


def warn(seen: str, fix: str, details: tuple[str, ...] = ()) -> Verdict:
    """Return the verdict that jobs run, but something should be changed."""
    return Verdict(status=Status.WARN, seen=seen, fix=fix, details=details)


def fail(seen: str, fix: str, details: tuple[str, ...] = ()) -> Verdict:
    """Return the verdict that jobs do not run, or not as safely as Airlock promises."""
    return Verdict(status=Status.FAIL, seen=seen, fix=fix, details=details)


def unknown(seen: str, fix: str = "") -> Verdict:
    """Return the verdict that this could not be found out."""
    return Verdict(status=Status.UNKNOWN, seen=seen, fix=fix)


def known(value: Read[T]) -> T:
    """Return a value that was read. Raises NotKnown, with `fail` for what the host's code refused.

    For a value that could not be read it is `unknown`.
    """
    match value:
        case Unread(why=why, fix=fix):
            raise NotKnown(unknown(f"not known: {why}", fix))
        case Failed(problem=problem, fix=fix, details=details):
            raise NotKnown(fail(problem, fix, details))
        case _:
            return value


def after(value: Read[T], check: str) -> T:
    """Return a value as `known` does; `unknown` too if `check` is the one that says what failed."""
    if isinstance(value, Failed):
        raise NotKnown(unknown(f"not known: see the check {check}"))
    return known(value)


def finding(check: Check, snapshot: "Snapshot") -> Finding:
    """Return what a check finds in a snapshot."""
    try:
        verdict = check.judge(snapshot)
    except NotKnown as not_known:
        verdict = not_known.verdict
    except Exception as unexpected:  # noqa: BLE001 - the other checks have their turn
        verdict = unknown(f"a bug of Airlock: {type(unexpected).__name__}", "Please report it.")
    return Finding(
        check=check.name,
        status=verdict.status,
        seen=verdict.seen,
        why=check.why,
        fix=verdict.fix,
        details=verdict.details,
    )

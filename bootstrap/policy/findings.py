"""What `airlock policy lint` finds: each finding with its place and what to do."""

from dataclasses import dataclass, replace
from enum import StrEnum

from bootstrap.policy.model import Policy


class Severity(StrEnum):
    """Errors make `airlock policy lint` fail and `push` refuse; warnings are for a person."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing to correct. `id` is stable, for `--ignore`."""

    id: str
    severity: Severity
    origin: str
    line: int
    text: str
    fix: str


def error(identifier: str, policy: Policy, line: int, text: str, fix: str) -> Finding:
    """Return a finding that fails lint, in a policy's document."""
    return Finding(
        id=identifier,
        severity=Severity.ERROR,
        origin=policy.origin,
        line=line,
        text=text,
        fix=fix,
    )


def warning(identifier: str, policy: Policy, line: int, text: str, fix: str) -> Finding:
    """Return a finding for a person to judge."""
    return replace(error(identifier, policy, line, text, fix), severity=Severity.WARNING)

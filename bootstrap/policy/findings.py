"""What `airlock policy lint` finds: each finding with its place and its fix."""

from dataclasses import dataclass, replace
from enum import StrEnum

from bootstrap.policy.model import Policy


class Severity(StrEnum):
    """Errors make `airlock policy lint` fail and `push` refuse; warnings need judgement."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing to fix. `id` is stable, for `--ignore`."""

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
    """Return a finding that needs a person's judgement and does not fail lint."""
    return replace(error(identifier, policy, line, text, fix), severity=Severity.WARNING)

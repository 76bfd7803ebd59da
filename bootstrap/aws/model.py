"""Sessions: what is requested of STS, and what it issues."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from bootstrap.secret import Secret


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionRequest:
    """One AssumeRole call, already checked against STS's limits.

    `source_identity` None leaves it out. Tags are in the order they are sent. With `via`, its
    session makes the call. With `subject`, Buildkite's token does, whose subject matches that.
    """

    role: str  # ARN
    session_name: str
    source_identity: str | None
    tags: Mapping[str, str]
    duration: timedelta
    transitive_tags: tuple[str, ...] = ()
    external_id: str | None = None
    policy: str | None = None
    policy_arns: tuple[str, ...] = ()
    via: "SessionRequest | None" = None
    subject: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """Temporary credentials of one role, and when they end (UTC).

    `duration` is what STS was asked for last: shorter than the request's where role chaining
    limits it. `packed_size_percent` is how much of STS's limit for tags and policies they take.
    """

    role: str
    access_key_id: str
    secret_access_key: Secret
    session_token: Secret
    expires: datetime
    duration: timedelta
    assumed_role: str  # arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION
    packed_size_percent: int | None

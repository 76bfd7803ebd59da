"""The limits of an AssumeRole request, and errors for what exceeds them.

The limits: docs/aws.md#limits-of-sts
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field

CHAINED = (
    "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role "
    "chaining"
)
_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)
_POLICY = re.compile(r"[\t\n\r -\u00ff]{1,2048}")
_ROLE = re.compile(r"arn:aws[\w-]*:iam::(\d{12}):role/([\w+=,.@/-]+)", re.ASCII)


@dataclass(slots=True)
class Asked:
    """One AssumeRole request as received."""

    role: str
    session_name: str
    source_identity: str | None
    duration: int
    tags: dict[str, str] = field(default_factory=dict)
    transitive: frozenset[str] = frozenset()
    policy: str | None = None
    policy_arns: tuple[str, ...] = ()
    external_id: str | None = None


class StsError(Exception):
    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.status = code, status


def asked_of(parameters: Mapping[str, str]) -> Asked:
    keys = _members(parameters, "Tags.member.{}.Key")
    values = _members(parameters, "Tags.member.{}.Value")
    if len({key.casefold() for key in keys}) != len(keys):
        raise StsError("InvalidParameterValue", "Duplicate tag keys found (in any case)")
    return Asked(
        role=parameters.get("RoleArn", ""),
        session_name=parameters.get("RoleSessionName", ""),
        source_identity=parameters.get("SourceIdentity"),
        duration=int(parameters.get("DurationSeconds", "3600")),
        tags=dict(zip(keys, values, strict=True)),
        transitive=frozenset(
            key.casefold() for key in _members(parameters, "TransitiveTagKeys.member.{}")
        ),
        policy=parameters.get("Policy"),
        policy_arns=_members(parameters, "PolicyArns.member.{}.arn"),
        external_id=parameters.get("ExternalId"),
    )


def _members(parameters: Mapping[str, str], name: str) -> tuple[str, ...]:
    found: list[str] = []
    while (value := parameters.get(name.format(len(found) + 1))) is not None:
        found.append(value)
    return tuple(found)


def validate(asked: Asked, *, chained: bool) -> None:
    """Raise StsError for every limit of the API that a request can break."""
    role = _ROLE.fullmatch(asked.role)
    if not role or not 20 <= len(asked.role) <= 2048:
        raise StsError("ValidationError", f"bad RoleArn {asked.role!r}")
    if not _NAME.fullmatch(asked.session_name):
        raise StsError("ValidationError", f"bad RoleSessionName {asked.session_name!r}")
    if asked.source_identity is not None and not _NAME.fullmatch(asked.source_identity):
        raise StsError("ValidationError", f"bad SourceIdentity {asked.source_identity!r}")
    if asked.external_id is not None and not _EXTERNAL_ID.fullmatch(asked.external_id):
        raise StsError("ValidationError", f"bad ExternalId {asked.external_id!r}")
    if not 900 <= asked.duration <= 43200:
        raise StsError("ValidationError", f"bad DurationSeconds {asked.duration}")
    if chained and asked.duration > 3600:
        raise StsError("ValidationError", CHAINED)
    _validate_policies(asked, account=role[1])
    _validate_tags(asked)


def _validate_policies(asked: Asked, *, account: str) -> None:
    if asked.policy is not None and not _POLICY.fullmatch(asked.policy):
        raise StsError("ValidationError", "Policy has more than 2048 or foreign characters")
    if asked.policy is not None and not asked.policy.lstrip().startswith("{"):
        raise StsError("MalformedPolicyDocument", "Policy is not JSON")
    if len(asked.policy_arns) > 10:
        raise StsError("ValidationError", "more than 10 PolicyArns")
    if any(arn.split(":")[4] not in ("aws", account) for arn in asked.policy_arns):
        raise StsError("ValidationError", "PolicyArns of another account than the role's")
    if len(asked.policy or "") + sum(map(len, asked.policy_arns)) > 2048:
        raise StsError("PackedPolicyTooLarge", "Policy and PolicyArns exceed 2048 characters")


def _validate_tags(asked: Asked) -> None:
    if len(asked.tags) > 50 or len(asked.transitive) > 50:
        raise StsError("ValidationError", "more than 50 tags")
    if not asked.transitive <= {key.casefold() for key in asked.tags}:
        raise StsError("InvalidParameterValue", "a transitive tag key is not among the tags")
    for key, value in asked.tags.items():
        if not (1 <= _length(key) <= 128 and _length(value) <= 256 and _taggable(key + value)):
            raise StsError("ValidationError", f"bad tag {key!r}={value!r}")
        if key.casefold().startswith("aws:"):
            raise StsError("ValidationError", f"reserved tag key {key!r}")


def _length(text: str) -> int:
    """Count in UTF-16 units, as a service in Java does."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _taggable(text: str) -> bool:
    return all(c in "_.:/=+-@" or unicodedata.category(c)[0] in "LNZ" for c in text)

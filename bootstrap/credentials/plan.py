"""The AssumeRole requests of a job, from its claims and its grant (docs/aws.md#limits-of-sts)."""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta

from bootstrap.aws import session_tags
from bootstrap.aws.iam import Tag
from bootstrap.aws.model import SessionRequest
from bootstrap.errors import WrongConfiguration
from bootstrap.job.model import Claims
from bootstrap.policy.model import Grant

MIN_DURATION, MAX_DURATION = timedelta(minutes=15), timedelta(hours=12)
MAX_NAME = 64

_NAME = re.compile(r"[A-Za-z0-9_+=,.@-]")
_DIGEST = 10  # hexadecimal digits


def plans(claims: Claims, grant: Grant, *, rule: str) -> dict[str, SessionRequest]:
    """Return the session requests of the grant's roles, by AWS profile; DEFAULT is the job's own.

    Whatever the job's claims are, a request keeps STS's limits. Raises WrongConfiguration if what
    the policy states does not.
    """
    roles = grant.roles.items()
    return {name: _request(claims, grant, role, rule) for name, role in roles}


def _request(claims: Claims, grant: Grant, role: str, rule: str) -> SessionRequest:
    if not MIN_DURATION <= grant.duration <= MAX_DURATION:
        raise _wrong(rule, f"got a duration of {grant.duration}; expected 15 minutes to 12 hours")
    request = SessionRequest(
        role=role,
        session_name=session_name(claims),
        source_identity=_fitting(claims.job_id, MAX_NAME, _in_name)
        if grant.source_identity
        else None,
        tags=_tags(claims, grant.tags, rule),
        duration=grant.duration,
        transitive_tags=grant.transitive_tags,
        external_id=grant.external_id,
        policy=grant.session_policy,
        policy_arns=grant.policy_arns,
    )
    if grant.via:
        return replace(request, via=_first(claims, grant, _hop(request, grant.via)))
    return _first(claims, grant, request)


def _hop(request: SessionRequest, role: str) -> SessionRequest:
    """Return the request for the role in between: as short as STS allows, with nothing transitive.

    A tag that is transitive may not be sent again (docs/aws.md#limits-of-sts).
    """
    return replace(
        request,
        role=role,
        duration=MIN_DURATION,
        transitive_tags=(),
        external_id=None,
        policy=None,
        policy_arns=(),
    )


def _first(claims: Claims, grant: Grant, request: SessionRequest) -> SessionRequest:
    """Make the first call the host's, or Buildkite's token's, which replaces tags as well."""
    if not grant.web_identity:
        return request
    subject = f"organization:{claims.organization}:pipeline:{claims.pipeline}:*"
    return replace(request, subject=subject, source_identity=None, tags={})


def session_name(claims: Claims) -> str:
    """Name pipeline, build and job: what CloudTrail shows of every call the job makes.

    The job is named by the end of its id, a UUIDv7: jobs of one minute share the beginning. Unique
    per job even where the pipeline's slug must be shortened.
    """
    text = f"{claims.pipeline}-{claims.build_number or 'x'}-{claims.job_id[-12:]}"
    return _fitting(text, MAX_NAME, _in_name, unique=claims.job_id)


def _fitting(text: str, limit: int, allowed: Callable[[str], bool], *, unique: str = "") -> str:
    """Return `text` if STS accepts it, else as much of it as fits, with a digest of the whole.

    The digest keeps different texts different: a branch `a b` must not pass for a branch `a-b`.
    """
    kept = "".join(char if allowed(char) else "-" for char in text)
    if kept == text and 2 <= len(kept) <= limit:
        return kept
    digest = hashlib.sha256(f"{text}\0{unique}".encode("utf-8", "surrogatepass")).hexdigest()
    return f"{kept[: limit - _DIGEST - 1]}-{digest[:_DIGEST]}"


def _tags(claims: Claims, of_rule: Mapping[str, str], rule: str) -> dict[str, str]:
    ours: dict[str, str] = {
        Tag.ORGANIZATION: claims.organization,
        Tag.PIPELINE: claims.pipeline,
        Tag.BRANCH: claims.env.get("BUILDKITE_BRANCH", ""),
        Tag.BUILD: claims.build_number,
        Tag.JOB: claims.job_id,
        Tag.RULE: rule,
    }
    if problem := next(session_tags.wrong(of_rule), None):
        raise _wrong(rule, problem)  # what a policy states is never altered
    return {**{key: tag_value(value) for key, value in ours.items()}, **of_rule}


def tag_value(text: str) -> str:
    """Return `text` in the characters and length STS allows for a tag's value.

    Two texts never become the same value: a policy on the tag must not match an imitation.
    """
    if session_tags.fits(text, session_tags.MAX_VALUE):
        return text
    return _fitting(text, session_tags.MAX_VALUE, session_tags.accepted)


def _in_name(char: str) -> bool:
    return _NAME.fullmatch(char) is not None


def _wrong(rule: str, what: str) -> WrongConfiguration:
    return WrongConfiguration(
        f"rule {rule!r} has an invalid session: {what}",
        hint=f"Correct allow.session of rule {rule!r} in the pipeline's policy.",
    )

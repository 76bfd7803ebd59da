"""The AssumeRole requests of a job, from its claims and its grant (docs/aws.md#limits-of-sts)."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from bootstrap.aws import session_tags, tags
from bootstrap.aws.iam import Tag
from bootstrap.aws.model import SessionRequest
from bootstrap.errors import WrongConfiguration
from bootstrap.job.model import Claims
from bootstrap.policy.model import Grant

MIN_DURATION, MAX_DURATION = timedelta(minutes=15), timedelta(hours=12)


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
    tagged = _tags(claims, grant.tags, rule)
    request = SessionRequest(
        role=role,
        session_name=session_name(claims),
        source_identity=tags.name(claims.job_id) if grant.source_identity else None,
        tags=tagged,
        duration=grant.duration,
        transitive_tags=tuple(key for key in grant.transitive_tags if key in tagged),
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
    return tags.name(text, unique=claims.job_id)


def _tags(claims: Claims, of_rule: Mapping[str, str], rule: str) -> dict[str, str]:
    ours: dict[str, str] = {
        Tag.ORGANIZATION: claims.organization,
        Tag.PIPELINE: claims.pipeline,
        Tag.BRANCH: claims.env.get("BUILDKITE_BRANCH", ""),
        Tag.BUILD: claims.build_number,
        Tag.JOB: claims.job_id,
        Tag.RULE: rule,
    }
    if of_tag := claims.env.get("BUILDKITE_TAG"):
        ours[Tag.TAG] = of_tag
    if problem := next(session_tags.wrong(of_rule), None):
        raise _wrong(rule, problem)  # what a policy states is never altered
    return {**{key: tags.tag_value(value) for key, value in ours.items()}, **of_rule}


def _wrong(rule: str, what: str) -> WrongConfiguration:
    return WrongConfiguration(
        f"rule {rule!r} has an invalid session: {what}",
        hint=f"Correct allow.session of rule {rule!r} in the pipeline's policy.",
    )

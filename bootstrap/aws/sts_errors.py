"""What a failed call of STS means, and what to do about it.

The kinds of failures: docs/aws.md#failed-calls
"""

import json
import re

from bootstrap.aws.errors import Kind, code, kind
from bootstrap.aws.iam import (
    ASSUME_ROLE,
    AUDIENCE,
    EXTERNAL_ID,
    ISSUER,
    SESSION,
    SET_SOURCE_IDENTITY,
    TAG_SESSION,
    Statement,
    Tag,
    allow,
    trusting_buildkite,
)
from bootstrap.aws.model import SessionRequest
from bootstrap.errors import AirlockError, CannotStart, WrongConfiguration
from bootstrap.host.config import Aws

_CHAINING_TEXT = "1 hour session limit for roles assumed by role chaining"
SKEW = 300.0  # seconds: requests that differ by more are refused
_NOT_AUTHORIZED = re.compile(r"User: (?P<caller>\S+) is not authorized to perform: (?P<action>\S+)")

_HINTS = {
    "InvalidClientTokenId": "STS does not know the host's access key. Check that it still exists.",
    "OptInRequired": "The host's account has not opted in to the region in airlock.toml.",
    "RegionDisabledException": "Enable STS for aws.region of airlock.toml in the role's account.",
    "SignatureDoesNotMatch": "The host's secret key or its clock is wrong. Check the clock: "
    "`chronyc tracking`.",
}


def is_chaining_limit(failed: BaseException) -> bool:
    """Return whether a session of a chained role was requested for more than an hour.

    The code is that of every wrong request; only the text distinguishes it.
    """
    return code(failed) == "ValidationError" and _CHAINING_TEXT in str(failed)


def explain(failed: BaseException, request: SessionRequest, aws: Aws) -> AirlockError:
    """Return the error that an operator can act upon: WrongConfiguration or CannotStart."""
    problem = f"STS issued no session for {request.role}: {failed}"
    match kind(failed):
        case Kind.FORBIDDEN | Kind.FORBIDDEN_KEY | Kind.TOKEN_REFUSED if request.subject:
            # AWS answers FORBIDDEN where the role, or its account, does not know the issuer.
            return _token_refused(problem, request)
        case Kind.FORBIDDEN | Kind.FORBIDDEN_KEY:
            return _forbidden(problem, request)
        case Kind.WRONG_REQUEST:
            return WrongConfiguration(problem, hint=_correction(problem))
        case Kind.NO_CREDENTIALS:
            return _without_credentials(request, aws)
        case Kind.UNUSABLE_CREDENTIALS:
            return WrongConfiguration(
                f"{aws.credentials} holds no usable credentials: {type(failed).__name__}",
                hint="It needs [default] with aws_access_key_id and aws_secret_access_key.",
            )
        case _:
            return CannotStart(problem, hint=_hint(failed, aws))


def of_host(failed: BaseException, aws: Aws, *, ahead: float) -> AirlockError:
    """Return why STS does not know this host, whose clock is `ahead` of AWS's by these seconds."""
    problem = f"STS does not know this host: {failed}"
    if abs(ahead) > SKEW:
        return CannotStart(
            f"{problem}; its clock is {ahead:+.0f} s from AWS's",
            hint="Set the clock, and keep it so: `chronyc tracking`. AWS refuses requests whose "
            f"time differs by more than {SKEW:.0f} s.",
        )
    if kind(failed) in {Kind.NO_CREDENTIALS, Kind.UNUSABLE_CREDENTIALS}:
        return CannotStart(
            f"this host has no AWS credentials: got none from {_source(aws)}", hint=_check(aws)
        )
    return CannotStart(problem, hint=_hint(failed, aws))


def _hint(failed: BaseException, aws: Aws) -> str:
    if kind(failed) is Kind.TRANSIENT:
        where = aws.sts_endpoint or f"STS of {aws.region}"
        return f"Airlock tried several times. Check that this host can reach {where}."
    if kind(failed) is Kind.STALE:
        return "The host's own credentials have expired and could not be refreshed."
    return _HINTS.get(code(failed), "See AWS's documentation of AssumeRole.")


def _correction(problem: str) -> str:
    if "MaxSessionDuration" in problem:
        return "Shorten allow.session.duration of the rule, or raise the role's maximum."
    return "Correct allow.role or allow.session of the rule in the pipeline's policy."


def _without_credentials(request: SessionRequest, aws: Aws) -> CannotStart:
    return CannotStart(
        f"this host has no AWS credentials with which to assume {request.role}: "
        f"got none from {_source(aws)}",
        hint=_check(aws),
    )


def _source(aws: Aws) -> str:
    of_instance = aws.credentials == "instance-role"
    return "the instance metadata service" if of_instance else aws.credentials


def _check(aws: Aws) -> str:
    if aws.credentials == "instance-role":
        return (
            "Check their source, aws.credentials in airlock.toml: an instance role must exist, "
            "and root must be able to reach the metadata endpoint."
        )
    return (
        "Check their source, aws.credentials in airlock.toml: the file must exist and have a "
        "[default] section."
    )


def _forbidden(problem: str, request: SessionRequest) -> CannotStart:
    """Both sides must allow all three actions; STS names at most one that is missing."""
    found = _NOT_AUTHORIZED.search(problem)
    missing = found["action"] if found and found["action"] in SESSION else "one of the actions"
    host = _role_of(found["caller"] if found else "")
    return CannotStart(
        problem,
        hint=f"Allow {missing} on both sides: in the host role's policy and in the trust policy "
        "of the job's role. `airlock policy iam` writes both; the least that they need:",
        details=(
            f"policy of {host}: {json.dumps(allow(SESSION, request.role))}",
            f"trust policy of {request.role}: {json.dumps(_trusting(host, request))}",
        ),
    )


def _trusting(host: str, request: SessionRequest) -> list[Statement]:
    """Return the statements that trust the host for the request's pipeline and no other."""
    asked = {
        Tag.PIPELINE.condition: request.tags.get(Tag.PIPELINE),
        EXTERNAL_ID: request.external_id,
    }
    equals = {key: value for key, value in asked.items() if value}
    sent = [TAG_SESSION, SET_SOURCE_IDENTITY] if request.source_identity else TAG_SESSION
    trusted: Statement = {"Effect": "Allow", "Principal": {"AWS": host}}
    return [
        {**trusted, "Action": ASSUME_ROLE, "Condition": {"StringEquals": equals}},
        {**trusted, "Action": sent},
    ]


def _token_refused(problem: str, request: SessionRequest) -> CannotStart:
    """The account must know the issuer, and the role must trust it for this subject."""
    trusted = trusting_buildkite(request.role, [request.subject or ""])
    return CannotStart(
        problem,
        hint=f"The role's account needs the identity provider {ISSUER} with the audience "
        f"{AUDIENCE}, and the role needs a statement such as this in its trust policy. It trusts "
        "every job of the pipeline; `airlock policy iam` writes it for the branches of the rule:",
        details=(json.dumps(trusted),),
    )


def _role_of(caller: str) -> str:
    """Return the role behind an assumed-role ARN; a path in the role's name is lost in it."""
    found = re.fullmatch(r"arn:(aws[\w-]*):sts::(\d{12}):assumed-role/([^/]+)/[^/]+", caller)
    return f"arn:{found[1]}:iam::{found[2]}:role/{found[3]}" if found else "<the host's role>"

"""What STS, or the way to it, said instead of a session, and what to do about it.

The kinds of failures: docs/aws.md#failed-calls
"""

import json
import re
from typing import Any

from bootstrap.aws.errors import STALE, code, has_no_credentials, is_transient, kinds
from bootstrap.aws.model import SessionRequest
from bootstrap.errors import AirlockError, CannotStart, WrongConfiguration
from bootstrap.host.config import Aws
from bootstrap.policy.iam import ACTIONS, AUDIENCE, ISSUER, trusting_buildkite

_CHAINING_TEXT = "1 hour session limit for roles assumed by role chaining"
_NOT_AUTHORIZED = re.compile(r"User: (?P<caller>\S+) is not authorized to perform: (?P<action>\S+)")

_FORBIDDEN = frozenset({"AccessDenied", "AccessDeniedException"})
# AssumeRoleWithWebIdentity says so where the role, or its account, does not know the issuer.
_TOKEN_REFUSED = _FORBIDDEN | {"IDPRejectedClaim", "InvalidIdentityToken"}
_WRONG_REQUEST = frozenset(
    {
        "InvalidParameterCombination",
        "InvalidParameterValue",
        "MalformedPolicyDocument",
        "PackedPolicyTooLarge",
        "ValidationError",
    }
)
_WHY = {
    **dict.fromkeys(STALE, "The host's own credentials have expired and no fresh ones came."),
    "InvalidClientTokenId": "STS does not know the host's own access key: was it deleted?",
    "OptInRequired": "The host's account has not opted in to the region in airlock.toml.",
    "RegionDisabledException": "Enable STS for aws.region of airlock.toml in the role's account.",
    "SignatureDoesNotMatch": "The host's secret key is wrong, or its clock is: `chronyc tracking`.",
}


def is_chaining_limit(failed: BaseException) -> bool:
    """Say whether a chained role was asked for more than its hour.

    The code is that of every wrong request, so the text has to tell.
    """
    return code(failed) == "ValidationError" and _CHAINING_TEXT in str(failed)


def explain(failed: BaseException, request: SessionRequest, aws: Aws) -> AirlockError:
    """Turn it into what an operator can act upon: WrongConfiguration or CannotStart."""
    said = f"STS gave no session of {request.role}: {failed}"
    kind = code(failed)
    if kind in (_TOKEN_REFUSED if request.subject else _FORBIDDEN):
        return (_token_refused if request.subject else _forbidden)(said, request)
    if kind in _WRONG_REQUEST or kinds(failed) & {"ParamValidationError"}:
        return WrongConfiguration(said, hint=_mend(said))
    if has_no_credentials(failed):
        return _without_credentials(request, aws)
    if kinds(failed) & {"PartialCredentialsError", "ConfigParseError"}:
        return WrongConfiguration(
            f"{aws.credentials} holds no usable credentials: {type(failed).__name__}",
            hint="It needs [default] with aws_access_key_id and aws_secret_access_key.",
        )
    if is_transient(failed):
        where = aws.sts_endpoint or f"STS of {aws.region}"
        return CannotStart(said, hint=f"It was tried several times. Does {where} answer this host?")
    return CannotStart(said, hint=_WHY.get(kind, "AWS's documentation of AssumeRole knows more."))


def _mend(said: str) -> str:
    if "MaxSessionDuration" in said:
        return "Shorten allow.session.duration of the rule, or raise the role's maximum."
    return "Mend allow.role or allow.session of the rule in the pipeline's policy."


def _without_credentials(request: SessionRequest, aws: Aws) -> CannotStart:
    source = {"instance-role": "the instance metadata service"}.get(aws.credentials)
    return CannotStart(
        f"this host has no AWS credentials of its own to ask for {request.role}: "
        f"got none from {source or aws.credentials}",
        hint="aws.credentials in airlock.toml names their source. Does the instance have a role, "
        "and may root reach the metadata endpoint?"
        if source
        else "aws.credentials in airlock.toml names their source: is the file there, with a "
        "[default] section?",
    )


def _forbidden(said: str, request: SessionRequest) -> CannotStart:
    """Both sides have to allow all three actions; STS says at most which one was missing."""
    found = _NOT_AUTHORIZED.search(said)
    missing = found["action"] if found and found["action"] in ACTIONS else "one of the actions"
    host = _role_of(found["caller"] if found else "")
    called = {"Effect": "Allow", "Action": ACTIONS, "Resource": request.role}
    trusted = {"Effect": "Allow", "Principal": {"AWS": host}, "Action": ACTIONS}
    return CannotStart(
        said,
        hint=f"Allow {missing} on both sides: in the host role's policy and in the trust policy "
        "of the job's role. One statement for each:",
        details=(
            f"policy of {host}: {_json(called)}",
            f"trust policy of {request.role}: {_json(trusted)}",
        ),
    )


def _token_refused(said: str, request: SessionRequest) -> CannotStart:
    """The account has to know the issuer, and the role has to trust it for this subject."""
    trusted = trusting_buildkite(request.role, [request.subject or ""])
    return CannotStart(
        said,
        hint=f"The role's account needs the identity provider {ISSUER} with the audience "
        f"{AUDIENCE}, and the role this statement in its trust policy:",
        details=(_json(trusted),),
    )


def _role_of(caller: str) -> str:
    """Return the role behind an assumed-role ARN; a path in the role's name is lost in it."""
    found = re.fullmatch(r"arn:(aws[\w-]*):sts::(\d{12}):assumed-role/([^/]+)/[^/]+", caller)
    return f"arn:{found[1]}:iam::{found[2]}:role/{found[3]}" if found else "<the host's role>"


def _json(statement: dict[str, Any]) -> str:
    return json.dumps(statement)

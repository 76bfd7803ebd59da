"""The only caller of AWS STS."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bootstrap.credentials.model import Session, SessionRequest
from bootstrap.errors import AirlockError, CannotStart, WrongConfiguration
from bootstrap.host.config import Aws
from bootstrap.secret import Secret

CHAINING_LIMIT = timedelta(hours=1)
_CHAINING_TEXT = "1 hour session limit for roles assumed by role chaining"

# Reference section B2. What is in neither set is a final no.
_TRANSIENT = frozenset(
    {
        "IDPCommunicationError",
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "RequestLimitExceeded",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_STALE = frozenset({"ExpiredToken", "ExpiredTokenException"})
_WRONG_REQUEST = frozenset(
    {"ValidationError", "MalformedPolicyDocument", "PackedPolicyTooLarge", "InvalidParameterValue"}
)


class Sts:
    """AssumeRole with the host's own credentials and nothing of the process's environment."""

    def __init__(self, aws: Aws, *, patience: float = 20.0) -> None:
        self._aws = aws
        self._patience = patience
        self._client: Any = None

    def assume(self, request: SessionRequest) -> Session:
        """Return a session of the requested role.

        Throttling, 5xx and connection errors are retried with jitter for `patience` seconds in
        all. Raises CannotStart (also for AccessDenied, with the statements to add), or
        WrongConfiguration where STS finds the request itself wrong.
        """
        from tenacity import (  # noqa: PLC0415 - imports that a refused job need not wait for
            RetryError,
            Retrying,
            retry_if_exception,
            stop_after_delay,
            wait_random_exponential,
        )

        attempts = Retrying(
            retry=retry_if_exception(_is_transient),
            wait=wait_random_exponential(multiplier=0.2, max=4),
            stop=stop_after_delay(self._patience),
            reraise=True,
        )
        try:
            return attempts(self._within_limits, request)
        except AirlockError:
            raise
        except (RetryError, Exception) as failed:
            raise explain(failed, request) from failed

    def _within_limits(self, request: SessionRequest) -> Session:
        """Ask; a chained role gets the hour that STS allows it."""
        try:
            return self._ask(request)
        except Exception as refused:
            if request.duration > CHAINING_LIMIT and _CHAINING_TEXT in str(refused):
                return self._ask(replace(request, duration=CHAINING_LIMIT))
            if _code(refused) in _STALE:
                self._client = connect(self._aws)
                return self._ask(request)
            raise

    def _ask(self, request: SessionRequest) -> Session:
        self._client = self._client or connect(self._aws)
        parameters: dict[str, Any] = {
            "RoleArn": request.role,
            "RoleSessionName": request.session_name,
            "DurationSeconds": int(request.duration.total_seconds()),
            "Tags": [{"Key": key, "Value": value} for key, value in request.tags.items()],
        }
        if request.source_identity:
            parameters["SourceIdentity"] = request.source_identity
        return _session(request.role, self._client.assume_role(**parameters))


def _session(role: str, answer: dict[str, Any]) -> Session:
    issued = answer["Credentials"]
    return Session(
        role=role,
        access_key_id=issued["AccessKeyId"],
        secret_access_key=Secret(issued["SecretAccessKey"]),
        session_token=Secret(issued["SessionToken"]),
        expires=issued["Expiration"].astimezone(UTC),
        assumed_role=answer["AssumedRoleUser"]["Arn"],
        packed_size_percent=answer.get("PackedPolicySize"),
    )


def connect(aws: Aws) -> Any:  # noqa: ANN401 - boto3 makes its clients' types at run time
    """Return a client with an explicit region, regional endpoint and credentials source."""
    import boto3  # noqa: PLC0415 - 0.4 s that a refused job need not wait for
    from botocore.config import Config  # noqa: PLC0415
    from botocore.session import Session as Core  # noqa: PLC0415

    core = Core()
    core.register_component("credential_provider", _source(aws))
    config = Config(
        connect_timeout=2, read_timeout=5, retries={"mode": "standard", "max_attempts": 1}
    )
    return boto3.Session(botocore_session=core, region_name=aws.region).client(
        "sts", endpoint_url=aws.sts_endpoint, config=config
    )


def _source(aws: Aws) -> Any:  # noqa: ANN401 - botocore is untyped
    """Only the source that airlock.toml names: no file of a home directory, no variable."""
    from botocore import credentials  # noqa: PLC0415
    from botocore.utils import InstanceMetadataFetcher  # noqa: PLC0415

    if aws.credentials == "instance-role":
        fetcher = InstanceMetadataFetcher(timeout=2, num_attempts=3, user_agent="airlock")
        provider = credentials.InstanceMetadataProvider(iam_role_fetcher=fetcher)
    else:
        path = Path(aws.credentials.removeprefix("file:"))
        provider = credentials.SharedCredentialProvider(str(path), profile_name="default")
    return credentials.CredentialResolver([provider])


def _code(error: BaseException) -> str:
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def _is_transient(error: BaseException) -> bool:
    from botocore.exceptions import ClientError, HTTPClientError  # noqa: PLC0415

    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return _code(error) in _TRANSIENT or status >= 500
    return isinstance(error, (HTTPClientError, ConnectionError))


def explain(error: BaseException, request: SessionRequest) -> AirlockError:
    """Turn whatever STS or the way to it said into what an operator can act upon."""
    said = f"STS gave no session of {request.role}: {error}"
    if _code(error) in {"AccessDenied", "AccessDeniedException"}:
        return CannotStart(
            said,
            hint="Both sides have to allow it: the host's role calls, the job's role trusts.",
            details=(
                f"add to the host role's policy: {json.dumps(_caller_statement(request))}",
                f"add to the trust policy of {request.role}: {json.dumps(_trust_statement())}",
            ),
        )
    if _code(error) in _WRONG_REQUEST:
        return WrongConfiguration(said, hint="Mend allow.role or allow.session of the rule.")
    if type(error).__name__ == "NoCredentialsError":
        return CannotStart(
            f"this host has no AWS credentials of its own to ask for {request.role}",
            hint="aws.credentials in airlock.toml names their source; does the instance have a "
            "role, and may root reach the metadata endpoint?",
        )
    return CannotStart(said, hint="Is aws.region in airlock.toml right and STS reachable there?")


_ACTIONS = ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"]


def _caller_statement(request: SessionRequest) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": _ACTIONS, "Resource": request.role}


def _trust_statement() -> dict[str, Any]:
    principal = {"AWS": "<ARN of the host's role>"}
    return {"Effect": "Allow", "Principal": principal, "Action": _ACTIONS}

"""The only caller of AWS STS."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, timedelta
from typing import Any

from bootstrap.aws import METADATA, connect
from bootstrap.aws_failures import has_no_credentials, is_stale, is_transient
from bootstrap.credentials import refusals
from bootstrap.credentials.model import Session, SessionRequest
from bootstrap.host.config import Aws
from bootstrap.retry import persist
from bootstrap.secret import Secret

CHAINING_LIMIT = timedelta(hours=1)


class Sts:
    """AssumeRole with the host's own credentials and nothing of the process's environment.

    It may be called from any thread; they wait for each other.
    """

    def __init__(
        self,
        aws: Aws,
        *,
        patience: float = 20.0,
        metadata: str = METADATA,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._aws = aws
        self._patience = patience
        self._metadata = metadata
        self._clock = clock
        self._sleep = sleep
        self._client: Any = None
        self._lock = threading.Lock()

    def assume(self, request: SessionRequest) -> Session:
        """Return a session of the requested role, of an hour if role chaining allows no more.

        Throttling, 5xx, connection errors and a silent metadata service are retried with jitter;
        no call is begun that could end more than `patience` seconds after the first. Raises
        WrongConfiguration where STS finds the request itself wrong, else CannotStart.
        """
        try:
            with self._lock:
                return self._patient(request)
        except Exception as failed:
            raise refusals.explain(failed, request, self._aws) from failed

    def _patient(self, request: SessionRequest) -> Session:
        return persist(
            lambda: self._within_chaining_limit(request),
            transient=self._is_transient,
            patience=self._patience,
            clock=self._clock,
            sleep=self._sleep,
        )

    def _is_transient(self, failed: BaseException) -> bool:
        if self._aws.credentials == "instance-role" and has_no_credentials(failed):
            self._client = None  # it has taken the metadata service's silence for an answer
            return True
        return is_transient(failed)

    def _within_chaining_limit(self, request: SessionRequest) -> Session:
        try:
            return self._with_fresh_base(request)
        except Exception as refused:
            if request.duration <= CHAINING_LIMIT or not refusals.is_chaining_limit(refused):
                raise
        return self._with_fresh_base(replace(request, duration=CHAINING_LIMIT))

    def _with_fresh_base(self, request: SessionRequest) -> Session:
        """Ask; if the host's own credentials have expired, fetch them anew and ask once more."""
        try:
            return self._ask(request)
        except Exception as refused:
            if not is_stale(refused):
                raise
        self._client = None
        return self._ask(request)

    def _ask(self, request: SessionRequest) -> Session:
        if self._client is None:
            endpoint = self._aws.sts_endpoint
            self._client = connect("sts", self._aws, endpoint=endpoint, metadata=self._metadata)
        return _session(request, self._client.assume_role(**_parameters(request)))


def _parameters(request: SessionRequest) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "RoleArn": request.role,
        "RoleSessionName": request.session_name,
        "DurationSeconds": int(request.duration.total_seconds()),
        "Tags": [{"Key": key, "Value": value} for key, value in request.tags.items()],
    }
    optional = {
        "SourceIdentity": request.source_identity,
        "TransitiveTagKeys": list(request.transitive_tags),
        "ExternalId": request.external_id,
        "Policy": request.policy,
        "PolicyArns": [{"arn": arn} for arn in request.policy_arns],
    }
    return {**parameters, **{name: value for name, value in optional.items() if value}}


def _session(request: SessionRequest, answer: dict[str, Any]) -> Session:
    issued = answer["Credentials"]
    return Session(
        role=request.role,
        access_key_id=issued["AccessKeyId"],
        secret_access_key=Secret(issued["SecretAccessKey"]),
        session_token=Secret(issued["SessionToken"]),
        expires=issued["Expiration"].astimezone(UTC),
        duration=request.duration,
        assumed_role=answer["AssumedRoleUser"]["Arn"],
        packed_size_percent=answer.get("PackedPolicySize"),
    )

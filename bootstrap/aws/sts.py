"""The only caller of AWS STS."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, timedelta
from typing import Any

from bootstrap.aws import sts_errors
from bootstrap.aws.client import METADATA, Caller, connect
from bootstrap.aws.errors import has_no_credentials, is_stale, is_transient
from bootstrap.aws.model import Session, SessionRequest
from bootstrap.errors import AirlockError
from bootstrap.host.config import Aws
from bootstrap.retry import persist
from bootstrap.secret import Secret

CHAINING_LIMIT = timedelta(hours=1)


class Sts:
    """AssumeRole with the host's own credentials and nothing of the process's environment.

    It may be called from any thread. `token` returns Buildkite's token
    for the job, fresh for each call: STS takes it instead of the host's credentials where a
    request says so.
    """

    def __init__(
        self,
        aws: Aws,
        *,
        token: Callable[[], Secret],
        patience: float = 20.0,
        metadata: str = METADATA,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._aws = aws
        self._token = token
        self._patience = patience
        self._metadata = metadata
        self._clock = clock
        self._sleep = sleep
        self._client: Any = None
        self._lock = threading.Lock()

    def assume(self, request: SessionRequest) -> Session:
        """Return a session of the requested role, of an hour if role chaining allows no more.

        A request with `via` is made with a session of that role, which is asked for first.
        Throttling, 5xx, connection errors and a silent metadata service are retried with jitter;
        no call is begun that could end more than `patience` seconds after the first. Raises
        WrongConfiguration where STS finds the request itself wrong, else CannotStart.
        """
        base = self.assume(request.via) if request.via else Caller.HOST
        try:
            return self._patient(request, base)
        except AirlockError:
            raise
        except Exception as failed:
            raise sts_errors.explain(failed, request, self._aws) from failed

    def _patient(self, request: SessionRequest, base: "Caller | Session") -> Session:
        return persist(
            lambda: self._within_chaining_limit(request, base),
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

    def _within_chaining_limit(self, request: SessionRequest, base: "Caller | Session") -> Session:
        try:
            return self._with_fresh_base(request, base)
        except Exception as refused:
            if request.duration <= CHAINING_LIMIT or not sts_errors.is_chaining_limit(refused):
                raise
        return self._with_fresh_base(replace(request, duration=CHAINING_LIMIT), base)

    def _with_fresh_base(self, request: SessionRequest, base: "Caller | Session") -> Session:
        """Ask; if the host's own credentials have expired, fetch them anew and ask once more."""
        try:
            return self._ask(request, base)
        except Exception as refused:
            if not is_stale(refused):
                raise
        self._client = None
        return self._ask(request, base)

    def _ask(self, request: SessionRequest, base: "Caller | Session") -> Session:
        if request.subject:
            client, token = self._connected(Caller.NOBODY), self._token().reveal()
            answer = client.assume_role_with_web_identity(
                **_parameters(request), WebIdentityToken=token
            )
        else:
            client = self._as_host() if base is Caller.HOST else self._connected(base)
            answer = client.assume_role(**_parameters(request))
        return _session(request, answer)

    def _as_host(self) -> Any:  # noqa: ANN401 - botocore is untyped
        """Several roles are asked for at once, and the metadata endpoint once."""
        with self._lock:
            self._client = self._client or self._connected(Caller.HOST)
            return self._client

    def _connected(self, caller: "Caller | Session") -> Any:  # noqa: ANN401 - botocore is untyped
        endpoint = self._aws.sts_endpoint
        return connect("sts", self._aws, endpoint=endpoint, metadata=self._metadata, caller=caller)


def _parameters(request: SessionRequest) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "RoleArn": request.role,
        "RoleSessionName": request.session_name,
        "DurationSeconds": int(request.duration.total_seconds()),
    }
    optional = {
        "Tags": [{"Key": key, "Value": value} for key, value in request.tags.items()],
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

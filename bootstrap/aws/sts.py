"""AWS STS: the only caller of its API."""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, timedelta
from functools import partial
from typing import Any

from bootstrap.aws import sts_errors
from bootstrap.aws.client import METADATA, Caller
from bootstrap.aws.model import Session, SessionRequest
from bootstrap.aws.service import Service
from bootstrap.errors import AirlockError
from bootstrap.host.config import Aws
from bootstrap.secret import Secret

CHAINING_LIMIT = timedelta(hours=1)


class Sts:
    """AssumeRole with the host's own credentials, independent of the process's environment.

    With a session as `caller`, with those of that. Threads may share it. `token` returns
    Buildkite's token for the job, fresh for each call: it replaces the host's credentials in
    requests that have a `subject`.
    """

    def __init__(
        self,
        aws: Aws,
        *,
        token: Callable[[], Secret],
        caller: Caller | Session = Caller.HOST,
        patience: float = 20.0,
        metadata: str = METADATA,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._aws = aws
        self._token = token
        self._service = partial(
            Service, "sts", aws, patience=patience, metadata=metadata, clock=clock, sleep=sleep
        )
        self._as_caller = self._service(caller=caller)
        self._unsigned = self._service(caller=Caller.ANONYMOUS)

    def assume(self, request: SessionRequest) -> Session:
        """Return a session of the requested role, of an hour if role chaining allows no more.

        A request with `via` is made with a session of that role, which is requested first. Failures
        that may pass are retried as `Service` does. Raises WrongConfiguration where STS finds the
        request itself wrong, else CannotStart.
        """
        service = self._calling(request)
        try:
            return service.call(partial(self._within_chaining_limit, request))
        except AirlockError:
            raise
        except Exception as failed:
            raise sts_errors.explain(failed, request, self._aws) from failed

    def _calling(self, request: SessionRequest) -> Service:
        """Return STS as this request calls it: with a token, `via`'s session or the caller's."""
        if request.subject:
            return self._unsigned
        return self._service(caller=self.assume(request.via)) if request.via else self._as_caller

    def _within_chaining_limit(self, request: SessionRequest, client: Any) -> Session:  # noqa: ANN401
        try:
            return self._once(request, client)
        except Exception as refused:
            if request.duration <= CHAINING_LIMIT or not sts_errors.is_chaining_limit(refused):
                raise
        return self._once(replace(request, duration=CHAINING_LIMIT), client)

    def _once(self, request: SessionRequest, client: Any) -> Session:  # noqa: ANN401
        parameters = _parameters(request)
        if request.subject:
            token = self._token().reveal()
            answer = client.assume_role_with_web_identity(**parameters, WebIdentityToken=token)
        else:
            answer = client.assume_role(**parameters)
        return _session(request, answer)


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

"""The calls of AWS that a grant needs, each in a thread; those that depend on another, after it."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from bootstrap.apart import Apart, traced
from bootstrap.aws.client import Caller
from bootstrap.aws.model import Session, SessionRequest
from bootstrap.concurrent import Begun
from bootstrap.credentials.renewal import Assume, Sessions
from bootstrap.grants.kind import DEFAULT, unexpired
from bootstrap.host.config import Aws
from bootstrap.logins import Login
from bootstrap.policy.model import Grant
from bootstrap.secret import Secret

AT_ONCE = 8  # calls of one job

T = TypeVar("T")


class Calls:
    """Begins all of them. They only return or raise: whoever waits records and masks."""

    def __init__(
        self, requests: Mapping[str, SessionRequest], grant: Grant, aws: Aws, assume: Assume
    ) -> None:
        self.requests, self.grant, self.assume = requests, grant, assume
        self._aws = aws
        self._places = threading.BoundedSemaphore(AT_ONCE)
        self.sessions = {
            name: Begun(partial(self._call, partial(assume, request)), f"session {name}")
            for name, request in requests.items()
        }
        self.secrets = Begun(self._secrets, "secrets") if grant.references else None
        self.logins = {
            registry: Begun(partial(self._login, registry), f"login {registry}")
            for kind in grant.kinds
            for registry in kind.needs().ecr
        }

    def _call(self, work: Callable[[], T]) -> T:
        with self._places:
            return work()

    def _own(self) -> Caller | Session:
        """Wait for the session of the job's own role; without a role it is the host that calls."""
        if not self.grant.role:
            return Caller.HOST
        own = Sessions(self.sessions[DEFAULT].result())
        return unexpired(own, self.requests[DEFAULT].role)

    def _secrets(self) -> dict[str, Secret]:
        """Fetch all secrets at once, by reference."""
        from bootstrap.credentials import secrets  # noqa: PLC0415 - of grants with secrets

        caller = self._own() if self.grant.secrets_with_role else Caller.HOST
        wanted = {reference: reference for reference in self.grant.references}
        return self._call(partial(secrets.fetch, self._aws, wanted, caller=caller))

    def _login(self, registry: str) -> Login:
        from bootstrap.aws import ecr  # noqa: PLC0415 - of grants with a registry of ECR

        caller = self._own()
        return self._call(partial(ecr.login, self._aws, registry, caller))


class CallsApart:
    """The same in a process of their own, because botocore takes much memory; as is a renewal.

    Whoever waits for one of them waits for all.
    """

    def __init__(
        self, requests: Mapping[str, SessionRequest], grant: Grant, aws: Aws, assume: Assume
    ) -> None:
        self.requests, self.grant = requests, grant
        self._begin = assume
        self._outcomes: _Outcomes | None = None
        self._apart = Apart(partial(_outcomes, requests, grant, aws, assume))
        self.sessions = {name: _Later(partial(self._session, name)) for name in requests}
        self.secrets = _Later(self._secrets) if grant.references else None
        self.logins = {
            registry: _Later(partial(self._login, registry))
            for kind in grant.kinds
            for registry in kind.needs().ecr
        }

    def close(self) -> None:
        """Wait for none of them any more."""
        self._apart.close()

    def assume(self, request: SessionRequest) -> Session:
        """Assume a role anew."""
        return Apart(partial(self._begin, request)).result()

    def _all(self) -> "_Outcomes":
        self._outcomes = self._outcomes or self._apart.result()
        return self._outcomes

    def _session(self, name: str) -> Session:
        return self._all().sessions[name].result()

    def _secrets(self) -> dict[str, Secret]:
        secrets = self._all().secrets
        return secrets.result() if secrets else {}

    def _login(self, registry: str) -> Login:
        return self._all().logins[registry].result()


@dataclass(frozen=True, slots=True)
class _Later(Generic[T]):
    result: Callable[[], T]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Outcome(Generic[T]):
    """What a call has returned or raised."""

    returned: Any = None
    raised: Exception | None = None

    def result(self) -> T:
        if self.raised is not None:
            raise self.raised
        returned: T = self.returned
        return returned


@dataclass(frozen=True, kw_only=True, slots=True)
class _Outcomes:
    sessions: Mapping[str, _Outcome[Session]]
    secrets: _Outcome[dict[str, Secret]] | None
    logins: Mapping[str, _Outcome[Login]]


def _outcomes(
    requests: Mapping[str, SessionRequest], grant: Grant, aws: Aws, assume: Assume
) -> _Outcomes:
    calls = Calls(requests, grant, aws, assume)
    return _Outcomes(
        sessions={name: _outcome(session) for name, session in calls.sessions.items()},
        secrets=_outcome(calls.secrets) if calls.secrets else None,
        logins={registry: _outcome(login) for registry, login in calls.logins.items()},
    )


def _outcome(begun: Begun[T]) -> _Outcome[T]:
    try:
        return _Outcome(returned=begun.result())
    except Exception as failed:  # noqa: BLE001 - raised where the result is asked for
        return _Outcome(raised=traced(failed))

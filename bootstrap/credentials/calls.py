"""The calls of AWS that a grant needs, each in a thread; those that depend on another, after it."""

import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

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

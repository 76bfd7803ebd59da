"""Roles, requests and clients of STS for tests."""

from dataclasses import replace
from typing import Any

import pytest

from bootstrap.aws.model import SessionRequest
from bootstrap.aws.sts import Sts
from bootstrap.errors import AirlockError
from bootstrap.host.config import Aws
from bootstrap.secret import Secret
from tests.credentials.given import request

NO_TAGS = "arn:aws:iam::111122223333:role/no-tags"
HUB = "arn:aws:iam::111122223333:role/hub"
SHORT = "arn:aws:iam::111122223333:role/one-hour"


class Clock:
    """Time passes only in `sleep`."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def client(aws: Aws, **how: Any) -> Sts:
    return Sts(aws, token=lambda: Secret("a-token-of-buildkite"), **how)


def impatient(aws: Aws, clock: Clock | None = None) -> Sts:
    clock = clock or Clock()
    return client(aws, clock=clock, sleep=clock.sleep)


def failure(aws: Aws, **of_request: object) -> AirlockError:
    with pytest.raises(AirlockError) as caught:
        impatient(aws).assume(request(**of_request))  # type: ignore[arg-type]
    return caught.value


def by_token() -> SessionRequest:
    """A request that Buildkite's token makes."""
    subject = "organization:acme:pipeline:storefront:*"
    return replace(request(), subject=subject, tags={}, source_identity=None)

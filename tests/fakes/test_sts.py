"""The strict STS has the limits of the real one (docs/aws.md#limits-of-sts), shown by botocore."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.fakes.metadata import ACCESS_KEY_ID
from tests.fakes.sts import StrictSts, Trust
from tests.fakes.sts_limits import CHAINED

OPEN = "arn:aws:iam::111122223333:role/open"
PLAIN = "arn:aws:iam::111122223333:role/no-tags-no-identity"
SHORT = "arn:aws:iam::111122223333:role/one-hour"
EXTERNAL = "arn:aws:iam::111122223333:role/external"
ROLES = {
    OPEN: Trust(web_identity=True),
    PLAIN: Trust(tag_session=False, source_identity=False),
    SHORT: Trust(max_seconds=3600),
    EXTERNAL: Trust(external_id="partner-7"),
}
USER = {"AKIAUSER": "arn:aws:iam::111122223333:user/ci"}  # not a role: no chaining
Ask = Callable[..., Any]


def client(sts: StrictSts, key: str = "AKIAUSER", secret: str = "s", token: str = "") -> Any:
    config = Config(retries={"total_max_attempts": 1}, proxies={})
    return botocore.session.Session().create_client(
        "sts",
        region_name="us-east-1",
        endpoint_url=sts.url,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token or None,
        config=config,
    )


def of_session(sts: StrictSts, credentials: dict[str, str]) -> Any:
    return client(
        sts,
        credentials["AccessKeyId"],
        credentials["SecretAccessKey"],
        credentials["SessionToken"],
    )


def ask(asker: Any, role: str = OPEN, **more: Any) -> dict[str, Any]:
    answer: dict[str, Any] = asker.assume_role(RoleArn=role, RoleSessionName="name", **more)
    return answer


def tags(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in pairs]


@pytest.mark.parametrize(
    ("role", "more", "code"),
    [
        (OPEN, {"DurationSeconds": 901}, None),
        (OPEN, {"DurationSeconds": 43200}, None),
        (OPEN, {"DurationSeconds": 43201}, "ValidationError"),
        (SHORT, {"DurationSeconds": 3601}, "ValidationError"),
        (OPEN, {"RoleSessionName": "n" * 64}, None),
        (OPEN, {"RoleSessionName": "n" * 65}, "ValidationError"),
        (OPEN, {"RoleSessionName": "a b"}, "ValidationError"),
        (OPEN, {"RoleSessionName": "größe"}, "ValidationError"),
        (OPEN, {"SourceIdentity": "aws:me"}, "ValidationError"),
        (OPEN, {"Tags": tags(("k", "v"), ("K", "v"))}, "InvalidParameterValue"),
        (OPEN, {"Tags": tags(*((str(n), "") for n in range(50)))}, None),
        (OPEN, {"Tags": tags(*((str(n), "") for n in range(51)))}, "ValidationError"),
        (OPEN, {"Tags": tags(("k" * 129, ""))}, "ValidationError"),
        (OPEN, {"Tags": tags(("k", "v" * 257))}, "ValidationError"),
        (OPEN, {"Tags": tags(("k", "größe 1"))}, None),
        (OPEN, {"Tags": tags(("k", "a~b"))}, "ValidationError"),
        (OPEN, {"Tags": tags(("AWS:k", ""))}, "ValidationError"),
        (OPEN, {"Policy": "{" + " " * 2046 + "}"}, None),
        (OPEN, {"Policy": "{" + " " * 2047 + "}"}, "ValidationError"),
        (OPEN, {"Policy": '{"a": "€"}'}, "ValidationError"),
        (OPEN, {"Policy": "not json"}, "MalformedPolicyDocument"),
        (OPEN, {"PolicyArns": [{"arn": "arn:aws:iam::999999999999:policy/x"}]}, "ValidationError"),
        (PLAIN, {}, None),
        (PLAIN, {"Tags": tags(("k", "v"))}, "AccessDenied"),
        (PLAIN, {"SourceIdentity": "me"}, "AccessDenied"),
        (EXTERNAL, {}, "AccessDenied"),
        (EXTERNAL, {"ExternalId": "partner-7"}, None),
        (OPEN.replace("open", "unknown"), {}, "AccessDenied"),
        ("arn:aws:iam::1:role/malformed", {}, "ValidationError"),
    ],
)
def test_request_at_limit_succeeds_and_beyond_it_is_rejected(
    role: str, more: dict[str, Any], code: str | None
) -> None:
    with StrictSts(roles=ROLES, callers=USER) as sts:
        try:
            client(sts).assume_role(**{"RoleArn": role, "RoleSessionName": "name", **more})
        except ClientError as refused:
            assert refused.response["Error"]["Code"] == code
        else:
            assert code is None


def test_chained_session_longer_than_one_hour_is_rejected() -> None:
    with StrictSts(roles=ROLES) as sts:
        host = client(sts, ACCESS_KEY_ID)
        ask(host, DurationSeconds=3600)
        with pytest.raises(ClientError, match=CHAINED):
            ask(host, DurationSeconds=3601)


def test_session_identifies_its_role_until_it_expires() -> None:
    with StrictSts(roles=ROLES, callers=USER, lifetime=60) as sts:
        session = of_session(sts, ask(client(sts))["Credentials"])
        arn = "arn:aws:sts::111122223333:assumed-role/open/name"
        assert session.get_caller_identity()["Arn"] == arn
        (key,) = sts.issued
        assert sts.issued[key].until - time.time() <= 60
        sts.issued[key] = replace(sts.issued[key], until=time.time() - 1)
        with pytest.raises(ClientError, match="ExpiredToken") as refused:
            session.get_caller_identity()
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"SecretAccessKey": "guessed"}, "SignatureDoesNotMatch"),
        ({"SessionToken": "guessed"}, "InvalidClientTokenId"),
        ({"AccessKeyId": "ASIAUNKNOWN"}, "InvalidClientTokenId"),
    ],
)
def test_session_with_guessed_part_is_refused(wrong: dict[str, str], code: str) -> None:
    with StrictSts(roles=ROLES, callers=USER) as sts:
        credentials = {**ask(client(sts))["Credentials"], **wrong}
        with pytest.raises(ClientError, match=code):
            of_session(sts, credentials).get_caller_identity()


def test_chained_session_cannot_change_transitive_tag_or_source_identity() -> None:
    with StrictSts(roles=ROLES, callers=USER) as sts:
        first = ask(
            client(sts), Tags=tags(("Team", "a")), TransitiveTagKeys=["Team"], SourceIdentity="me"
        )
        chained = of_session(sts, first["Credentials"])
        with pytest.raises(ClientError, match="transitive"):
            ask(chained, Tags=tags(("team", "b")))
        with pytest.raises(ClientError, match="source identity"):
            ask(chained, SourceIdentity="you")
        ask(chained, SourceIdentity="me")


def test_web_identity_needs_trusting_role_and_no_signature() -> None:
    with StrictSts(roles=ROLES) as sts:
        asker = client(sts)
        how = {"RoleSessionName": "name", "WebIdentityToken": "e.y.J"}
        asker.assume_role_with_web_identity(RoleArn=OPEN, **how)
        with pytest.raises(ClientError, match="AccessDenied"):
            asker.assume_role_with_web_identity(RoleArn=PLAIN, **how)
        assert [request.key for request in sts.requests] == [None, None]


def test_injected_faults_are_returned_as_often_as_set_and_recorded() -> None:
    with StrictSts(roles=ROLES, callers=USER) as sts:
        sts.fail_with("Throttling", times=2)
        for _ in range(2):
            with pytest.raises(ClientError, match="Throttling"):
                ask(client(sts))
        ask(client(sts))
        assert [(each.action, each.key) for each in sts.requests] == [
            ("AssumeRole", "AKIAUSER")
        ] * 3
        assert len(sts.asked) == 1

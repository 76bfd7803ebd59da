"""Who AWS takes this host for, its clock, and what its role may read without need."""

import time
from pathlib import Path

import pytest

from bootstrap.aws.caller_identity import caller_identity
from bootstrap.aws.excess import excess
from bootstrap.errors import CannotStart
from bootstrap.host.config import Aws
from tests.fakes.metadata import ACCESS_KEY_ID
from tests.fakes.secretsmanager import SecretsManager
from tests.fakes.simulator import on_loopback
from tests.fakes.ssm import StrictSsm, denial, failure
from tests.fakes.sts import HOST, StrictSts, error_reply


def credentials(tmp_path: Path) -> str:
    path = tmp_path / "credentials"
    path.write_text(
        f"[default]\naws_access_key_id = {ACCESS_KEY_ID}\naws_secret_access_key = secret\n"
    )
    return f"file:{path}"


def test_identity_and_clock_are_those_of_the_answer(tmp_path: Path) -> None:
    with StrictSts() as sts:
        aws = Aws(sts_endpoint=sts.url, credentials=credentials(tmp_path))
        found = caller_identity(aws, patience=0.0)
        assert found.arn == HOST
        assert abs(found.ahead) < 2
        late = caller_identity(aws, patience=0.0, now=lambda: time.time() + 100)
        assert 98 < late.ahead < 102
        sts.ahead = 50
        assert -52 < caller_identity(aws, patience=0.0).ahead < -48


def test_clock_is_named_if_sts_refuses_because_of_it(tmp_path: Path) -> None:
    with StrictSts() as sts:
        sts.ahead = 3600
        sts.fail_with("SignatureDoesNotMatch", status=403)
        aws = Aws(sts_endpoint=sts.url, credentials=credentials(tmp_path))
        with pytest.raises(CannotStart, match=r"its clock is -3\d\d\d s from AWS's") as raised:
            caller_identity(aws, patience=0.0)
    assert "chronyc tracking" in raised.value.hint


def test_source_of_credentials_is_named_if_it_has_none() -> None:
    aws = Aws(sts_endpoint="http://127.0.0.1:1", credentials="file:/nowhere/at/all")
    with pytest.raises(CannotStart, match="got none from file:/nowhere/at/all") as raised:
        caller_identity(aws, patience=0.0)
    assert "[default]" in raised.value.hint


def test_sts_that_refuses_is_quoted(tmp_path: Path) -> None:
    with StrictSts() as sts:
        sts.fail("POST *", error_reply("InvalidClientTokenId", status=403), 5)
        aws = Aws(sts_endpoint=sts.url, credentials=credentials(tmp_path))
        with pytest.raises(CannotStart, match=r"does not know this host.*InvalidClientTokenId"):
            caller_identity(aws, patience=0.0)


@pytest.mark.parametrize(
    ("parameters", "secrets", "expected"),
    [
        (True, False, ("ssm:GetParameters on every parameter",)),
        (False, True, ("secretsmanager:GetSecretValue on every secret",)),
        (False, False, ()),
    ],
)
def test_role_may_read_what_it_is_not_denied(
    tmp_path: Path, *, parameters: bool, secrets: bool, expected: tuple[str, ...]
) -> None:
    with on_loopback(StrictSsm) as ssm, on_loopback(SecretsManager, {}) as manager:
        if not parameters:
            ssm.fail("POST *", denial("ssm:GetParameters", "*"))
        if not secrets:
            manager.fail("POST *", denial("secretsmanager:GetSecretValue", "*"))
        aws = Aws(ssm_endpoint=ssm.url, secretsmanager_endpoint=manager.url,
                  credentials=credentials(tmp_path))  # fmt: skip
        assert tuple(excess(aws, patience=0.0)) == expected
        asked = [call.json() for call in (*ssm.calls, *manager.calls)]
        assert all("airlock-doctor-" in str(one) for one in asked)


def test_failure_of_another_kind_is_no_answer(tmp_path: Path) -> None:
    with on_loopback(StrictSsm) as ssm:
        ssm.fail("POST *", failure("InternalServerError"), 5)
        aws = Aws(ssm_endpoint=ssm.url, secretsmanager_endpoint=ssm.url,
                  credentials=credentials(tmp_path))  # fmt: skip
        with pytest.raises(Exception, match="InternalServerError"):
            list(excess(aws, patience=0.0))

"""Secrets of both services: whole values, members of JSON objects, and every failure."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from bootstrap.credentials import references
from bootstrap.credentials.secrets import batches, fetch
from bootstrap.errors import AirlockError, CannotStart, WrongConfiguration
from bootstrap.grants.secrets import check_fits
from bootstrap.host.config import Aws
from bootstrap.secret import Secret
from tests.credentials.given import write_credentials
from tests.fakes.secretsmanager import SecretsManager
from tests.fakes.simulator import loopback
from tests.fakes.ssm import StrictSsm

DATABASE = json.dumps({"user": "storefront", "password": "db-secret", "port": 5432, "tls": True})


@pytest.fixture
def ssm() -> Iterator[StrictSsm]:
    with StrictSsm(loopback()) as strict:
        strict.put("/storefront/npm-token", "npm-secret", kind="SecureString")
        yield strict


@pytest.fixture
def manager() -> Iterator[SecretsManager]:
    with SecretsManager(loopback(), {"prod/db": DATABASE, "prod/key": b"\x00\x01"}) as made:
        yield made


@pytest.fixture
def aws(tmp_path: Path, ssm: StrictSsm, manager: SecretsManager) -> Aws:
    return host(tmp_path, ssm.url, manager.url)


def host(tmp_path: Path, ssm: str, manager: str) -> Aws:
    write_credentials(tmp_path / "credentials", "AKIAHOST")
    endpoints = {"ssm-endpoint": ssm, "secretsmanager-endpoint": manager}
    return Aws.model_validate({"credentials": f"file:{tmp_path}/credentials", **endpoints})


def revealed(found: dict[str, Secret]) -> dict[str, str]:
    return {name: secret.reveal() for name, secret in found.items()}


def test_secrets_of_both_services_are_fetched_together(aws: Aws, ssm: StrictSsm) -> None:
    found = fetch(
        aws,
        {
            "NPM": "ssm:/storefront/npm-token",
            "DB": "secretsmanager:prod/db",
            "PASSWORD": "secretsmanager:prod/db#password",
            "PORT": "secretsmanager:prod/db#port",
        },
    )
    assert revealed(found) == {
        "NPM": "npm-secret", "DB": DATABASE, "PASSWORD": "db-secret", "PORT": "5432",
    }  # fmt: skip
    assert ssm.operations == ["GetParameters"]


def test_secrets_from_moto_are_read_as_from_the_fakes(tmp_path: Path) -> None:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        url = "http://{}:{}".format(*server.get_host_and_port())
        known: dict[str, Any] = {
            "region_name": "us-east-1", "endpoint_url": url,
            "aws_access_key_id": "x", "aws_secret_access_key": "x",
        }  # fmt: skip
        ssm = boto3.client("ssm", **known)
        ssm.put_parameter(Name="/a", Value="one", Type="SecureString")
        boto3.client("secretsmanager", **known).create_secret(Name="b", SecretString=DATABASE)
        aws = host(tmp_path, url, url)
        wanted = {"A": "ssm:/a", "B": "secretsmanager:b#password"}
        assert revealed(fetch(aws, wanted)) == {"A": "one", "B": "db-secret"}
        with pytest.raises(WrongConfiguration, match="secretsmanager:absent does not exist"):
            fetch(aws, {"C": "secretsmanager:absent"})
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("ssm:/storefront/absent", "does not exist"),
        ("secretsmanager:absent", "does not exist"),
        ("secretsmanager:prod/key", "is binary"),
        ("secretsmanager:prod/db#absent", "no JSON object with the key 'absent'"),
        ("secretsmanager:prod/db#tls", "has no text at the key 'tls'"),
        ("ssm:/storefront/npm-token#x", "no JSON object"),
    ],
)
def test_a_secret_that_does_not_fit_its_reference_is_wrong_configuration(
    aws: Aws, reference: str, says: str
) -> None:
    with pytest.raises(WrongConfiguration) as caught:
        fetch(aws, {"A": reference})
    assert f"the secret {reference} " in caught.value.problem
    assert says in caught.value.problem


def test_a_missing_permission_prints_the_statement(aws: Aws, manager: SecretsManager) -> None:
    manager.forbidden = {"prod/db"}
    with pytest.raises(CannotStart, match="secretsmanager:prod/db cannot be read") as caught:
        fetch(aws, {"A": "secretsmanager:prod/db"})
    assert json.loads(caught.value.details[0])["Action"] == "secretsmanager:GetSecretValue"


def test_a_forbidden_key_prints_the_statement_for_kms(aws: Aws, ssm: StrictSsm) -> None:
    ssm.may_decrypt = False
    with pytest.raises(CannotStart, match="npm-token cannot be read") as caught:
        fetch(aws, {"A": "ssm:/storefront/npm-token"})
    assert json.loads(caught.value.details[0])["Action"] == "kms:Decrypt"


def test_more_secrets_than_a_call_takes_need_several_calls(aws: Aws, ssm: StrictSsm) -> None:
    for number in range(23):
        ssm.put(f"/many/{number}", f"value {number}")
    found = fetch(aws, {f"V{n}": f"ssm:/many/{n}" for n in range(23)})
    assert revealed(found) == {f"V{n}": f"value {n}" for n in range(23)}
    assert ssm.operations == ["GetParameters"] * 3


def test_no_reference_causes_no_call(aws: Aws, ssm: StrictSsm, manager: SecretsManager) -> None:
    assert fetch(aws, {}) == {}
    assert ssm.calls == manager.calls == []


@pytest.mark.parametrize("value", ["a\0b", "x" * 200_000])
def test_a_value_that_no_variable_can_have_is_refused(value: str) -> None:
    with pytest.raises(WrongConfiguration, match="deliver it as a file") as caught:
        check_fits("A", "ssm:/a", Secret(value))
    assert value[:3] not in caught.value.problem.replace("ssm:/a", "")


@given(st.text(), st.text())
def test_random_values_are_not_shown_in_errors(value: str, key: str) -> None:
    try:
        references.member(references.parse(f"secretsmanager:a#{key}"), value)
    except AirlockError as error:
        assert len(value) < 20 or value in key or value not in error.problem


@given(st.lists(st.text(), max_size=40), st.integers(1, 12))
def test_batches_contain_every_name_in_order(names: list[str], size: int) -> None:
    cut = list(batches(names, size))
    assert [name for batch in cut for name in batch] == names
    assert all(0 < len(batch) <= size for batch in cut)

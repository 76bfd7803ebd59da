"""Parameters, against moto and the strict fake over HTTP."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootstrap.aws.ssm import AT_ONCE, STANDARD, ParameterStore
from bootstrap.host.config import Aws
from tests.credentials.given import write_credentials
from tests.fakes.simulator import Reply, loopback
from tests.fakes.ssm import StrictSsm


@pytest.fixture
def strict() -> Iterator[StrictSsm]:
    with StrictSsm(loopback()) as made:
        yield made


def store(tmp_path: Path, url: str) -> ParameterStore:
    write_credentials(tmp_path / "credentials", "AKIAHOST")
    aws = {"credentials": f"file:{tmp_path}/credentials", "ssm-endpoint": url}
    return ParameterStore(Aws.model_validate(aws), patience=5)


def test_named_leaves_out_what_does_not_exist(strict: StrictSsm, tmp_path: Path) -> None:
    strict.put("/a/secret", "s3cret", kind="SecureString")
    found = store(tmp_path, strict.url).named(["/a/secret", "/a/absent"])
    assert {path: parameter.value for path, parameter in found.items()} == {"/a/secret": "s3cret"}
    assert "s3cret" not in repr(found)


def test_named_by_arn_returns_it_by_that_arn(moto: str, tmp_path: Path) -> None:
    ssm = store(tmp_path, moto)
    ssm.put("/spelled", "value", replaces=False)
    arn = "arn:aws:ssm:us-east-1:123456789012:parameter/spelled"
    assert {name: p.value for name, p in ssm.named([arn]).items()} == {arn: "value"}


def test_named_by_version_returns_it_by_that_spelling(strict: StrictSsm, tmp_path: Path) -> None:
    """AWS returns the version apart from the name; neither fake does."""
    parameter = {"Name": "/a", "Selector": ":1", "Type": "String", "Value": "one", "Version": 1}
    body = json.dumps({"Parameters": [parameter], "InvalidParameters": []}).encode()
    strict.fail("*", Reply(status=200, body=body, kind="application/x-amz-json-1.1"))
    found = store(tmp_path, strict.url).named(["/a:1"])
    assert {name: p.value for name, p in found.items()} == {"/a:1": "one"}


def test_below_follows_pages_and_decrypts_nothing(strict: StrictSsm, tmp_path: Path) -> None:
    for number in range(AT_ONCE + 3):
        strict.put(f"/many/{number}", "v")
    strict.put("/many/secret", "s3cret", kind="SecureString")
    strict.put("/many/deeper/one", "v")
    ssm = store(tmp_path, strict.url)
    directly = {parameter.path: parameter.value for parameter in ssm.below("/many")}
    assert len(directly) == AT_ONCE + 4
    assert directly["/many/secret"] != "s3cret"
    deep = {parameter.path for parameter in ssm.below("/many", recursive=True)}
    assert deep - set(directly) == {"/many/deeper/one"}


@pytest.mark.parametrize(("size", "tier"), [(STANDARD, "Standard"), (STANDARD + 1, "Advanced")])
def test_put_takes_the_tier_that_the_value_needs(
    strict: StrictSsm, tmp_path: Path, size: int, tier: str
) -> None:
    ssm = store(tmp_path, strict.url)
    assert [ssm.put("/a", "x" * size, replaces=False), ssm.put("/a", "y", replaces=True)] == [1, 2]
    assert strict.tiers["/a"] == tier

"""Clients: they ignore the environment, and each is regional."""

from pathlib import Path

import botocore
import pytest

from bootstrap.aws.client import connect
from bootstrap.host.config import Aws
from tests.aws.given import client
from tests.credentials.given import host, request
from tests.fakes.metadata import Metadata
from tests.fakes.simulator import Reply, loopback
from tests.fakes.sts import StrictSts


def test_instance_role_ignores_every_variable_of_the_environment(
    sts: StrictSts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Variables about AWS, proxies or certificates have no effect."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIAFORGED",
        "AWS_SECRET_ACCESS_KEY": "forged",
        "AWS_PROFILE": "absent",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ENDPOINT_URL_STS": "http://127.0.0.1:1",
        "AWS_CA_BUNDLE": "/absent",
        "HTTP_PROXY": "http://127.0.0.1:1",
        "http_proxy": "http://127.0.0.1:1",
        "AWS_DATA_PATH": "/absent",
    }.items():
        monkeypatch.setenv(name, value)
    aws = Aws.model_validate({"sts-endpoint": sts.url})
    with Metadata(loopback()) as metadata:
        session = client(aws, metadata=f"{metadata.url}/").assume(request())
    assert session.access_key_id.startswith("ASIA")


def test_late_metadata_service_is_retried(sts: StrictSts) -> None:
    aws = Aws.model_validate({"sts-endpoint": sts.url})
    with Metadata(loopback()) as metadata:
        metadata.fail("PUT *", Reply(status=503), times=2)
        metadata.fail("GET *", Reply(status=503), times=2)
        session = client(aws, metadata=f"{metadata.url}/", sleep=lambda _: None).assume(request())
    assert session.access_key_id


@pytest.mark.parametrize(
    ("region", "endpoint"),
    [
        ("us-east-1", "https://sts.us-east-1.amazonaws.com"),
        ("eu-central-1", "https://sts.eu-central-1.amazonaws.com"),
        ("us-gov-west-1", "https://sts.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "https://sts.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_endpoint_of_each_partition_is_regional(tmp_path: Path, region: str, endpoint: str) -> None:
    aws = host(tmp_path, None).model_copy(update={"region": region})
    assert connect("sts", aws).meta.endpoint_url == endpoint


@pytest.mark.parametrize("service", ["sts", "ssm", "secretsmanager", "ecr"])
def test_client_of_each_service_is_regional_and_makes_one_try(tmp_path: Path, service: str) -> None:
    made = connect(service, host(tmp_path, None))
    assert made.meta.region_name == "us-east-1"
    assert "us-east-1" in made.meta.endpoint_url
    assert made.meta.config.retries["total_max_attempts"] == 1
    assert f"Botocore/{botocore.__version__}" in made.meta.config.user_agent

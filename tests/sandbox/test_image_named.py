"""An image that cannot be provided is reported with the place that names it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bootstrap.errors import WrongConfiguration
from bootstrap.host import config
from bootstrap.host.config import Host
from bootstrap.log import JobLog
from bootstrap.sandbox.companions import beside
from bootstrap.sandbox.engine_client import Client
from bootstrap.sandbox.images.image import provided
from tests.policy.given import policy
from tests.sandbox.test_engine_client import engines

ABSENT = b'{"message": "No such image"}'
LOG = JobLog(lambda _: None)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    settings = {"sandbox": {"image": "job:1", "pull": "never"}, "paths": {"state": str(tmp_path)}}
    return config.parse(settings, Path("airlock.toml"))


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with engines(tmp_path) as engine:
        engine.answers = [(404, ABSENT)]
        yield Client(engine.url, timeout=5)


@pytest.mark.parametrize(
    ("named", "place"),
    [("node:22", "image of the rule"), (None, "sandbox.image of airlock.toml")],
)
def test_missing_image_of_a_job(client: Client, host: Host, named: str | None, place: str) -> None:
    with pytest.raises(WrongConfiguration, match="is not on this host") as raised:
        provided(client, named, host, LOG)
    assert f"It is the {place}." in raised.value.hint


def test_missing_image_of_a_service(client: Client, host: Host) -> None:
    allow = "services: {db: {image: 'postgres:15'}}"
    (rule,) = policy(f"  - {{name: a, allow: {{{allow}}}}}\n").rules
    with pytest.raises(WrongConfiguration, match="postgres:15 is not on this host") as raised:
        beside.companions(client, rule.allow.services, host, LOG)
    assert "It is the image of the service db." in raised.value.hint

"""The strict fake of STS and moto, as fixtures."""

from collections.abc import Iterator

import pytest
from moto.backends import get_backend
from moto.server import ThreadedMotoServer

from tests.aws.given import NO_TAGS, SHORT
from tests.credentials.given import ROLE
from tests.fakes.simulator import loopback
from tests.fakes.sts import StrictSts, Trust


@pytest.fixture
def sts() -> Iterator[StrictSts]:
    roles = {ROLE: Trust(), NO_TAGS: Trust(tag_session=False), SHORT: Trust(max_seconds=3600)}
    with StrictSts(loopback(), roles) as strict:
        yield strict


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    for service in ("ssm", "sts", "secretsmanager", "ecr"):
        get_backend(service)  # imports it: seconds that a first request would wait
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address, port = server.get_host_and_port()
    yield f"http://{address}:{port}"
    server.stop()

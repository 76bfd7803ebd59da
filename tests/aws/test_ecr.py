"""Logins at ECR, from the fake and from moto over HTTP."""

import json
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from bootstrap.aws.client import Caller
from bootstrap.aws.ecr import login
from bootstrap.errors import CannotStart
from bootstrap.host.config import Aws
from tests.credentials.given import session, write_credentials
from tests.fakes.metadata import ACCESS_KEY_ID
from tests.fakes.registry import Ecr, Registry
from tests.fakes.simulator import loopback

ECR = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"


@pytest.mark.parametrize("which", ["ours", "moto"])
def test_login_is_of_the_registrys_region(which: str, tmp_path: Path) -> None:
    write_credentials(tmp_path / "credentials", ACCESS_KEY_ID)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        with Registry(loopback(), {}) as registry, Ecr(loopback(), registry) as ours:
            url = {"ours": ours.url, "moto": "http://{}:{}".format(*server.get_host_and_port())}
            aws = Aws.model_validate(
                {"credentials": f"file:{tmp_path}/credentials", "ecr-endpoint": url[which]}
            )
            found = login(aws, ECR, Caller.HOST)
            region = ours.calls and ours.calls[0].headers["authorization"].split("/")[2]
    finally:
        server.stop()
    assert (found.username, region) == ("AWS", "eu-west-1" if which == "ours" else [])
    assert found.password.reveal()


def test_forbidden_login_names_the_callers_role_and_the_statement() -> None:
    with Registry(loopback(), {}) as registry, Ecr(loopback(), registry) as ours:
        ours.forbidden = True
        aws = Aws.model_validate({"ecr-endpoint": ours.url})
        caller = session()
        with pytest.raises(CannotStart, match="ECR issued no login") as caught:
            login(aws, ECR, caller)
    assert caught.value.hint == f"Add this statement to the policy of {caller.role}:"
    assert [json.loads(detail) for detail in caught.value.details] == [
        {"Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"}
    ]

"""Claims, requests and sessions for tests, and a host that has credentials in a file."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bootstrap.aws.model import Session, SessionRequest
from bootstrap.host.config import Aws
from bootstrap.job.model import Claims
from bootstrap.secret import Secret
from tests.fakes.metadata import ACCESS_KEY_ID

ROLE = "arn:aws:iam::111122223333:role/storefront-deploy"
JOB_ID = "0193a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"


def claims(
    *,
    job_id: str = JOB_ID,
    pipeline: str = "storefront",
    organization: str = "acme",
    number: str = "42",
    branch: str = "main",
) -> Claims:
    return Claims(
        organization=organization,
        pipeline=pipeline,
        job_id=job_id,
        build_number=number,
        agent_name="agent-1",
        repository="git@example.com:acme/storefront.git",
        env={"BUILDKITE_BRANCH": branch},
        facts={},
    )


def request(*, role: str = ROLE, hours: float = 1, name: str = "storefront-42-x") -> SessionRequest:
    return SessionRequest(
        role=role,
        session_name=name,
        source_identity=JOB_ID,
        tags={"buildkite:pipeline": "storefront"},
        duration=timedelta(hours=hours),
    )


def session(*, seconds: float = 3600, key: str = "ASIAONE", token: str = "tok") -> Session:
    return Session(
        role=ROLE,
        access_key_id=key,
        secret_access_key=Secret("the-secret-key"),
        session_token=Secret(token),
        expires=datetime.now(UTC) + timedelta(seconds=seconds),
        duration=timedelta(seconds=seconds),
        assumed_role="arn:aws:sts::111122223333:assumed-role/storefront-deploy/s",
        packed_size_percent=6,
    )


def host(directory: Path, endpoint: str | None, *, key: str = ACCESS_KEY_ID) -> Aws:
    """Return settings whose credentials are the fake's host's, in a file below `directory`."""
    path = directory / "host-credentials"
    write_credentials(path, key)
    return Aws.model_validate({"credentials": f"file:{path}", "sts-endpoint": endpoint})


def write_credentials(path: Path, key: str, secret: str = "host", token: str = "") -> None:
    path.write_text(
        f"[default]\naws_access_key_id={key}\naws_secret_access_key={secret}\n"
        + (f"aws_session_token={token}\n" if token else "")
    )


def eventually(condition: Callable[[], object], seconds: float = 10) -> None:
    """Wait until `condition` holds; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.01)

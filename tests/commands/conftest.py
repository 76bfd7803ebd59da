"""A folder of policies, a store in SSM, and a host configuration that names it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.credentials.given import write_credentials
from tests.fakes.simulator import loopback
from tests.fakes.ssm import StrictSsm
from tests.policy.given import HEAD

ROLE = "arn:aws:iam::111122223333:role/ci/deploy"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "policies"
    path.mkdir()
    (path / "storefront.yaml").write_text(
        HEAD + f"  - {{name: deploy, when: {{branch: main}}, allow: {{role: '{ROLE}'}}}}\n"
    )
    return path


@pytest.fixture
def ssm() -> Iterator[StrictSsm]:
    with StrictSsm(loopback()) as strict:
        yield strict


@pytest.fixture
def config(tmp_path: Path, ssm: StrictSsm) -> Path:
    write_credentials(tmp_path / "credentials", "AKIAHOST")
    path = tmp_path / "airlock.toml"
    path.write_text(
        '[policy]\nstore = "ssm:/buildkite/pipelines"\ncache = "0s"\n'
        f'[aws]\ncredentials = "file:{tmp_path}/credentials"\nssm-endpoint = "{ssm.url}"\n'
        f'[sandbox]\nimage = "job:1"\n[paths]\nruntime = "{tmp_path}/run"\n'
    )
    path.chmod(0o644)
    return path

"""A fleet with its pipelines in SSM parameters switches to Airlock without a new document."""

from collections.abc import Iterator

import pytest

from tests.fakes.ssm import StrictSsm
from tests.lab import world
from tests.lab.lab import ROLE, Fleet

pytestmark = pytest.mark.lab

PREFIX = "/buildkite/pipelines"


@pytest.fixture
def ssm(fleet: Fleet) -> Iterator[StrictSsm]:
    with StrictSsm(world.listen(world.WORLD, 0)) as strict:
        text = fleet.config.read_text()
        text = text.replace(f"file:{fleet.base}/policies", f"ssm:{PREFIX}")
        text = text.replace("[aws]", f'cache = "0s"\n[aws]\nssm-endpoint = "{strict.url}"')
        fleet.config.write_text(text)
        yield strict


def test_ssm_pipeline_with_repository_alone_admits_its_jobs(fleet: Fleet, ssm: StrictSsm) -> None:
    ssm.put(f"{PREFIX}/storefront/repository", fleet.repository)
    with fleet.agent():
        job = fleet.control.enqueue(fleet.env("echo I ran", BUILDKITE_BRANCH="feature"))
        assert fleet.control.finished(job) == ("0", "", ""), job.log.decode()
        other = fleet.control.enqueue(
            fleet.env("echo I ran", BUILDKITE_REPO="https://github.com/mallory/storefront.git")
        )
        assert fleet.control.finished(other) == ("77", "", "")
    assert f"ssm:{PREFIX}/storefront (repository:1)".encode() in job.log
    assert fleet.sts.asked == []
    assert set(ssm.operations) == {"GetParametersByPath"}


def test_ssm_pipeline_with_all_parameters_is_decided_by_them(fleet: Fleet, ssm: StrictSsm) -> None:
    ssm.put(f"{PREFIX}/storefront/repository", fleet.repository)
    ssm.put(f"{PREFIX}/storefront/branches", "main,release/*", kind="StringList")
    ssm.put(f"{PREFIX}/storefront/teams", "platform", kind="StringList")
    ssm.put(f"{PREFIX}/storefront/queues", "default")
    ssm.put(f"{PREFIX}/storefront/role-arn", ROLE, kind="SecureString")
    with fleet.agent():
        job = fleet.control.enqueue(fleet.env("echo I ran"))
        assert fleet.control.finished(job) == ("0", "", ""), job.log.decode()
        webhook = fleet.control.enqueue(fleet.env("echo I ran", BUILDKITE_SOURCE="webhook"))
        assert fleet.control.finished(webhook) == ("77", "", "")
    assert [asked.role for asked in fleet.sts.asked] == [ROLE]


def test_ssm_pipeline_without_parameters_is_refused(fleet: Fleet, ssm: StrictSsm) -> None:
    with fleet.agent():
        job = fleet.control.enqueue(fleet.env("echo I ran"))
        assert fleet.control.finished(job) == ("77", "", "")
    assert b"no policy exists for pipeline 'storefront'" in job.log


def test_ssm_pipeline_with_misspelt_parameter_fails_closed(fleet: Fleet, ssm: StrictSsm) -> None:
    ssm.put(f"{PREFIX}/storefront/repository", fleet.repository)
    ssm.put(f"{PREFIX}/storefront/branchs", "main")
    with fleet.agent():
        job = fleet.control.enqueue(fleet.env("echo I ran"))
        assert fleet.control.finished(job) == ("78", "", "")
    assert b'unknown parameter "branchs"; did you mean "branches"?' in job.log

"""Real AWS clients in the sandbox, with nothing but what Airlock delivers."""

import pytest

from tests.lab.lab import ROLE, Fleet

pytestmark = pytest.mark.lab

DEPLOY = f"  - name: deploy\n    when: {{branch: main}}\n    allow: {{role: '{ROLE}'}}\n"
BY_ENV = DEPLOY.replace("allow: {", "allow: {delivery: env, ")

CLI = "AWS_PAGER= aws --endpoint-url {url} sts get-caller-identity --query Arn --output text"


def test_default_role_is_role_of_matched_rule(fleet: Fleet) -> None:
    fleet.policy(DEPLOY)
    with fleet.agent():
        job = fleet.control.enqueue(fleet.env(CLI.format(url=fleet.sts.url)))
        result = fleet.control.finished(job)
    assert result == ("0", "", ""), job.log.decode()
    assert b"assumed-role/storefront-deploy/storefront-42-" in job.log


def test_delivery_by_env_sets_session_variables_only(fleet: Fleet) -> None:
    fleet.policy(BY_ENV)
    with fleet.agent():
        command = (
            'test -n "$AWS_SESSION_TOKEN" && test -z "$AWS_CONTAINER_CREDENTIALS_RELATIVE_URI" && '
            + CLI.format(url=fleet.sts.url)
        )
        job = fleet.control.enqueue(fleet.env(command))
        assert fleet.control.finished(job) == ("0", "", ""), job.log.decode()


def test_sts_request_names_pipeline_rule_and_job(fleet: Fleet) -> None:
    fleet.policy(DEPLOY)
    with fleet.agent():
        job = fleet.control.enqueue(fleet.env("true"))
        assert fleet.control.finished(job) == ("0", "", "")
    (asked,) = fleet.sts.asked
    assert (asked.role, asked.source_identity, asked.duration) == (ROLE, job.id, 3600)
    assert asked.tags["buildkite:pipeline"] == "storefront"
    assert asked.tags["buildkite:rule"] == "deploy"


def test_aws_variables_of_job_do_not_replace_grant(fleet: Fleet) -> None:
    fleet.policy(DEPLOY)
    with fleet.agent():
        env = fleet.env(
            CLI.format(url=fleet.sts.url),
            AWS_ACCESS_KEY_ID="AKIAMINE",
            AWS_SECRET_ACCESS_KEY="mine",
            AWS_PROFILE="mine",
            AWS_CONTAINER_CREDENTIALS_FULL_URI="http://127.0.0.1:1/",
            HTTP_PROXY="http://127.0.0.1:9",
            NO_PROXY="10.77.0.0/24,10.77.0.2",
        )
        job = fleet.control.enqueue(env)
        assert fleet.control.finished(job) == ("0", "", ""), job.log.decode()
    assert b"assumed-role/storefront-deploy" in job.log
    assert b"AWS_ACCESS_KEY_ID" in job.log.split(b"Preparing working directory")[0]

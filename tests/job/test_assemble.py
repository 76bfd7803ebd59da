"""From two environments to one Job: who vouches for what."""

import pytest

from bootstrap.errors import Refused, WrongConfiguration
from bootstrap.job.assemble import AGENT_NAMES, assemble
from tests.job.given import JOB_ID, TOKEN, job_env, process_env, without


def test_a_job_is_who_the_file_says() -> None:
    job = assemble(job_env(), process_env())
    assert (job.id, job.organization, job.pipeline) == (JOB_ID, "acme", "storefront")
    assert (job.build_number, job.agent_name) == ("42", "agent-1")
    assert str(job.build_path) == "/var/lib/buildkite-agent/builds"
    assert str(job.timeout_marker) == f"/tmp/job-timeout-{JOB_ID}"
    assert job.token.reveal() == TOKEN


def test_the_token_is_in_neither_environment() -> None:
    job = assemble(job_env(BUILDKITE_AGENT_ACCESS_TOKEN="forged"), process_env())
    assert "BUILDKITE_AGENT_ACCESS_TOKEN" not in {**job.env, **job.agent}
    assert job.token.reveal() == TOKEN


@pytest.mark.parametrize("name", sorted(AGENT_NAMES - {"BUILDKITE_AGENT_ACCESS_TOKEN"}))
def test_only_the_agent_vouches_for_its_own_names(name: str) -> None:
    """A job that brings one is not obeyed, whether or not the agent has set it."""
    given = without(process_env(), name)
    if name != "BUILDKITE_BUILD_PATH":
        job = assemble(job_env(**{name: "from-the-job"}), given)
        assert name not in job.env
        assert name not in job.agent


def test_other_variables_of_the_process_are_not_the_jobs() -> None:
    job = assemble(job_env(), process_env(LD_PRELOAD="/evil.so", AWS_PROFILE="x", HOME="/root"))
    assert not {"LD_PRELOAD", "AWS_PROFILE", "HOME"} & {*job.env, *job.agent}


@pytest.mark.parametrize(
    "name", ["BUILDKITE_JOB_ID", "BUILDKITE_REPO", "BUILDKITE_PIPELINE_SLUG", "BUILDKITE_COMMIT"]
)
@pytest.mark.parametrize("value", [None, ""])
def test_what_every_job_has(name: str, value: str | None) -> None:
    env = without(job_env(), name) if value is None else job_env(**{name: value})
    with pytest.raises(Refused, match=f"the job lacks {name}"):
        assemble(env, process_env())


@pytest.mark.parametrize("value", ["..", ".", "a/b", "/etc", "a\nb", "x" * 256, "a\u202eb"])
@pytest.mark.parametrize("name", ["BUILDKITE_PIPELINE_SLUG", "BUILDKITE_ORGANIZATION_SLUG"])
def test_names_that_would_become_paths(name: str, value: str) -> None:
    with pytest.raises(Refused, match=f"{name} is .* which cannot name a directory"):
        assemble(job_env(**{name: value}), process_env())


def test_a_job_that_claims_to_be_another() -> None:
    other = "0193a1b2-ffff-7e5f-8a9b-0c1d2e3f4a5b"
    with pytest.raises(Refused, match="the agent's file for this job"):
        assemble(job_env(BUILDKITE_JOB_ID=other), process_env())


def test_an_agent_without_a_token_is_no_agent() -> None:
    with pytest.raises(WrongConfiguration, match="handed over no"):
        assemble(job_env(), without(process_env(), "BUILDKITE_AGENT_ACCESS_TOKEN"))


@pytest.mark.parametrize("path", ["", "builds", "/var/../etc"])
def test_the_build_path_has_to_be_absolute(path: str) -> None:
    with pytest.raises(WrongConfiguration, match="expected an absolute path"):
        assemble(job_env(), process_env(BUILDKITE_BUILD_PATH=path))

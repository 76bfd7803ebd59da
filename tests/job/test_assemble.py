"""From two environments to claims, agent and job: who vouches for what."""

import pytest

from bootstrap.errors import Refused, WrongConfiguration
from bootstrap.job.assemble import (
    AGENT_NAMES,
    AGENTS_OWN,
    EVERY_VERSION,
    OVERRIDE_MODE,
    agent_of,
    assemble,
    claims_of,
)
from bootstrap.sandbox.environment import sandbox_environment
from tests.job.given import JOB_ID, TOKEN, job_env, process_env, without


def test_the_identity_of_a_job_is_from_its_file() -> None:
    job = assemble(job_env(), process_env())
    claims = job.claims
    assert (claims.job_id, claims.organization, claims.pipeline) == (JOB_ID, "acme", "storefront")
    assert (claims.build_number, claims.agent_name) == ("42", "agent-1")
    assert str(job.build_path) == "/var/lib/buildkite-agent/builds"
    assert str(job.timeout_marker) == f"/tmp/job-timeout-{JOB_ID}"
    assert job.agent.token.reveal() == TOKEN


def test_the_token_is_in_neither_environment() -> None:
    job = assemble(job_env(BUILDKITE_AGENT_ACCESS_TOKEN="forged"), process_env())
    assert "BUILDKITE_AGENT_ACCESS_TOKEN" not in {**job.claims.env, **job.agent.values}
    assert job.agent.token.reveal() == TOKEN


@pytest.mark.parametrize("name", sorted(AGENT_NAMES - {"BUILDKITE_AGENT_ACCESS_TOKEN"}))
def test_only_the_agent_vouches_for_its_own_names(name: str) -> None:
    """A job's value has no effect, whether or not the agent has set one."""
    agent = without(process_env(), name)
    if name != "BUILDKITE_BUILD_PATH":
        job = assemble(job_env(**{name: "from-the-job"}), agent)
        assert name not in job.claims.env
        assert name not in job.agent.values


def test_other_variables_of_the_process_are_not_the_jobs() -> None:
    job = assemble(job_env(), process_env(LD_PRELOAD="/evil.so", AWS_PROFILE="x", HOME="/root"))
    assert not {"LD_PRELOAD", "AWS_PROFILE", "HOME"} & {*job.claims.env, *job.agent.values}


@pytest.mark.parametrize(
    "name", ["BUILDKITE_JOB_ID", "BUILDKITE_REPO", "BUILDKITE_PIPELINE_SLUG", "BUILDKITE_COMMIT"]
)
@pytest.mark.parametrize("value", [None, ""])
def test_a_job_without_a_required_variable_is_refused(name: str, value: str | None) -> None:
    env = without(job_env(), name) if value is None else job_env(**{name: value})
    with pytest.raises(Refused, match=f"the job lacks {name}"):
        assemble(env, process_env())


@pytest.mark.parametrize("value", ["..", ".", "a/b", "/etc", "a\nb", "x" * 256, "a\u202eb"])
@pytest.mark.parametrize("name", ["BUILDKITE_PIPELINE_SLUG", "BUILDKITE_ORGANIZATION_SLUG"])
def test_names_that_are_no_directory_names_are_refused(name: str, value: str) -> None:
    with pytest.raises(Refused, match=f"{name} is .* which cannot name a directory"):
        assemble(job_env(**{name: value}), process_env())


def test_a_job_with_the_id_of_another_is_refused() -> None:
    other = "0193a1b2-ffff-7e5f-8a9b-0c1d2e3f4a5b"
    with pytest.raises(Refused, match="the agent's file for this job"):
        assemble(job_env(BUILDKITE_JOB_ID=other), process_env())


def test_an_agent_without_a_token_is_wrong_configuration() -> None:
    with pytest.raises(WrongConfiguration, match="the agent passed no"):
        assemble(job_env(), without(process_env(), "BUILDKITE_AGENT_ACCESS_TOKEN"))


@pytest.mark.parametrize("path", ["", "builds", "/var/../etc"])
def test_the_build_path_has_to_be_absolute(path: str) -> None:
    with pytest.raises(WrongConfiguration, match="expected an absolute path"):
        assemble(job_env(), process_env(BUILDKITE_BUILD_PATH=path))


# How long the agent waits depends on its generation: a job that repeats it shortens its own end.
_DEADLINES = {
    "BUILDKITE_CANCEL_CLEANUP_TIMEOUT", "BUILDKITE_CANCEL_GRACE_PERIOD",
    "BUILDKITE_CANCEL_SIGNAL_TIMEOUT", "BUILDKITE_SIGNAL_GRACE_PERIOD_SECONDS",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(AGENT_NAMES - EVERY_VERSION - _DEADLINES - set(AGENTS_OWN)))
def test_a_job_that_repeats_the_agents_value_changes_nothing(name: str) -> None:
    """Whichever set it, the bootstrap inside gets what the agent's own would have got."""
    marker = {"BUILDKITE_AGENT_JOB_TIMEOUT_FILE": f"/tmp/job-timeout-{JOB_ID}"}
    agent = process_env(**{name: marker.get(name, "strict")})
    repeated = job_env(**{name: agent[name]})
    sandboxes = [
        sandbox_environment(job, job_env=job.claims.env, granted={}, home="/home/a").variables
        for job in (assemble(job_env(), agent), assemble(repeated, agent))
    ]
    assert sandboxes[0] == sandboxes[1]


@pytest.mark.parametrize("name", sorted(AGENTS_OWN))
def test_a_job_that_repeats_what_only_the_agent_decides_is_refused(name: str) -> None:
    with pytest.raises(Refused, match=f"the job sets {name}"):
        assemble(job_env(**{name: "/a"}), process_env(**{name: "/a"}))


@pytest.mark.parametrize("mode", ["none", "strict", "from-job"])
def test_a_job_that_sets_the_override_mode_is_refused(mode: str) -> None:
    with pytest.raises(Refused, match=f"the job sets {OVERRIDE_MODE}"):
        assemble(job_env(**{OVERRIDE_MODE: mode}), process_env(**{OVERRIDE_MODE: mode}))


def test_flags_that_the_agent_leaves_to_the_job_are_the_jobs() -> None:
    flags = {"BUILDKITE_GIT_FETCH_FLAGS": "--upload-pack=x"}
    left = assemble(job_env(**flags), process_env(**flags, **{OVERRIDE_MODE: "none"}))
    assert flags.items() <= left.claims.env.items()
    assert not flags.keys() & left.agent.values.keys()
    own = assemble(job_env(**flags), process_env(**flags))
    assert not flags.keys() & own.claims.env.keys()
    assert flags.items() <= own.agent.values.items()


def test_claims_need_no_agent() -> None:
    claims = claims_of(job_env(), process_env={})
    assert claims == assemble(job_env(), process_env()).claims


@pytest.mark.parametrize(
    ("env", "problem"),
    [
        ({"BUILDKITE_COMMIT": ""}, "the job lacks BUILDKITE_COMMIT"),
        ({"BUILDKITE_PIPELINE_SLUG": ".."}, "cannot name a directory"),
        ({"BUILDKITE_AGENT_META_DATA_queue": "deploy"}, "beside the agent's own tag"),
    ],
)
def test_claims_without_an_agent_are_checked_all_the_same(
    env: dict[str, str], problem: str
) -> None:
    with pytest.raises(Refused, match=problem):
        claims_of(job_env(**env), process_env={})


def test_claims_and_agent_need_no_build_path() -> None:
    """The agent does not pass the build path to its pre-bootstrap hook."""
    agent = without(process_env(), "BUILDKITE_BUILD_PATH")
    job = assemble(job_env(), process_env())
    assert claims_of(job_env(), agent) == job.claims
    assert agent_of(job_env(), agent).own_token

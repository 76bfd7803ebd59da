"""What is known about a job, and who vouches for it."""

import pytest

from bootstrap.job.facts import facts, forged_tags
from bootstrap.job.model import Absent, Known, KnownSet, Unvouched
from tests.job.given import job_env, without


def test_an_absent_value_is_an_absent_fact_with_a_reason() -> None:
    found = facts(without(job_env(), "BUILDKITE_BRANCH"))
    assert found["branch"] == Absent(why="BUILDKITE_BRANCH is empty or not set")
    assert isinstance(found["tag"], Absent)


@pytest.mark.parametrize("source", ["webhook", "schedule", "trigger_job", "", "UI"])
def test_the_creator_of_an_unauthenticated_source_is_unvouched(source: str) -> None:
    found = facts(job_env(BUILDKITE_SOURCE=source))
    assert isinstance(found["creator"], Unvouched)
    assert isinstance(found["creator-email"], Unvouched)
    assert isinstance(found["creator-team"], Unvouched)


@pytest.mark.parametrize(("source", "kind"), [
    ("webhook", KnownSet), ("ui", KnownSet), ("api", KnownSet),
    ("schedule", Unvouched), ("trigger_job", Unvouched), ("", Unvouched),
])  # fmt: skip
def test_author_teams_count_only_where_buildkite_names_an_author(source: str, kind: type) -> None:
    assert isinstance(facts(job_env(BUILDKITE_SOURCE=source))["author-team"], kind)


def test_the_team_of_an_unblocker_is_unvouched() -> None:
    found = facts(job_env(BUILDKITE_UNBLOCKER_TEAMS="platform"))["unblocker-team"]
    assert isinstance(found, Unvouched)
    assert isinstance(facts(job_env())["unblocker-team"], Absent)


@pytest.mark.parametrize("source", ["ui", "api"])
def test_the_teams_of_an_authenticated_creator_are_vouched_for(source: str) -> None:
    found = facts(job_env(BUILDKITE_SOURCE=source))["creator-team"]
    assert isinstance(found, KnownSet)
    assert found.values == {"platform", "everyone"}


@pytest.mark.parametrize(
    ("number", "repository", "expected"),
    [
        ("false", "", "no"),
        ("7", "https://github.com/acme/storefront.git", "same-repository"),
        ("7", "git@github.com:ACME/storefront", "same-repository"),
        ("7", "https://github.com/mallory/storefront.git", "fork"),
        ("7", "", "fork"),
        ("true", "https://github.com/acme/storefront.git", "fork"),
        ("7x", "https://github.com/acme/storefront.git", "fork"),
        ("\u0667", "https://github.com/acme/storefront.git", "fork"),
        ("False", "", "fork"),
    ],
)
def test_a_pull_request_is_a_fork_unless_its_origin_is_the_repository(
    number: str, repository: str, expected: str
) -> None:
    found = facts(job_env(BUILDKITE_PULL_REQUEST=number, BUILDKITE_PULL_REQUEST_REPO=repository))[
        "pull-request"
    ]
    assert isinstance(found, Known)
    assert found.value == expected


def test_without_a_pull_request_variable_the_fact_is_absent() -> None:
    assert isinstance(facts(without(job_env(), "BUILDKITE_PULL_REQUEST"))["pull-request"], Absent)


def test_agent_tags_are_facts() -> None:
    found = facts(job_env(BUILDKITE_AGENT_META_DATA_INSTANCE_TYPE="m7i.large"))
    tag = found["agent-tag:instance-type"]
    assert isinstance(tag, Known)
    assert tag.value == "m7i.large"


@pytest.mark.parametrize("name", ["instance_type", "Instance_Type", "INSTANCE_TYPe", "x"])
def test_a_tag_in_another_case_is_no_tag_of_the_agent(name: str) -> None:
    found = facts(job_env(**{f"BUILDKITE_AGENT_META_DATA_{name}": "forged"}))
    assert "agent-tag:instance-type" not in found
    assert "agent-tag:x" not in found


def test_a_spelling_beside_the_agents_own_is_forged() -> None:
    env = job_env(BUILDKITE_AGENT_META_DATA_queue="x", BUILDKITE_AGENT_META_DATA_other="y")
    assert forged_tags(env) == ("BUILDKITE_AGENT_META_DATA_queue",)

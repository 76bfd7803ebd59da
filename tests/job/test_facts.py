"""What is known about a job, and how well."""

import pytest

from bootstrap.job.facts import facts
from bootstrap.job.model import Absent, Known, KnownSet, Unvouched
from tests.job.given import job_env, without


def test_every_absent_value_is_a_fact_that_says_so() -> None:
    found = facts(without(job_env(), "BUILDKITE_BRANCH"))
    assert found["branch"] == Absent(why="BUILDKITE_BRANCH is empty or not set")
    assert isinstance(found["tag"], Absent)


@pytest.mark.parametrize("source", ["webhook", "schedule", "trigger_job", "", "UI"])
def test_nobody_vouches_for_the_creator_of(source: str) -> None:
    found = facts(job_env(BUILDKITE_SOURCE=source))
    assert isinstance(found["creator"], Unvouched)
    assert isinstance(found["creator-email"], Unvouched)
    assert isinstance(found["creator-team"], Unvouched)
    assert isinstance(found["author-team"], KnownSet)


@pytest.mark.parametrize("source", ["ui", "api"])
def test_buildkite_vouches_for_who_was_logged_in(source: str) -> None:
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
def test_where_a_pull_request_comes_from(number: str, repository: str, expected: str) -> None:
    found = facts(job_env(BUILDKITE_PULL_REQUEST=number, BUILDKITE_PULL_REQUEST_REPO=repository))[
        "pull-request"
    ]
    assert isinstance(found, Known)
    assert found.value == expected


def test_without_a_pull_request_variable_nothing_is_known() -> None:
    assert isinstance(facts(without(job_env(), "BUILDKITE_PULL_REQUEST"))["pull-request"], Absent)


def test_agent_tags_are_facts() -> None:
    found = facts(job_env(BUILDKITE_AGENT_META_DATA_INSTANCE_TYPE="m7i.large"))
    tag = found["agent-tag:instance-type"]
    assert isinstance(tag, Known)
    assert tag.value == "m7i.large"

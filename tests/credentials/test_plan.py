"""Requests keep STS's limits whatever the job's claims are; what the policy states is checked."""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootstrap.aws.model import SessionRequest
from bootstrap.aws.tags import tag_value
from bootstrap.credentials.plan import plans, session_name
from bootstrap.errors import WrongConfiguration
from bootstrap.grants.kind import DEFAULT
from bootstrap.grants.profiles import Profiles
from bootstrap.grants.role import Role
from bootstrap.policy.model import Grant
from tests.credentials.given import JOB_ID, ROLE, claims
from tests.fakes.sts_limits import Asked, validate

# Lone surrogates too: a job's environment may hold any bytes.
ANYTHING = st.text(st.characters(exclude_categories=()), max_size=400)


def planned(
    *,
    tags: Mapping[str, str] | None = None,
    duration: timedelta = timedelta(hours=1),
    rule: str = "deploy",
    **of_job: str,
) -> SessionRequest:
    grant = Grant(kinds=(Role(granted=ROLE),), tags=tags or {}, duration=duration)
    return plans(claims(**of_job), grant, rule=rule)[DEFAULT]


def as_asked(request: SessionRequest) -> Asked:
    return Asked(
        role=request.role,
        session_name=request.session_name,
        source_identity=request.source_identity,
        duration=int(request.duration.total_seconds()),
        tags=dict(request.tags),
    )


def test_a_grant_without_a_role_plans_nothing() -> None:
    assert plans(claims(), Grant(), rule="tests") == {}


def test_every_profile_has_a_session_of_its_own_role() -> None:
    grant = Grant(kinds=(Role(granted=ROLE), Profiles(granted={"audit": f"{ROLE}-2"})))
    planned = plans(claims(), grant, rule="tests")
    assert {name: request.role for name, request in planned.items()} == {
        DEFAULT: ROLE, "audit": f"{ROLE}-2",
    }  # fmt: skip
    assert list(planned) == [DEFAULT, "audit"]


@pytest.mark.parametrize(("tag", "kept"), [("", 1), ("v1", 2)])
def test_airlocks_own_tags_can_be_kept_by_roles_that_a_job_assumes_itself(
    tag: str, kept: int
) -> None:
    """A job that may tag sessions could otherwise send another pipeline's tag to such a role.

    STS refuses a transitive key that is not among the tags: only builds of tags have that one.
    """
    own = ("buildkite:pipeline", "buildkite:tag")
    grant = Grant(kinds=(Role(granted=ROLE),), transitive_tags=own)
    job = replace(claims(), env={"BUILDKITE_BRANCH": "main", "BUILDKITE_TAG": tag})
    wanted = plans(job, grant, rule="a")[DEFAULT]
    assert wanted.transitive_tags == own[:kept]
    sent = frozenset(wanted.transitive_tags)
    validate(replace(as_asked(wanted), transitive=sent), chained=False)


def test_a_first_hop_has_nothing_transitive_and_the_shortest_duration() -> None:
    grant = Grant(
        kinds=(Role(granted=ROLE),), via=f"{ROLE}-hub", tags={"team": "a"},
        transitive_tags=("team",), external_id="partner",
        session_policy='{"Statement": []}', policy_arns=("arn:x",),
    )  # fmt: skip
    request = plans(claims(), grant, rule="deploy")[DEFAULT]
    hop = request.via
    assert hop is not None
    assert (hop.role, hop.via, hop.duration) == (f"{ROLE}-hub", None, timedelta(minutes=15))
    assert (hop.transitive_tags, hop.external_id, hop.policy, hop.policy_arns) == (
        (),
        None,
        None,
        (),
    )
    assert hop.session_name == request.session_name
    assert hop.source_identity == request.source_identity == JOB_ID
    assert hop.tags == request.tags


def test_web_identity_request_has_neither_tags_nor_source_identity() -> None:
    def asked(via: str | None) -> SessionRequest:
        grant = Grant(kinds=(Role(granted=ROLE),), via=via, web_identity=True)
        return plans(claims(), grant, rule="deploy")[DEFAULT]

    alone = asked(None)
    assert alone.subject == "organization:acme:pipeline:storefront:*"
    assert (alone.tags, alone.source_identity) == ({}, None)
    second = asked(f"{ROLE}-hub")
    assert (second.subject, second.source_identity) == (None, JOB_ID)
    assert second.via is not None
    assert (second.via.subject, second.via.tags) == (alone.subject, {})


def test_session_name_and_tags_name_pipeline_build_job_and_rule() -> None:
    request = planned(tags={"team": "storefront"})
    assert request.session_name == "storefront-42-0c1d2e3f4a5b"
    assert request.source_identity == JOB_ID
    assert request.tags == {
        "buildkite:organization": "acme",
        "buildkite:pipeline": "storefront",
        "buildkite:branch": "main",
        "buildkite:build": "42",
        "buildkite:job": JOB_ID,
        "buildkite:rule": "deploy",
        "team": "storefront",
    }


def test_a_build_of_a_tag_has_the_tag_as_a_session_tag_and_no_other_build_has_one() -> None:
    grant = Grant(kinds=(Role(granted=ROLE),))
    of_tag = replace(claims(branch="v1"), env={"BUILDKITE_BRANCH": "v1", "BUILDKITE_TAG": "v1"})
    tags = plans(of_tag, grant, rule="deploy")[DEFAULT].tags
    assert (tags["buildkite:branch"], tags["buildkite:tag"]) == ("v1", "v1")
    untagged = replace(claims(), env={"BUILDKITE_BRANCH": "v1", "BUILDKITE_TAG": ""})
    assert "buildkite:tag" not in plans(untagged, grant, rule="deploy")[DEFAULT].tags


@settings(max_examples=300, deadline=None)
@given(
    job_id=ANYTHING,
    pipeline=ANYTHING,
    organization=ANYTHING,
    number=ANYTHING,
    branch=ANYTHING,
    rule=ANYTHING,
)
def test_request_for_random_claims_keeps_the_limits_of_sts(rule: str, **of_job: Any) -> None:
    validate(as_asked(planned(rule=rule, **of_job)), chained=True)


@settings(max_examples=300, deadline=None)
@given(tags=st.dictionaries(ANYTHING, ANYTHING, max_size=50), minutes=st.integers(0, 1000))
def test_random_session_settings_are_refused_or_keep_the_limits(
    tags: dict[str, str], minutes: int
) -> None:
    try:
        request = planned(tags=tags, duration=timedelta(minutes=minutes))
    except WrongConfiguration as refused:
        assert "allow.session" in refused.hint
    else:
        validate(as_asked(request), chained=False)


@settings(deadline=None)
@given(one=ANYTHING, other=ANYTHING)
def test_different_branches_have_different_tag_values(one: str, other: str) -> None:
    assert (tag_value(one) == tag_value(other)) == (one == other)


def test_an_altered_tag_value_differs_from_the_branch_it_resembles() -> None:
    assert tag_value("release~1") != tag_value("release-1") == "release-1"
    assert tag_value("x" * 300) != tag_value("x" * 301)


def test_jobs_of_one_minute_have_different_session_names() -> None:
    """The first eight digits of a UUIDv7 change every 65 seconds."""
    ids = [f"0193a1b2-c3d4-7e5f-8a9b-{number:012x}" for number in range(20)]
    assert len({session_name(claims(job_id=each)) for each in ids}) == 20
    long = {session_name(claims(job_id=each, pipeline="p" * 100)) for each in ids}
    assert len(long) == 20
    assert all(re.fullmatch(r"p{53}-[0-9a-f]{10}", name) for name in long)


@pytest.mark.parametrize(
    ("tags", "duration", "problem"),
    [
        ({"Buildkite:Branch": "main"}, timedelta(hours=1), "repeat each other or Airlock's own"),
        ({"buildkite:tag": "v1"}, timedelta(hours=1), "repeat each other or Airlock's own"),
        ({"bu\u0131ldkite:pipeline": "x"}, timedelta(hours=1), "or Airlock's own"),
        ({"BU\u0130LDKITE:PIPELINE": "x"}, timedelta(hours=1), "or Airlock's own"),
        ({"team": "a", "TEAM": "b"}, timedelta(hours=1), "repeat each other"),
        ({"aws:team": "a"}, timedelta(hours=1), "the session tag key 'aws:team'"),
        ({"": "a"}, timedelta(hours=1), "the session tag key ''"),
        ({"k" * 129: "a"}, timedelta(hours=1), "the session tag key"),
        ({"team": "a\nb"}, timedelta(hours=1), "the value of the session tag 'team'"),
        ({"team": "v" * 257}, timedelta(hours=1), "the value of the session tag 'team'"),
        (
            {str(n): "" for n in range(45)},
            timedelta(hours=1),
            "45 session tags; expected at most 43,",
        ),
        ({}, timedelta(seconds=899), "0:14:59; expected 15 minutes to 12 hours"),
        ({}, timedelta(seconds=43201), "12:00:01; expected 15 minutes to 12 hours"),
    ],
)
def test_session_settings_that_sts_would_refuse_are_wrong_configuration(
    tags: dict[str, str], duration: timedelta, problem: str
) -> None:
    with pytest.raises(WrongConfiguration) as refused:
        planned(tags=tags, duration=duration)
    assert problem in refused.value.problem
    assert "allow.session of rule 'deploy'" in refused.value.hint

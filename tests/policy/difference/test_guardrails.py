"""diff: what scopes, requirements and the default for forks change for pipelines."""

import pytest

from bootstrap.policy.difference import Kind, difference
from bootstrap.policy.difference.model import EVERY
from tests.policy.difference.test_difference import catalogue
from tests.policy.given import policy
from tests.policy.samples import MAIN, OTHER, ROLE, rule

REQUIRES = f"requires: {{name: prod, roles: '{ROLE}', branch: main, vouched: 'yes'}}\n"


def test_parts_of_guardrails_are_shown_as_what_they_mean() -> None:
    """An empty list admits nothing; one that is left out limits nothing."""
    rails = "scopes: [{name: s, pipelines: a, roles: [], secrets: 'ssm:/x'}]\n" + REQUIRES
    found = difference(catalogue(rails="session: 4h"), catalogue(rails=f"session: 4h\n{rails}"))
    assert [change.ways[0].after for change in found] == [
        "roles: nothing, secrets: ssm:/x, name: s, pipelines: a",
        f"name: prod, roles: {ROLE}, when: branch main and no tag and no pull request, "
        "grade: vouched",
    ]


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("", "forks: nothing", {("changes", "guardrails")}),
        ("", "forks: anything", {("gains", "guardrails"), ("gains", "guardrail forks")}),
        ("", "forks: refuse", {("loses", "guardrails"), ("loses", "guardrail forks")}),
        (
            "scopes: [{name: s, pipelines: '*', session: 1h}]",
            "scopes: [{name: s, pipelines: '*', session: 2h}]",
            {("gains", "guardrail scopes.s.session")},
        ),
        (
            "scopes: [{name: s, pipelines: '*', roles: ['a', 'b'], limits: {pids: 128}}]",
            "scopes: [{name: s, pipelines: '*', roles: 'a', limits: {pids: 64}}]",
            {("loses", "guardrail scopes.s.roles"), ("loses", "guardrail scopes.s.limits.pids")},
        ),
        (
            "scopes: [{name: s, pipelines: 'a'}]",
            "scopes: [{name: s, pipelines: ['a', 'b']}]",
            {("changes", "guardrail scopes.s.pipelines")},
        ),
        (
            "scopes: [{name: s, pipelines: 'a'}]",
            "scopes: [{name: s, pipelines: 'a', forks: anything}]",
            {("changes", "guardrail scopes.s.forks")},
        ),
        (
            "requires: {name: prod, roles: 'a', branch: main}",
            "requires: {name: prod, roles: 'a', branch: dev}",
            {("changes", "guardrail requires.prod.when")},
        ),
    ],
)
def test_a_change_of_guardrails_has_a_direction_only_where_it_is_certain(
    old: str, new: str, changed: set[tuple[str, str]]
) -> None:
    found = difference(catalogue(rails=old), catalogue(rails=new))
    assert {(change.kind.value, change.what) for change in found} == changed
    assert {change.pipeline for change in found} == {EVERY}


def test_without_guardrails_a_fork_does_not_get_what_a_rule_grants() -> None:
    of_forks = policy(rule("a", "pull-request: any"))
    found = difference(catalogue(of_forks), catalogue(of_forks, rails="forks: anything"))
    gained = {(c.kind, c.what, c.ways[0].jobs) for c in found if c.pipeline != EVERY}
    assert gained == {
        (Kind.GAINS, "a sandbox", "no tag, a fork's pull request"),
        (Kind.GAINS, "role", "no tag, a fork's pull request"),
    }


def test_a_condition_by_which_no_job_meets_a_requirement_is_a_loss() -> None:
    old = policy(rule("a", "branch: main"))
    new = policy(rule("a", "branch: main, env: {X: '*'}"))
    found = difference(catalogue(old, rails=REQUIRES), catalogue(new, rails=REQUIRES))
    assert {(c.kind, c.what) for c in found} == {(Kind.LOSES, "a sandbox"), (Kind.LOSES, "role")}
    afterwards = {way.after for change in found for way in change.ways}
    assert "refused: rule 'a' exceeds the guardrail requires.prod" in afterwards


def test_a_condition_that_only_signed_identity_vouches_for_is_a_change() -> None:
    old = policy(rule("a", "step: '*'"))
    new = policy(rule("a", "branch: main") + rule("b", "branch: main", OTHER))
    without = difference(catalogue(old, rails=REQUIRES), catalogue(new, rails=REQUIRES))
    (change,) = [c for c in without if c.what == "requirement prod"]
    (way,) = change.ways
    assert way.jobs.startswith("branch main")
    assert way.before.endswith("signed identity for the condition on step")
    assert way.after == "branch main and no tag and no pull request, all of it vouched"


def test_what_is_required_of_jobs_is_reported_where_a_grant_gets_it() -> None:
    """Of the jobs that got the other role before, some are refused now."""
    old, new = policy(rule("a", "branch: '*'", OTHER)), policy(rule("a", "branch: '*'"))
    found = difference(catalogue(old, rails=REQUIRES), catalogue(new, rails=REQUIRES))
    (change,) = [c for c in found if c.what == "requirement prod"]
    assert (change.kind, change.ways[0].before) == (Kind.CHANGES, "nothing")
    assert "branch main" in change.ways[0].after


def test_requirements_for_other_roles_change_nothing() -> None:
    rails = REQUIRES.replace(ROLE, OTHER)
    found = difference(
        catalogue(MAIN, rails="session: 4h\n"), catalogue(MAIN, rails=f"session: 4h\n{rails}")
    )
    assert [change.what for change in found] == ["guardrail requires.prod"]

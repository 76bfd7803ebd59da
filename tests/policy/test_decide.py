"""Deny by default: what admits a job, what does not, and what the refusal says."""

from dataclasses import replace

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from bootstrap.job.model import Known, Provenance
from bootstrap.policy.decide import decide, with_commit
from bootstrap.policy.model import Admitted, Denied
from bootstrap.text import printable
from tests.job.given import plugins
from tests.policy.given import claims, decided, policy

TWO = """  - name: deploy
    when: {branch: main, creator-team: platform, queue: deploy}
    allow: {role: "arn:aws:iam::111122223333:role/deploy"}
  - name: test
    when: {branch: "feature/*"}
    allow: {}
"""


def test_the_first_rule_whose_conditions_all_hold_admits() -> None:
    decision = decide(claims(), policy(TWO))
    assert isinstance(decision, Admitted)
    assert decision.rule == "deploy"
    assert all(reason.holds for reason in decision.reasons)


def test_a_pipeline_without_a_policy_is_refused() -> None:
    decision = decide(claims(), None)
    assert isinstance(decision, Denied)
    assert "no policy exists for pipeline 'storefront'" in decision.problem
    assert "storefront.yaml" in decision.hint


def test_a_policy_without_rules_refuses_every_job() -> None:
    decision = decide(claims(), replace(policy(TWO), rules=()))
    assert isinstance(decision, Denied)
    assert decision.problem == "storefront.yaml has no rules"


def test_another_pipelines_policy_refuses_the_job() -> None:
    decision = decide(claims(), replace(policy(TWO), pipeline="warehouse"))
    assert isinstance(decision, Denied)
    assert "the policy of pipeline 'warehouse'" in decision.problem


def test_another_repository_refuses_whatever_the_rules_say() -> None:
    decision = decide(
        claims(BUILDKITE_REPO="git@github.com:mallory/storefront.git"),
        policy("  - {name: all, when: {pull-request: any}, allow: {}}\n"),
    )
    assert isinstance(decision, Denied)
    assert "expected git@github.com:acme/storefront.git" in decision.problem


def test_a_refusal_names_the_nearest_rule_and_what_failed() -> None:
    decision = decide(claims(BUILDKITE_AGENT_META_DATA_QUEUE="default"), policy(TWO))
    assert isinstance(decision, Denied)
    assert decision.nearest == "deploy"
    assert "expected queue deploy, got default" in decision.problem
    assert {reason.rule for reason in decision.reasons} == {"deploy", "test"}


@pytest.mark.parametrize(
    ("when", "env"),
    [
        ("{branch: main}", {"BUILDKITE_BRANCH": "main2"}),
        ("{branch: main}", {"BUILDKITE_BRANCH": "MAIN"}),
        ("{branch: main}", {"BUILDKITE_BRANCH": "*"}),
        ("{branch: main}", {"BUILDKITE_BRANCH": "refs/heads/main"}),
        ("{branch: 'release/*'}", {"BUILDKITE_BRANCH": "Release/1"}),
        ("{branch: ['*', '!main']}", {}),
        ("{tag: 'v*'}", {}),
        ("{tag: 'v*'}", {"BUILDKITE_BRANCH": "v1"}),
        ("{tag: '!v*'}", {}),
        ("{creator-team: platform}", {"BUILDKITE_SOURCE": "webhook"}),
        ("{creator-team: platform}", {"BUILDKITE_SOURCE": "schedule"}),
        ("{creator-team: '!mallory'}", {"BUILDKITE_SOURCE": "webhook"}),
        ("{creator-team: platform}", {"BUILDKITE_BUILD_CREATOR_TEAMS": ""}),
        ("{creator-team: platform}", {"BUILDKITE_BUILD_CREATOR_TEAMS": "platforms"}),
        ("{creator: Ada}", {"BUILDKITE_SOURCE": "webhook"}),
        ("{source: ui}", {"BUILDKITE_SOURCE": "webhook"}),
        ("{step: 'deploy-*'}", {"BUILDKITE_STEP_KEY": ""}),
        ("{unblocker-team: platform}", {}),
        ("{plugin: 'docker#v5.*'}", plugins("docker")),
        ("{plugin: 'docker#v5.*'}", plugins("docker#v6.0.0")),
        ("{plugin: 'docker#v5.*'}", plugins("docker#v5.1.0", "evil#v1")),
        ("{plugin: 'docker#v5.*'}", plugins("evil/docker#v5.1.0")),
        ("{plugin: '*#v*'}", plugins("docker#main")),
        ("{plugin: ['*#v*', '!acme/*']}", plugins("acme/x#v1")),
        ("{plugin: '*'}", {"BUILDKITE_PLUGINS": "not a list"}),
        ("{commit-on-branch: verified}", {}),
        ("{env: {MODE: live}}", {}),
        ("{env: {MODE: '!debug'}}", {}),
        ("{env: {MODE: absent}}", {"MODE": ""}),
        ("{agent-tag: {size: large}}", {}),
        ("{repository: 'git@github.com:other/*'}", {}),
        ("{}", {"BUILDKITE_PULL_REQUEST": "7"}),
        ("{}", {"BUILDKITE_PULL_REQUEST": ""}),
        ("{branch: main}", {"BUILDKITE_PULL_REQUEST": "7"}),
        (
            "{pull-request: same-repository}",
            {
                "BUILDKITE_PULL_REQUEST": "7",
                "BUILDKITE_PULL_REQUEST_REPO": "https://github.com/mallory/storefront.git",
            },
        ),
    ],
)
def test_a_rule_with_an_unfulfilled_condition_does_not_admit_the_job(
    when: str, env: dict[str, str]
) -> None:
    decision = decided(when, **env)
    assert isinstance(decision, Denied), decision
    assert decision.nearest == "only"


@pytest.mark.parametrize(
    ("when", "env"),
    [
        ("{branch: [dev, main]}", {}),
        ("{branch: ['*', '!dev']}", {}),
        ("{tag: 'v*'}", {"BUILDKITE_TAG": "v1"}),
        ("{creator-team: [security, platform]}", {}),
        ("{author-team: platform}", {"BUILDKITE_SOURCE": "webhook"}),
        ("{env: {MODE: absent}}", {}),
        ("{env: {MODE: [live, 'test-*']}}", {"MODE": "test-1"}),
        ("{agent-tag: {size: large}}", {"BUILDKITE_AGENT_META_DATA_SIZE": "large"}),
        ("{repository: 'https://github.com/acme/storefront'}", {}),
        ("{command: 'make *'}", {}),
        ("{plugin: 'docker#v5.*'}", {}),
        ("{plugin: 'docker#v5.*'}", {"BUILDKITE_PLUGINS": "[]"}),
        ("{plugin: 'docker#v5.*'}", plugins("docker#v5.1.0")),
        (
            "{plugin: ['docker#v5.*', 'acme/*#v*']}",
            plugins("docker#v5.1.0", "acme/secrets#v2"),
        ),
        ("{pull-request: any}", {"BUILDKITE_PULL_REQUEST": "7"}),
        (
            "{pull-request: same-repository}",
            {
                "BUILDKITE_PULL_REQUEST": "7",
                "BUILDKITE_PULL_REQUEST_REPO": "https://github.com/acme/storefront.git",
            },
        ),
    ],
)
def test_a_rule_with_fulfilled_conditions_admits_the_job(when: str, env: dict[str, str]) -> None:
    assert isinstance(decided(when, **env), Admitted)


@given(
    rules=st.lists(st.sampled_from(["branch: dev", "queue: x", "tag: 'v*'", "source: api"]),
                   min_size=1, max_size=5),
    branch=st.sampled_from(["main", "dev"]),
    source=st.sampled_from(["ui", "api", "webhook"]),
)  # fmt: skip
def test_every_refusal_names_a_nearest_rule(rules: list[str], branch: str, source: str) -> None:
    listed = "".join(
        f"  - {{name: r{n}, when: {{{w}}}, allow: {{}}}}\n" for n, w in enumerate(rules)
    )
    decision = decide(claims(BUILDKITE_BRANCH=branch, BUILDKITE_SOURCE=source), policy(listed))
    assume(isinstance(decision, Denied))
    assert isinstance(decision, Denied)
    failed = [reason.rule for reason in decision.reasons if not reason.holds]
    assert decision.nearest in failed
    assert all(failed.count(decision.nearest) <= failed.count(rule) for rule in failed)
    assert f"nearest is {decision.nearest!r}: expected " in decision.problem


def test_a_refusal_shows_no_value_of_a_variable() -> None:
    decision = decided("{env: {NPM_TOKEN: x}}", NPM_TOKEN="npm-secret")
    assert isinstance(decision, Denied)
    assert "npm-secret" not in str(decision)


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), max_size=30)


@given(
    branch=st.just("main") | TEXT.filter(bool),
    source=st.just("ui") | TEXT,
    teams=st.just("platform") | TEXT,
    pull_request=st.just("false") | TEXT,
)
def test_random_claims_are_admitted_only_where_they_match_the_rule(
    branch: str, source: str, teams: str, pull_request: str
) -> None:
    """Whatever a build claims, the rule admits exactly what it names."""
    decision = decided(
        "{branch: main, source: ui, creator-team: platform}",
        BUILDKITE_BRANCH=branch,
        BUILDKITE_SOURCE=source,
        BUILDKITE_BUILD_CREATOR_TEAMS=teams,
        BUILDKITE_PULL_REQUEST=pull_request,
    )
    meant = (branch, source, pull_request) == ("main", "ui", "false") and (
        "platform" in teams.split(":")
    )
    assert isinstance(decision, Admitted) == meant


@given(TEXT.filter(bool))
def test_reasons_of_random_branches_are_printable(branch: str) -> None:
    decision = decided("{branch: never}", BUILDKITE_BRANCH=branch)
    assert isinstance(decision, Denied)
    assert all(printable(reason.got) == reason.got for reason in decision.reasons)
    assert "\x1b" not in decision.problem


@pytest.mark.parametrize(
    ("when", "env", "provenance"),
    [
        ("{branch: main}", {}, Provenance.JOB),
        ("{branch: x}", {}, Provenance.JOB),
        ("{env: {DEPLOY: x}}", {"DEPLOY": "x"}, Provenance.JOB),
        ("{env: {DEPLOY: absent}}", {}, None),
        ("{tag: none}", {}, None),
        ("{step: x}", {"BUILDKITE_STEP_KEY": ""}, None),
        ("{unblocker-team: x}", {"BUILDKITE_UNBLOCKER_TEAMS": "x"}, None),
        ("{creator-team: platform}", {}, Provenance.JOB),
    ],
)
def test_a_reason_has_the_provenance_of_its_claim(
    when: str, env: dict[str, str], provenance: Provenance | None
) -> None:
    (subject,) = yaml.safe_load(when)
    found = [r for r in decided(when, **env).reasons if r.subject.split()[0] == subject]
    assert [reason.provenance for reason in found] == [provenance]


def test_checked_and_signed_claims_have_their_provenance_in_the_reasons() -> None:
    rules = "  - {name: r, when: {branch: main, commit-on-branch: verified}, allow: {}}\n"
    signed = Known(value="main", provenance=Provenance.SIGNED)
    asked = replace(claims(), facts={**claims().facts, "branch": signed})
    made = with_commit(asked, Known(value="verified", provenance=Provenance.HOST))
    found = {r.subject: r.provenance for r in decide(made, policy(rules)).reasons}
    assert found["branch"] is Provenance.SIGNED
    assert found["commit-on-branch"] is Provenance.HOST

"""Decisions that depend on a commit: when it is looked up, and what the job then gets."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bootstrap.job.model import Known, Provenance
from bootstrap.policy.decide import asks_for_commit, decide, grant_if_verified, with_commit
from bootstrap.policy.model import ForkAccess, Guardrails
from tests.policy.given import claims, policy

VERIFIED = """  - name: deploy
    when: {branch: main, commit-on-branch: verified, pull-request: any}
    allow: {role: "arn:aws:iam::111122223333:role/deploy"}
"""
REST = "  - {name: rest, when: {branch: '*', pull-request: any}, allow: {}}\n"
BEFORE = "  - {name: before, when: {branch: main}, allow: {}}\n"
ACME = Guardrails(organization="acme", origin="guardrails.yaml", digest="")
FORK = {"BUILDKITE_PULL_REQUEST": "7", "BUILDKITE_PULL_REQUEST_REPO": "https://github.com/m/s.git"}


@pytest.mark.parametrize(
    ("rules", "env", "guardrails", "asked"),
    [
        (VERIFIED, {}, None, True),
        (VERIFIED + REST, {}, None, True),
        (VERIFIED, {}, ACME, True),
        (REST, {}, None, False),
        (BEFORE + VERIFIED, {}, None, False),
        (VERIFIED, {"BUILDKITE_BRANCH": "feature"}, None, False),
        (VERIFIED, {"BUILDKITE_REPO": "git@github.com:mallory/storefront.git"}, None, False),
        (VERIFIED, {}, replace(ACME, roles=("arn:aws:iam::*:role/ci/*",)), False),
        (VERIFIED, FORK, ACME, False),
        (VERIFIED, FORK, replace(ACME, forks=ForkAccess.ANYTHING), True),
    ],
    ids=["needed", "or-another-rule", "within-guardrails", "no-condition", "earlier-rule",
         "another-branch", "another-repository", "role-beyond", "fork", "fork-that-may"],
)  # fmt: skip
def test_the_commit_is_checked_only_where_the_answer_changes_the_decision(
    rules: str,
    env: dict[str, str],
    guardrails: Guardrails | None,
    asked: bool,  # noqa: FBT001
) -> None:
    assert asks_for_commit(claims(**env), policy(rules), guardrails) is asked


@given(
    st.lists(st.sampled_from(["commit-on-branch: verified", "commit-on-branch: verified-or-unknown",
                              "branch: main", "branch: other", "source: ui"]),
             min_size=1, max_size=5),
    st.sampled_from(["verified", "elsewhere", "unknown"]),
)  # fmt: skip
def test_an_unchecked_commit_would_not_have_changed_the_decision(
    conditions: list[str], answer: str
) -> None:
    rules = "".join(
        f"  - {{name: r{number}, when: {{{condition}}}, allow: {{}}}}\n"
        for number, condition in enumerate(conditions)
    )
    made, of = policy(rules), claims()
    assume(not asks_for_commit(of, made, None))
    answered = decide(with_commit(of, Known(value=answer, provenance=Provenance.HOST)), made)
    unasked = decide(of, made)
    assert type(answered) is type(unasked)
    assert getattr(answered, "rule", None) == getattr(unasked, "rule", None)


@pytest.mark.parametrize(
    ("env", "granted"),
    [({}, "checked"), ({"BUILDKITE_BRANCH": "dev"}, "others"), ({"BUILDKITE_TAG": "v1"}, None)],
)
def test_grant_if_verified_is_that_of_the_rule_a_verified_commit_matches(
    env: dict[str, str], granted: str | None
) -> None:
    rules = policy(
        "  - name: checked\n    when: {branch: main, commit-on-branch: verified}\n"
        "    allow: {git-tokens: {'https://github.com/acme/': 'ssm:/a'}}\n"
        "  - {name: others, allow: {}}\n"
    )
    grants = {rule.name: rule.allow for rule in rules.rules}
    assert grant_if_verified(claims(**env), rules, None) == grants.get(granted or "")

"""Proposals from parameters, steps and trust policies: valid, not wider, and honest about gaps."""

import json
from typing import Any

import pytest

from bootstrap.errors import WrongConfiguration
from bootstrap.policy import import_leaves, import_steps, import_trust
from bootstrap.policy.layout import laid_out
from bootstrap.policy.model import Policy
from bootstrap.policy.parse import parse
from bootstrap.policy.proposals import Proposal, ProposedRule, document, merged

ROLE = "arn:aws:iam::111122223333:role/ci/deploy"
REPOSITORY = "git@github.com:acme/storefront.git"
PREFIX = "/buildkite/pipelines"
PROVIDER = "arn:aws:iam::111122223333:oidc-provider/agent.buildkite.com"


def texts(proposals: tuple[Proposal, ...], repository: str | None = REPOSITORY) -> dict[str, str]:
    return {one.pipeline: document(one, "a file") for one in merged(proposals, repository)}


def policies(proposals: tuple[Proposal, ...]) -> dict[str, Policy]:
    return {slug: parse(text, f"{slug}.yaml") for slug, text in texts(proposals).items()}


def conditions(policy: Policy, rule: int = 0) -> dict[str, tuple[str, ...]]:
    return {one.subject: one.patterns for one in policy.rules[rule].when}


def parameters(**values: str) -> str:
    listed = [
        {"Name": f"{PREFIX}/storefront/{name.replace('_', '-')}", "Type": "String", "Value": value}
        for name, value in values.items()
    ]
    return json.dumps({"Parameters": listed})


def test_parameters_become_the_policy_that_a_host_makes_of_them() -> None:
    text = parameters(
        repository=REPOSITORY, branches="main,release/*", teams="platform", role_arn=ROLE
    )
    found = import_leaves.found(text, PREFIX)
    policy = policies(found.proposals)["storefront"]
    assert policy.repositories == (REPOSITORY,)
    assert policy.rules[0].allow.role == ROLE
    assert conditions(policy)["branch"] == ("main", "release/*")
    assert conditions(policy)["creator-team"] == ("platform",)
    assert "# creator-team holds only" in texts(found.proposals)["storefront"]


def test_what_is_not_known_of_parameters_is_a_comment_and_no_value_is_printed() -> None:
    listed = [
        {"Name": f"{PREFIX}/a/branches", "Type": "SecureString", "Value": "AQICAHsecret"},
        {"Name": f"{PREFIX}/a/webhook-token", "Type": "String", "Value": "hunter2"},
        {"Name": f"{PREFIX}/b/policy", "Type": "String", "Value": "pipeline: b"},
        {"Name": f"{PREFIX}/c/other", "Type": "String", "Value": "x"},
        {"Name": "/elsewhere/d/branches", "Type": "String", "Value": "main"},
    ]
    found = import_leaves.found(json.dumps({"Parameters": listed}), PREFIX)
    text = texts(found.proposals)["a"]
    assert "# Not known: branches, which is encrypted" in text
    assert "- to-be-completed" in text
    assert "# Not part of a policy: the parameter webhook-token." in text
    assert "hunter2" not in text
    assert "AQICAH" not in text
    assert [reason.partition(":")[0] for reason in found.skipped] == ["b", "c"]


STEPS = f"""
env: {{AWS_ASSUME_ROLE_ARN: "{ROLE}-env"}}
common: &deploy
  branches: "main release/*"
  agents: {{queue: deploy}}
steps:
  - label: ":rocket: production"
    key: deploy
    <<: *deploy
    plugins:
      - cultureamp/aws-assume-role#v0.2.0: {{role: "{ROLE}", duration: 1800}}
  - group: others
    steps:
      - label: staging
        if: build.branch == "dev"
        agents: ["queue=small", "os=linux"]
        plugins:
          - aws-assume-role-with-web-identity#v1.4.0: {{role-arn: "{ROLE}-staging"}}
      - label: image
        if: build.pull_request.id != null
        plugins:
          ecr#v2.9.0: {{login: true, assume-role: {{role-arn: "{ROLE}-ecr"}}}}
      - label: from a variable
        plugins: [cultureamp/aws-assume-role]
  - wait
  - label: tests
    command: make test
"""


def test_each_step_that_assumes_a_role_becomes_a_rule() -> None:
    proposal = import_steps.found(STEPS, "storefront")
    policy = policies((proposal,))["storefront"]
    assert [(rule.name, rule.allow.role) for rule in policy.rules] == [
        (":rocket: production", ROLE), ("staging", f"{ROLE}-staging"), ("image", f"{ROLE}-ecr"),
        ("from a variable", f"{ROLE}-env"), ("other steps", None),
    ]  # fmt: skip
    first = conditions(policy)
    assert first["branch"] == ("main", "release/*")
    assert (first["step"], first["queue"]) == (("deploy",), ("deploy",))
    assert policy.rules[0].allow.duration.total_seconds() == 1800
    assert conditions(policy, 1)["branch"] == ("dev",)
    assert conditions(policy, 1)["queue"] == ("small",)
    assert conditions(policy, 1)["step"] == ("to-be-completed",)
    assert conditions(policy, 2)["branch"] == ("to-be-completed",)
    text = texts((proposal,))["storefront"]
    assert laid_out(text) == text
    assert "# Not known: what the step's `if` means for a policy: build.pull_request.id" in text
    assert "# Not known: the branches that may have this" in text
    assert all("pull-request" not in rule.when for rule in proposal.rules[:-1])


def test_a_role_that_the_pipeline_composes_is_left_to_a_person() -> None:
    steps = 'steps: [{plugins: [{"cultureamp/aws-assume-role#v1": {role: "$ROLE"}}]}]'
    text = texts((import_steps.found(steps, "storefront"),))["storefront"]
    assert "# Not known: the role" in text
    with pytest.raises(WrongConfiguration) as refused:
        parse(text, "x")
    assert "a role's ARN" in refused.value.details[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [", "not YAML"),
        ("steps: [{label: 2001-99-99}]", "it is not YAML: month"),
        ("steps: [{label: !!bool x}]", "does not have the form of its tag"),
        ("steps: [{label: !!timestamp x}]", "does not have the form of its tag"),
        ("steps: x", "no list of steps"),
        ("hello", "no list of steps"),
        ("[" * 5000, "nested too deeply|not YAML"),
        ("steps: [" + "a," * 6000 + "]", "more than 5000 steps"),
        ("steps: &a [{steps: *a}]", "more than 5000 steps"),
        ("#" * ((1 << 20) + 1), "expected at most"),
    ],
)
def test_what_is_no_pipeline_is_refused(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        import_steps.found(text, "storefront")


def trust(condition: object, **more: Any) -> dict[str, Any]:
    statement = {
        "Effect": "Allow",
        "Principal": {"Federated": PROVIDER},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": condition,
    }
    return {"Statement": [{**statement, **more}]}


def role(condition: object, **more: Any) -> str:
    listed = {"Arn": ROLE, "AssumeRolePolicyDocument": trust(condition, **more)}
    return json.dumps({"Role": listed})


def subject(text: str, operator: str = "StringLike") -> dict[str, Any]:
    return {operator: {"agent.buildkite.com:sub": text}}


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        ("ref:refs/heads/main:commit:*:step:*", {"branch": ("main",)}),
        ("ref:refs/heads/release/*:*", {"branch": ("release/*",)}),
        ("ref:refs/tags/v*:commit:*:step:deploy", {"tag": ("v*",), "step": ("deploy",)}),
        ("*", {}),
        ("ref:*", {}),
        ("ref:refs/pull/7/head:commit:*:step:*", {"branch": ("to-be-completed",)}),
    ],
)
def test_the_subject_of_a_token_becomes_conditions(
    ref: str, expected: dict[str, tuple[str, ...]]
) -> None:
    text = role(subject(f"organization:acme:pipeline:storefront:{ref}"))
    policy = policies(import_trust.found(text).proposals)["storefront"]
    got = conditions(policy)
    assert got.pop("organization") == ("acme",)
    assert got.pop("pull-request") == ("no",)
    assert {"tag": ("none",), **expected} == got
    assert policy.rules[0].allow.role == ROLE
    assert policy.rules[0].allow.web_identity


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({}, "does not limit"),
        (subject("organization:*:pipeline:x:*"), "no single pipeline"),
        (subject("organization:acme:*"), "no single pipeline"),
        (subject("organization:acme:pipeline:x:ref:refs/heads/v?:commit:a"), "wildcards"),
        (subject("organization:acme:pipeline:x:*", "StringEquals"), "wildcards"),
    ],
)
def test_a_trust_policy_that_names_no_pipeline_is_skipped_with_a_reason(
    condition: object, expected: str
) -> None:
    found = import_trust.found(role(condition))
    assert found.proposals == ()
    assert expected in found.skipped[0]


def test_other_conditions_are_comments_and_other_principals_are_not_ours() -> None:
    condition = {
        **subject("organization:acme:pipeline:storefront:ref:refs/heads/main:commit:*:step:*"),
        "StringEquals": {"agent.buildkite.com:aud": "sts.amazonaws.com", "aws:x": "y"},
    }
    text = texts(import_trust.found(role(condition)).proposals)["storefront"]
    assert '# Not known: what this condition means for a policy: {"StringEquals"' in text
    assert "agent.buildkite.com:aud" not in text
    for more in (
        {"Effect": "Deny"}, {"Principal": {"AWS": ROLE}}, {"Action": "sts:TagSession"},
    ):  # fmt: skip
        found = import_trust.found(role(condition, **more))
        assert (found.proposals, found.skipped) == ((), ())


def test_two_sources_of_one_pipeline_become_one_policy_with_distinct_names() -> None:
    rule = ProposedRule(name="a", when={}, allow={})
    other = ProposedRule(name="a", when={"branch": "main"}, allow={})
    both = (Proposal(pipeline="p", rules=(rule, other)), Proposal(pipeline="p", rules=(rule,)))
    (policy,) = policies(both).values()
    assert [one.name for one in policy.rules] == ["a", "a 2"]


def test_a_proposal_without_a_repository_is_refused_until_it_is_added() -> None:
    (text,) = texts((import_steps.found(STEPS, "storefront"),), repository=None).values()
    assert "# Not known: the pipeline's repository" in text
    with pytest.raises(WrongConfiguration) as refused:
        parse(text, "x")
    assert refused.value.details == ("x:3: repository is missing",)

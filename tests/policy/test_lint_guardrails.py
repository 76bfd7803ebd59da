"""Findings about guardrails: requirements that no job meets, and names that pipelines share."""

from dataclasses import replace

import pytest

from bootstrap.policy.catalogue import Catalogue
from bootstrap.policy.decide import decide
from bootstrap.policy.findings import Severity
from bootstrap.policy.lint import lint
from bootstrap.policy.model import Denied
from bootstrap.policy.parse import parse_guardrails
from tests.policy.given import claims, policy
from tests.policy.samples import MAIN, ROLE, rule
from tests.policy.test_lint import found


def required(text: str) -> str:
    return f"requires: {{name: prod, roles: '{ROLE}', {text}}}\n"


@pytest.mark.parametrize(
    ("when", "asked", "why"),
    [
        (
            "branch: main, env: {X: '*'}",
            "vouched: 'yes'",
            "got a condition on env X, which is only the job's word",
        ),
        (
            "author-team: x, source: ui",
            "signed: 'yes'",
            "got a condition on author-team, which is only the job's word",
        ),
        ("branch: dev", "branch: main", "it asks for branch main, and the rule for dev"),
        ("tag: 'v*'", "branch: '*'", "it asks for tag none, and the rule for v*"),
        ("queue: a", "queue: ['b', 'c*']", "it asks for queue b or c*"),
    ],
)
def test_a_requirement_that_no_job_of_the_rule_meets_is_an_error(
    when: str, asked: str, why: str
) -> None:
    finding = found(rule("a", when), required(asked))["requirement-never-met"]
    assert finding.severity is Severity.ERROR
    assert f"no job of rule 'a' meets the guardrail 'requires.prod': {why}" in finding.text


def test_a_requirement_that_variables_make_impossible_names_them() -> None:
    text = f"  - {{name: a, when: {{command: c}}, allow: {{role: '{ROLE}', env: LD_PRELOAD}}}}\n"
    finding = found(text, required("vouched: 'yes'"))["requirement-never-met"]
    assert finding.text.endswith(
        "a condition on command, which is only the job's word, as the rule lets LD_PRELOAD change "
        "what runs"
    )


@pytest.mark.parametrize(
    ("when", "asked"),
    [
        ("branch: main", "branch: main, vouched: 'yes'"),
        ("branch: '*'", "branch: main"),
        ("creator-team: web, source: ui", "creator-team: platform"),
        ("commit: ABCDEF", "commit: abcdef"),
        ("branch: main, tag: none", "signed: 'yes'"),
        ("branch: main, tag: [none, 'v*']", "branch: main"),
        ("commit-on-branch: verified-or-unknown", "vouched: 'yes'"),
        ("branch: main, step: x", "signed: 'yes'"),
        ("branch: main, step: x", "branch: main"),
    ],
)
def test_a_requirement_that_some_job_meets_is_none(when: str, asked: str) -> None:
    assert not {
        identifier
        for identifier in found(rule("a", when), required(asked))
        if identifier.startswith("requirement")
    }


def test_a_requirement_that_is_met_on_signed_hosts_only_is_a_warning() -> None:
    rules, rails = rule("a", "branch: main, step: x"), required("vouched: 'yes'")
    finding = found(rules, rails)["requirement-needs-signed"]
    assert finding.severity is Severity.WARNING
    assert "because the rule has a condition on step" in finding.text
    catalogue = Catalogue(
        policies=(policy(rules),),
        guardrails=parse_guardrails(f"guardrails: acme\n{rails}", "g"),
    )
    assert not [f for f in lint(catalogue, signed=True) if f.id.startswith("requirement")]


def test_a_job_is_refused_by_what_lint_reports() -> None:
    document = required("vouched: 'yes'")
    rails = parse_guardrails(f"guardrails: acme\n{document}", "g")
    made = policy(rule("a", "branch: main, env: {X: '*'}"))
    assert isinstance(decide(claims(X="1"), made, rails), Denied)


PATTERN = "arn:aws:iam::111122223333:role/{pipeline}"


@pytest.mark.parametrize(
    ("rails", "slugs", "shared"),
    [
        (f"roles: '{PATTERN}-*'", ("web", "web-admin"), "web"),
        (
            f"scopes: [{{name: s, pipelines: '*', roles: '{PATTERN}-*'}}]",
            ("web", "web-admin"),
            "web",
        ),
        ("secrets: 'ssm:/ci/{pipeline}-*'", ("web", "web-admin", "web-admin-x"), "web"),
        ("oidc-audiences: 'https://{pipeline}*'", ("web", "web-admin"), "web"),
        (f"roles: '{PATTERN}*'", ("web", "webshop"), "web"),
        ("roles: '*:role/*-{pipeline}'", ("old-web", "web"), "web"),
        (f"roles: '{PATTERN}-*'", ("old-web", "web"), ""),
        (f"roles: '{PATTERN}-*'", ("web", "webshop"), ""),
        (f"roles: '{PATTERN}/*'", ("web", "web-admin"), ""),
        (f"roles: ['{PATTERN}/*', '*']", ("web", "web-admin"), ""),
        (f"roles: ['{PATTERN}-*', '!{PATTERN}-admin-*']", ("web", "web-admin"), ""),
        (
            f"scopes: [{{name: s, pipelines: 'web', roles: '{PATTERN}-*'}}]",
            ("web", "web-admin"),
            "",
        ),
    ],
)
def test_a_pattern_that_gives_a_pipeline_the_names_of_another_is_a_warning(
    rails: str, slugs: tuple[str, ...], shared: str
) -> None:
    policies = tuple(replace(MAIN, pipeline=s, origin=f"{s}.yaml", rules=()) for s in slugs)
    guardrails = parse_guardrails(f"guardrails: acme\n{rails}\n", "guardrails.yaml")
    listed = lint(Catalogue(policies=policies, guardrails=guardrails))
    about = [f for f in listed if f.id == "names-of-another-pipeline"]
    assert len(about) == bool(shared)
    for finding in about:
        assert (finding.severity, finding.origin) == (Severity.WARNING, "guardrails.yaml")
        assert f"lets the pipeline {shared} have" in finding.text

"""Guardrails of some pipelines: which scope counts, and what it adds to the document's bounds."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.errors import WrongConfiguration
from bootstrap.grants.role import Role
from bootstrap.policy.decide import decide
from bootstrap.policy.guardrails import bounds_for, exceeds, forks_for, limits_for, scope_of
from bootstrap.policy.model import Admitted, ForkAccess, Grant, Guardrails, Limits
from bootstrap.policy.parse import parse_guardrails
from tests.policy.given import claims, policy

DOCUMENT = """
limits: {memory: 16GiB, cpus: 8}
scopes:
  - {name: payments, pipelines: ["payments-*", ledger], forks: anything, limits: {memory: 8GiB}}
  - {name: rest, pipelines: ["*", "!legacy"], limits: {memory: 32GiB, pids: 512}}
"""


def guardrails(text: str) -> Guardrails:
    return parse_guardrails(f"guardrails: acme\n{text}", "guardrails.yaml")


@pytest.mark.parametrize(
    ("pipeline", "name"),
    [
        ("ledger", "payments"),
        ("payments-api", "payments"),
        ("storefront", "rest"),
        ("legacy", None),
    ],
)
def test_the_first_scope_that_names_the_pipeline_counts(pipeline: str, name: str | None) -> None:
    rails = guardrails(DOCUMENT)
    scope = scope_of(rails, pipeline)
    assert (scope.name if scope else None) == name
    expected = [""] if name is None else ["", f"scopes.{name}."]
    assert [place for place, _ in bounds_for(rails, pipeline)] == expected


def test_the_least_limit_counts_and_forks_are_the_scopes() -> None:
    rails = guardrails(DOCUMENT)
    assert limits_for(rails, "ledger") == Limits(memory=8 << 30, cpus=8)
    assert limits_for(rails, "storefront") == Limits(memory=16 << 30, cpus=8, pids=512)
    assert limits_for(rails, "legacy") == Limits(memory=16 << 30, cpus=8)
    assert limits_for(guardrails(""), "legacy") == Limits()
    assert forks_for(rails, "ledger") is ForkAccess.ANYTHING
    assert forks_for(rails, "storefront") is ForkAccess.NOTHING


@given(st.text(max_size=12))
def test_no_name_of_a_pipeline_widens_a_pattern(pipeline: str) -> None:
    """What is no slug is granted nothing, and a slug stands for itself alone."""
    rails = guardrails('roles: ["arn:aws:iam::*:role/ci/{pipeline}/*"]')
    role = "arn:aws:iam::111122223333:role/ci/warehouse/x"
    found = exceeds(Grant(kinds=(Role(granted=role),)), rails, pipeline)
    assert bool(found) == (pipeline != "warehouse")


@pytest.mark.parametrize("pipeline", ["*", "!x", "a*", "a/b", "..", "{pipeline}", "A", "", "a\n"])
def test_a_pipeline_whose_name_is_no_slug_is_refused(pipeline: str) -> None:
    (excess,) = exceeds(Grant(), guardrails(""), pipeline)
    assert (excess.guardrail, excess.allowed) == ("pipeline", "a pipeline's slug")


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("scopes: [{name: a}]", "scopes[0].pipelines is missing"),
        ("scopes: [{pipelines: a}]", "scopes[0].name is missing"),
        ("scopes: [{name: a, pipelines: []}]", "at least 1 entry"),
        ("scopes: [{name: a, pipelines: 'A B'}]", "a pipeline slug, or a glob over slugs"),
        ("scopes: [{name: a, pipelines: '{pipeline}'}]", "a pipeline slug, or a glob over slugs"),
        ("scopes: [{name: a, pipelines: x, rols: y}]", 'did you mean "roles"?'),
        ("scopes: [{name: a, pipelines: x}, {name: a, pipelines: y}]", "'a' twice"),
        ("roles: '*:role/{team}/*'", "expected {pipeline} as the only name in braces"),
        ("roles: '*:role/{pipeline/*'", "expected {pipeline} as the only name in braces"),
        ("secrets: 'ssm:/{Pipeline}/*'", "expected {pipeline} as the only name in braces"),
        ("roles: '!'", "expected a pattern after the `!`"),
        ("session-tags: '*=web'", "a session tag as key=value"),
        ("session-tags: team", "a session tag as key=value"),
    ],
)
def test_a_scope_with_a_mistake_is_an_error(text: str, mistake: str) -> None:
    with pytest.raises(WrongConfiguration) as caught:
        guardrails(text)
    assert mistake in "\n".join(caught.value.details)


TEXTS = st.text("ab*!{}pipeline:/ ,[]\n#\"'-", max_size=40)
LISTS = st.lists(st.text("ab*!-{}", max_size=6), max_size=3)
SCOPES = st.fixed_dictionaries(
    {"name": st.text("ab", max_size=3), "pipelines": LISTS},
    optional={"roles": LISTS, "forks": st.sampled_from(["nothing", "refuse", "anything", "x"])},
)
NODES = st.fixed_dictionaries(
    {"guardrails": st.just("acme")},
    optional={
        "roles": LISTS,
        "secrets": LISTS | st.text("a*", max_size=3),
        "accounts": st.lists(st.sampled_from(["111122223333", "1"]), max_size=2),
        "scopes": st.lists(SCOPES, max_size=2),
        "requires": st.lists(
            st.fixed_dictionaries(
                {},
                optional={"roles": LISTS, "branch": LISTS, "signed": st.sampled_from(["yes", "1"])},
            ),
            max_size=2,
        ),
        "forks": st.sampled_from(["nothing", "refuse"]),
    },
)


@given(TEXTS)
def test_any_text_is_guardrails_or_a_list_of_mistakes(text: str) -> None:
    try:
        assert parse_guardrails(text, "g").origin == "g"
    except WrongConfiguration as wrong:
        assert all(detail.startswith("g:") for detail in wrong.details)


@given(node=NODES, branch=st.sampled_from(["main", "b"]))
def test_guardrails_that_say_nothing_of_forks_only_refuse(
    node: dict[str, Any], branch: str
) -> None:
    """Whatever else the document says, no job is admitted that it would not be without."""
    try:
        rails = parse_guardrails(json.dumps(node), "g")
    except WrongConfiguration:
        return
    role = "{name: b, when: {branch: b}, allow: {role: 'arn:aws:iam::111122223333:role/a'}}"
    rules = policy(f"  - {role}\n  - {{name: rest, when: {{branch: '*'}}, allow: {{}}}}\n")
    job = claims(BUILDKITE_BRANCH=branch)
    free, bound = decide(job, rules), decide(job, rules, rails)
    assert isinstance(free, Admitted)
    if isinstance(bound, Admitted):
        assert (bound.rule, bound.grant.role) == (free.rule, free.grant.role)
    assert isinstance(decide(job, rules, replace(rails, roles=())), Admitted) == (branch == "main")

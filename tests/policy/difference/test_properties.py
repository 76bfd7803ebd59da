"""No change of a decision goes unreported: `decide` on both sides is the judge of `difference`."""

from collections.abc import Sequence

import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bootstrap.errors import WrongConfiguration
from bootstrap.job.model import Claims
from bootstrap.policy.catalogue import Catalogue
from bootstrap.policy.decide import decide
from bootstrap.policy.difference import REPOSITORY, Change, Kind, difference
from bootstrap.policy.difference.jobs import Comparison, Jobs, jobs_of
from bootstrap.policy.difference.model import EVERY
from bootstrap.policy.difference.parts import differences, things
from bootstrap.policy.match import PULL_REQUESTS, verdict
from bootstrap.policy.model import Admitted, Condition, Grant, Rule
from bootstrap.policy.parse import parse, parse_guardrails
from tests.policy.difference.documents import Document, allow, demanding, jobs, policies, versions

MANY = settings(max_examples=200, deadline=None)


def catalogue(documents: Sequence[Document | None]) -> Catalogue:
    policy, rails = (yaml.safe_dump(d, sort_keys=False) if d else None for d in documents)
    try:
        return Catalogue(
            policies=(parse(policy, "storefront.yaml"),) if policy else (),
            guardrails=parse_guardrails(rails, "guardrails.yaml") if rails else None,
        )
    except WrongConfiguration:  # as secrets-with: role without a role
        assume(condition=False)
        raise


def granted(side: Catalogue, claims: Claims) -> tuple[str, Grant] | None:
    decision = decide(claims, next(iter(side.policies), None), side.guardrails)
    return (decision.rule, decision.grant) if isinstance(decision, Admitted) else None


def reported(found: Sequence[Change], kind: Kind) -> set[tuple[str, str]]:
    """What is reported as this kind, or as everything of every pipeline or repository.

    A requirement that is new for a rule says itself which of its jobs are refused.
    """
    every = any(
        change.kind in {kind, Kind.CHANGES}
        and (
            change.pipeline == EVERY
            or change.what == REPOSITORY
            or change.what.startswith("requirement ")
        )
        for change in found
    )
    return {("*", "*")} if every else {(c.what, c.name) for c in found if c.kind is kind}


def had(grant: tuple[str, Grant] | None) -> set[tuple[str, str]]:
    return set() if grant is None else {("a sandbox", ""), *things(grant[1])}


@MANY
@given(versions() | versions(demanding), st.lists(jobs(), min_size=1, max_size=25))
def test_whatever_changes_for_a_job_is_reported(
    sides: tuple[list[Document | None], list[Document | None]], claims: list[Claims]
) -> None:
    old, new = (catalogue(documents) for documents in sides)
    found = difference(old, new)
    for job in claims:
        before, after = granted(old, job), granted(new, job)
        if before == after:
            continue
        assert found
        for more, less, kind in ((after, before, Kind.GAINS), (before, after, Kind.LOSES)):
            missing = had(more) - had(less) - reported(found, kind)
            assert not missing or ("*", "*") in reported(found, kind), (job, found)


@MANY
@given(policies, st.lists(jobs(), min_size=1, max_size=25), st.data())
def test_jobs_of_two_rules_and_not_of_others_are_exactly_these(
    document: Document, claims: list[Claims], data: st.DataObject
) -> None:
    rules = catalogue([document, None]).policies[0].rules
    one, other = (data.draw(st.sampled_from(rules)) for _ in range(2))
    others = data.draw(st.lists(st.sampled_from(rules), max_size=3))
    left = Comparison().both(jobs_of(one), jobs_of(other), [jobs_of(rule) for rule in others])
    for job in claims:
        is_left = admits(one, job) and admits(other, job)
        is_left = is_left and not any(admits(rule, job) for rule in others)
        if is_left:
            assert left is not None
            assert among(left, job)
        elif left is not None and among(left, job):
            assert any(admits(rule, job) for rule in others)


def admits(rule: Rule, job: Claims) -> bool:
    return all(verdict(rule.name, condition, job).holds for condition in rule.when)


def among(left: Jobs, job: Claims) -> bool:
    fact = job.facts["pull-request"]
    kinds = frozenset({getattr(fact, "value", "")})
    return (left.pull_requests is None or kinds <= left.pull_requests) and all(
        verdict("", condition, job).holds for condition in left.conditions
    )


@MANY
@given(allow, allow)
def test_grants_differ_exactly_if_something_in_them_does(one: Document, other: Document) -> None:
    documents = [
        [{"pipeline": "p", "repository": "git@github.com:a/b.git",
          "rules": [{"name": "r", "allow": allowed}]}, None]
        for allowed in (one, other)
    ]  # fmt: skip
    old, new = (catalogue(listed).policies[0].rules[0].allow for listed in documents)
    assert bool(list(differences(old, new))) == (old != new)


def test_kinds_of_pull_requests_are_those_of_the_conditions() -> None:
    condition = Condition(subject="pull-request", patterns=("any",), line=1)
    rule = Rule(name="r", when=(condition,), allow=Grant(), line=1)
    assert jobs_of(rule).pull_requests == PULL_REQUESTS["any"]

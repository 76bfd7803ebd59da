"""What guardrails require of jobs that get a sensitive role: more conditions, and better facts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.errors import WrongConfiguration
from bootstrap.job.grades import Grade, grade, grade_of, suffices
from bootstrap.job.model import Absent, Known, Provenance, Unvouched
from bootstrap.policy.decide import (
    agent_tags,
    asks_for_commit,
    decide,
    grant_if_verified,
    with_commit,
)
from bootstrap.policy.model import Admitted, Denied, Guardrails, Policy
from bootstrap.policy.parse import parse, parse_guardrails
from bootstrap.policy.requirements import demanded
from bootstrap.policy.schema import When
from tests.policy.given import claims, policy

PROD = "arn:aws:iam::111122223333:role/prod-deploy"
DOCKER = '[{"docker#v5.1.0": {}}]'
TEST = "arn:aws:iam::111122223333:role/test"
ROLES = "roles: '*:role/prod-*'"
VERIFIED = f"requires: {{{ROLES}, branch: main, commit-on-branch: verified}}"


def rails(text: str) -> Guardrails:
    return parse_guardrails(f"guardrails: acme\n{text}\n", "guardrails.yaml")


def grants(role: str, when: str = "{}") -> Policy:
    return policy(f"  - {{name: only, when: {when}, allow: {{role: '{role}'}}}}\n")


def test_a_refusal_names_the_requirement_and_what_is_missing() -> None:
    text = f"requires: [{{name: production, {ROLES}, branch: main, queue: prod}}]"
    decision = decide(claims(BUILDKITE_BRANCH="dev"), grants(PROD), rails(text))
    assert isinstance(decision, Denied)
    assert "exceeds the guardrail 'requires.production' of guardrails.yaml" in decision.problem
    assert "got branch dev, allowed: branch main" in decision.problem
    assert "Start a build that meets the requirement" in decision.hint
    failed = [(r.subject, r.got, r.expected) for r in decision.reasons if not r.holds]
    assert failed == [
        ("guardrail requires.production", "branch dev", "branch main"),
        ("guardrail requires.production", "queue deploy", "queue prod"),
    ]


def test_a_refusal_names_the_forgeable_condition() -> None:
    text = f"requires: {{{ROLES}, vouched: yes}}"
    decision = decide(claims(MODE="live"), grants(PROD, "{env: {MODE: live}}"), rails(text))
    assert isinstance(decision, Denied)
    assert (
        "got a condition on env MODE, which is only the job's word, allowed: conditions on what is "
        "vouched for by Buildkite"
    ) in decision.problem


@pytest.mark.parametrize(
    ("allow", "plugins", "why", "hint"),
    [
        ("env: LD_PRELOAD", "", "as the rule lets LD_PRELOAD change what runs",
         "Leave such variables out of the rule's `allow.env` and `secrets`"),
        ("workspace: fresh", DOCKER, "as any plugin may run in its place",
         "List the plugins that may run"),
    ],
)  # fmt: skip
def test_what_makes_a_command_forgeable_has_its_own_hint(
    allow: str, plugins: str, why: str, hint: str
) -> None:
    rule = f"  - name: only\n    when: {{command: make}}\n    allow: {{role: '{PROD}', {allow}}}\n"
    job = claims(BUILDKITE_COMMAND="make", BUILDKITE_PLUGINS=plugins)
    decision = decide(job, policy(rule), rails(f"requires: {{{ROLES}, vouched: yes}}"))
    assert isinstance(decision, Denied)
    assert f"a condition on command, which is only the job's word, {why}, " in decision.problem
    assert decision.hint.startswith(hint)


def test_a_requirement_for_a_verified_commit_makes_the_host_ask() -> None:
    """Only where the answer decides, and with nothing but what this rule grants."""
    limits = rails(VERIFIED)
    assert asks_for_commit(claims(), grants(PROD), limits)
    assert not asks_for_commit(claims(), grants(TEST), limits)
    assert not asks_for_commit(claims(BUILDKITE_BRANCH="dev"), grants(PROD), limits)
    assert grant_if_verified(claims(BUILDKITE_BRANCH="dev"), grants(PROD), limits) is None
    for answer, admitted in (("verified", True), ("elsewhere", False), ("unknown", False)):
        known = with_commit(claims(), Known(value=answer, provenance=Provenance.HOST))
        assert isinstance(decide(known, grants(PROD), limits), Admitted) is admitted


def test_a_branch_is_one_of_the_repositories_that_the_team_names() -> None:
    """A team can list a repository of its own, so that the requirement has to name repositories."""
    own = parse(
        "pipeline: storefront\nrepository: ['git@github.com:acme/x', 'git@github.com:team/x']\n"
        f"rules: [{{name: only, allow: {{role: '{PROD}'}}}}]\n", "storefront.yaml"
    )  # fmt: skip
    anywhere = f"requires: {{{ROLES}, branch: main}}"
    here = f"requires: {{{ROLES}, branch: main, repository: 'git@github.com:acme/*'}}"
    theirs = claims(BUILDKITE_REPO="https://github.com/team/x")
    assert isinstance(decide(theirs, own, rails(anywhere)), Admitted)
    assert isinstance(decide(theirs, own, rails(here)), Denied)
    acme = claims(BUILDKITE_REPO="https://github.com/acme/x.git")
    assert isinstance(decide(acme, own, rails(here)), Admitted)


def test_signed_tags_are_requested_for_requirements_too() -> None:
    limits = rails(f"requires: {{{ROLES}, agent-tag: {{zone: prod}}}}")
    assert agent_tags(grants(PROD, "{agent-tag: {size: large}}"), limits) == ("size", "zone")
    assert agent_tags(grants(PROD), None) == ()


def test_one_requirement_needs_no_list_and_no_name() -> None:
    (requirement,) = rails(f"requires: {{{ROLES}, signed: yes}}").requires
    assert (requirement.name, requirement.grade) == ("[0]", Grade.SIGNED)
    assert [c.subject for c in requirement.when] == ["tag", "pull-request"]
    assert demanded(grants(PROD).rules[0].allow, rails(VERIFIED), "storefront")
    assert not demanded(grants(TEST).rules[0].allow, rails(VERIFIED), "storefront")


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("requires: {branch: main}", "expected `roles` or `secrets`"),
        ("requires: {roles: [], branch: main}", "expected `roles` or `secrets`"),
        (f"requires: {{{ROLES}, signed: true}}", "'yes' or 'no'"),
        (f"requires: {{{ROLES}, triggered-by: x}}", "`triggered-by` cannot be a condition"),
        (f"requires: {{{ROLES}, brnch: x}}", 'did you mean "branch"?'),
        (f"requires: [{{name: a, {ROLES}}}, {{name: a, {ROLES}}}]", "'a' twice"),
    ],
)
def test_a_requirement_with_a_mistake_is_an_error(text: str, mistake: str) -> None:
    with pytest.raises(WrongConfiguration) as caught:
        rails(text)
    assert mistake in "\n".join(caught.value.details)


CONDITIONS = st.lists(
    st.sampled_from(
        ["branch: main", "creator-team: platform", "env: {CI: 'true'}", "step: deploy",
         "queue: deploy", "command: make deploy", "source: ui", "organization: acme"]
    ),
    unique=True, max_size=4,
)  # fmt: skip
DEMANDS = st.lists(
    st.sampled_from(["branch: main", "branch: dev", "signed: yes", "vouched: yes", "queue: x"]),
    unique_by=lambda text: text.partition(":")[0],
    max_size=3,
)
FORGEABLE = ("env", "step")


@given(asked=CONDITIONS, demands=DEMANDS)
def test_requirements_only_refuse_and_never_for_other_roles(
    asked: list[str], demands: list[str]
) -> None:
    when, limits = f"{{{', '.join(asked)}}}", rails(f"requires: {{{', '.join([ROLES, *demands])}}}")
    assert isinstance(decide(claims(), grants(TEST, when), limits), Admitted)
    assert isinstance(decide(claims(), grants(PROD, when), rails("")), Admitted)
    forged = any(text.startswith(FORGEABLE) for text in asked)
    admitted = isinstance(decide(claims(), grants(PROD, when), limits), Admitted)
    unmet = {"branch: dev", "queue: x", "signed: yes"} & set(demands)
    assert admitted == (not unmet and not (forged and "vouched: yes" in demands))


def test_every_condition_has_a_grade_and_signatures_only_improve_it() -> None:
    order = list(Grade)
    for field in When.model_fields:
        subject = field.replace("_", "-")
        plain, signed = grade_of(subject), grade_of(subject, signed=True)
        assert order.index(plain) <= order.index(signed), subject
        assert suffices(subject, signed, Grade.SIGNED) == (signed is not Grade.CLAIMED), subject
    assert not suffices("branch", Grade.VOUCHED, Grade.SIGNED)
    assert suffices("creator-team", Grade.VOUCHED, Grade.SIGNED)
    assert grade("branch", Absent(why="x")) is Grade.CLAIMED
    assert grade("creator", Unvouched(value="x", why="y")) is Grade.CLAIMED
    assert grade("tag", Known(value="v1", provenance=Provenance.SIGNED)) is Grade.SIGNED
    assert grade("x", Known(value="v1", provenance=Provenance.HOST)) is Grade.VERIFIED

"""Cases of policies: example jobs and the decisions that are expected of them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.errors import WrongConfiguration
from bootstrap.job.model import Known, KnownSet, Provenance
from bootstrap.policy import builds, cases
from bootstrap.policy.model import Guardrails, Policy
from bootstrap.policy.parse import parse_guardrails
from tests.policy.given import policy
from tests.policy.samples import MAIN, OTHER, ROLE, rule

CASES = """pipeline: storefront
cases:
  - name: main deploys
    given: {branch: main, creator-team: [platform, everyone]}
    expect: {rule: deploy, role: "arn:aws:iam::111122223333:role/ci/deploy"}
  - name: forks do not
    given: {branch: main, pull-request: fork, creator-team: platform}
    expect: {refused: "expected pull-request no, got fork"}
  - name: everything a build can be
    given: {source: webhook, step: x, queue: y, tag: none, command: make, plugin: ["docker#v5"],
            agent-tag: {size: large}, env: {MODE: live}, creator: Ada, commit: abc}
    expect: refused
"""


def decided(
    text: str, policies: dict[str, Policy], rails: Guardrails | None = None
) -> list[cases.Outcome]:
    document = cases.parse(text, "storefront.test.yaml")
    return list(cases.outcomes([document], lambda slug: (policies.get(slug), rails)))


def problem(of: Policy, given: str, expect: str, guardrails: str = "") -> str:
    text = f"pipeline: storefront\ncases: [{{name: x, given: {given}, expect: {expect}}}]\n"
    rails = parse_guardrails(f"guardrails: acme\n{guardrails}", "g") if guardrails else None
    (outcome,) = decided(text, {"storefront": of}, rails)
    return outcome.problem


def test_cases_report_expected_and_actual_decision() -> None:
    found = decided(CASES, {"storefront": MAIN})
    assert [(outcome.problem, outcome.rule) for outcome in found] == [
        ("", "deploy"), ("", ""), ("", ""),
    ]  # fmt: skip
    wider = policy(rule("all", "pull-request: any", OTHER))
    rails = parse_guardrails("guardrails: acme\nforks: anything\n", "guardrails.yaml")
    assert [o.problem for o in decided(CASES, {"storefront": wider}, rails)] == [
        "expected rule 'deploy', got 'all'",
        "expected a refusal, got rule 'all'",
        "expected a refusal, got rule 'all'",
    ]


def test_every_case_of_a_pipeline_without_policy_fails() -> None:
    """One that expects a refusal would pass by the lack of the policy alone."""
    problems = {outcome.problem for outcome in decided(CASES, {})}
    assert problems == {"there is no policy of a pipeline storefront"}


def test_every_case_fails_where_a_host_ends_every_job() -> None:
    def broken(_: str) -> tuple[Policy | None, Guardrails | None]:
        raise WrongConfiguration("g has 1 mistake", hint="")

    found = cases.outcomes([cases.parse(CASES, "x")], broken)
    assert {outcome.problem for outcome in found} == {
        "a host ends every job of storefront with 78: g has 1 mistake"
    }


@pytest.mark.parametrize(
    ("when", "given", "met"),
    [
        ("commit-on-branch: verified", "commit-on-branch: verified", True),
        ("commit-on-branch: verified", "commit-on-branch: elsewhere", False),
        ("commit-on-branch: verified", "commit-on-branch: unknown", False),
        ("commit-on-branch: verified", "branch: main", False),
        ("commit-on-branch: verified-or-unknown", "commit-on-branch: unknown", True),
        ("author-team: x", "author-team: x, source: webhook", True),
        ("author-team: x", "author-team: [y, x]", True),
        ("author-team: x", "author-team: x, source: schedule", False),
        ("creator-team: x", "author-team: x, source: webhook", False),
        ("tag: 'v*'", "tag: v1", True),
        ("tag: 'v*', branch: 'v*'", "tag: v1", True),
        ("tag: none", "tag: v1", False),
        ("agent-tag: {size: large}", "agent-tag: {size: large}", True),
        ("agent-tag: {size: large}", "agent-tag: {size: large}, signed: 'yes'", True),
        ("plugin: 'docker#v5'", "plugin: {'docker#v5': {image: x}}", True),
        ("repository: 'git@github.com:acme/other.git'", "branch: main", False),
    ],
)
def test_a_case_can_state_any_fact(when: str, given: str, *, met: bool) -> None:
    of = policy(f"  - {{name: only, when: {{{when}}}, allow: {{}}}}\n")
    expected = problem(of, f"{{{given}}}", "{rule: only}")
    assert (expected == "") is met, expected


def test_a_signed_case_is_decided_as_on_a_host_with_signed_identity() -> None:
    text = CASES.replace("branch: main, creator", "branch: main, signed: 'yes', creator")
    assert [outcome.problem for outcome in decided(text, {"storefront": MAIN})] == ["", "", ""]
    made = cases.parse(text, "x").cases[0].given
    facts = builds.claims(made, "storefront", MAIN).facts
    assert facts["branch"] == Known(value="main", provenance=Provenance.SIGNED)
    teams = frozenset({"platform", "everyone"})
    assert facts["creator-team"] == KnownSet(values=teams, provenance=Provenance.JOB)


GRANTING = policy(
    "  - name: all\n    allow:\n"
    f"      role: {ROLE}\n      roles: {{audit: '{OTHER}'}}\n"
    "      secrets: {A: 'ssm:/ci/a'}\n      ssh-keys: 'ssm:/ci/key'\n"
    "      image: node:22\n      limits: {memory: 1GiB, cpus: 2}\n"
)
NOTHING = policy("  - {name: all, allow: {}}\n")


@pytest.mark.parametrize(
    ("expect", "got"),
    [
        (f"{{roles: {{audit: '{OTHER}'}}}}", ""),
        (f"{{roles: {{other: '{OTHER}'}}}}",
         f"expected roles other: {OTHER}, got audit: {OTHER}"),
        ("{roles: none}", f"expected roles none, got audit: {OTHER}"),
        ("{secrets: ['ssm:/ci/key', 'ssm:/ci/a']}", ""),
        ("{secrets: 'ssm:/ci/a'}", "expected secrets ssm:/ci/a, got ssm:/ci/a, ssm:/ci/key"),
        ("{secrets: none}", "expected secrets none, got ssm:/ci/a, ssm:/ci/key"),
        ("{image: 'node:22'}", ""),
        ("{image: none}", "expected image 'none', got 'node:22'"),
        ("{limits: {memory: 1GiB}}", ""),
        ("{limits: {memory: 2GiB}}", "expected limits.memory 2147483648, got 1073741824"),
        ("{limits: {pids: 100}}", "expected limits.pids 100, got the default of the host"),
    ],
)  # fmt: skip
def test_a_case_can_assert_all_that_is_granted(expect: str, got: str) -> None:
    assert problem(GRANTING, "{}", expect) == got


@pytest.mark.parametrize("expect", ["roles: none", "secrets: none", "image: none", "role: none"])
def test_a_case_can_assert_that_nothing_is_granted(expect: str) -> None:
    assert problem(NOTHING, "{}", f"{{{expect}}}") == ""


def test_a_case_is_decided_within_the_guardrails() -> None:
    got = problem(GRANTING, "{}", "{rule: all}", "roles: []")
    assert "exceeds the guardrail 'roles'" in got


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("cases: []", "pipeline is missing"),
        ("pipeline: a\ncases: []", "cases: expected at least 1 entry; got an empty list"),
        ("pipeline: a\ncases: [{name: x}]", "cases[0].expect is missing"),
        ("pipeline: a\ncases: [{name: x, given: {brnch: y}, expect: refused}]",
         'unknown key "brnch"; did you mean "branch"?'),
        ("pipeline: a\ncases: [{name: x, given: {pull-request: y}, expect: refused}]", "fork"),
        ("pipeline: a\ncases: [{name: x, given: {source: webhok}, expect: refused}]",
         "expected 'ui', 'api', 'webhook', 'schedule' or 'trigger_job'; got 'webhok'"),
        ("pipeline: a\ncases: [{name: x, given: {branch: [a, b]}, expect: refused}]",
         "expected text; got a list"),
        ("pipeline: a\ncases: [{name: x, given: {creator-team: a, author-team: b}, "
         "expect: refused}]", "expected creator-team or author-team"),
        ("pipeline: a\ncases: [{name: x, given: {plugin: [[]]}, expect: refused}]",
         "expected a plugin such as docker#v5.13.0"),
        ("pipeline: a\ncases: [{name: x, expect: {rol: y}}]", 'did you mean "role"?'),
        ("pipeline: a\ncases: [{name: x, expect: {}}]", "one or more of rule, role, roles"),
        ("pipeline: a\ncases: [{name: x, expect: {refused: y, rule: z}}]",
         "expected either refused or a grant"),
        ("pipeline: a\ncases: [{name: x, expect: {role: deploy}}]", "expected a role's ARN"),
        ("pipeline: a\ncases: [{name: x, expect: admitted}]", "expect: expected"),
    ],
)  # fmt: skip
def test_cases_document_with_mistake_is_rejected(text: str, mistake: str) -> None:
    with pytest.raises(WrongConfiguration) as caught:
        cases.parse(text, "a.test.yaml")
    assert mistake in "\n".join(caught.value.details)


def test_coverage_is_of_the_rules_by_which_passed_cases_are_admitted() -> None:
    two = policy(rule("deploy", "branch: main") + rule("rest", "branch: '*'"))
    text = (
        "pipeline: storefront\ncases:\n"
        "  - {name: a, expect: {rule: deploy}}\n"
        "  - {name: b, given: {branch: x}, expect: {rule: deploy}}\n"
    )
    covered = cases.coverage(decided(text, {"storefront": two}), {"storefront": two})
    assert (covered.rules, covered.percent) == (2, 50.0)
    assert [missing.name for _, missing in covered.missing] == ["rest"]
    assert cases.coverage([], {}).percent == 100.0


NODES = (builds.BuildNode, cases.CasesNode, cases.CaseNode, cases.ExpectNode)
KEYS = sorted({name.replace("_", "-") for node in NODES for name in node.model_fields})
JUNK = st.recursive(
    st.none() | st.text(max_size=8) | st.sampled_from(["none", "refused", "*", "v1"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(document=JUNK, at=st.sampled_from(["given", "expect", ""]))
def test_any_document_is_read_or_rejected(document: object, at: str) -> None:
    case = {"name": "x", "given": {}, "expect": "refused"}
    content = {"pipeline": "a", "cases": [{**case, at: document}]} if at else document
    text = json.dumps(content, ensure_ascii=False)
    try:
        parsed = cases.parse(text, "a.test.yaml")
    except WrongConfiguration as wrong:
        assert wrong.details
        assert not [detail for detail in wrong.details if "Input should" in detail]
    else:
        assert len(cases.outcomes([parsed], lambda _: (NOTHING, None))) == len(parsed.cases)


def test_a_build_is_of_the_organization_of_the_guardrails() -> None:
    cases_of = "pipeline: storefront\ncases: [{{name: x, given: {{{}}}, expect: {{rule: a}}}}]\n"
    rails = parse_guardrails("guardrails: umbrella\n", "g")
    policies = {"storefront": policy("  - {name: a, allow: {}}\n")}
    (own,) = decided(cases_of.format(""), policies, rails)
    (other,) = decided(cases_of.format("organization: acme"), policies, rails)
    assert own.problem == ""
    expected = "the job is of organization acme, and the guardrails in g are for umbrella"
    assert other.problem == f"expected rule 'a', got a refusal: {expected}"


@pytest.mark.parametrize(
    ("given", "met"),
    [
        ("signed: 'yes', commit-on-branch: verified", True),
        ("signed: 'yes', commit-on-branch: elsewhere", False),
        ("signed: 'yes'", False),
        ("commit-on-branch: verified", False),
        ("signed: 'yes', commit-on-branch: verified, branch: dev", False),
    ],
)
def test_a_case_can_state_what_guardrails_require(given: str, *, met: bool) -> None:
    requires = (
        f"requires: {{name: prod, roles: '{ROLE}', signed: 'yes', branch: main, "
        "commit-on-branch: verified}"
    )
    of = policy(rule("all", "branch: '*'"))
    expected = "{rule: all}" if met else "{refused: exceeds the guardrail 'requires.prod'}"
    assert problem(of, f"{{{given}}}", expected, requires) == ""

"""Cases of policies: example jobs and the decisions that are expected of them."""

import pytest

from bootstrap.errors import WrongConfiguration
from bootstrap.policy import cases
from bootstrap.policy.parse import parse_guardrails
from tests.policy.given import policy
from tests.policy.samples import MAIN, OTHER, rule

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


def test_cases_report_expected_and_actual_decision() -> None:
    document = cases.parse(CASES, "storefront.test.yaml")
    outcomes = cases.outcomes([document], {"storefront": MAIN}, None)
    assert [outcome.problem for outcome in outcomes] == ["", "", ""]
    outcomes = cases.outcomes([document], {}, None)
    assert "no policy exists" in outcomes[0].problem
    wider = policy(rule("all", "pull-request: any", OTHER))
    rails = parse_guardrails("guardrails: acme\nforks: anything\n", "guardrails.yaml")
    problems = [o.problem for o in cases.outcomes([document], {"storefront": wider}, rails)]
    assert problems == [
        "expected rule 'deploy', got 'all'",
        "expected a refusal, got rule 'all'",
        "expected a refusal, got rule 'all'",
    ]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("cases: []", "pipeline is missing"),
        ("pipeline: a\ncases: [{name: x}]", "cases[0].expect is missing"),
        ("pipeline: a\ncases: [{name: x, given: {brnch: y}, expect: refused}]", "unknown fact"),
        ("pipeline: a\ncases: [{name: x, given: {pull-request: y}, expect: refused}]", "fork"),
        ("pipeline: a\ncases: [{name: x, expect: {rol: y}}]", 'did you mean "role"?'),
    ],
)
def test_cases_document_with_mistake_is_rejected(text: str, mistake: str) -> None:
    with pytest.raises(WrongConfiguration) as caught:
        cases.parse(text, "a.test.yaml")
    assert mistake in "\n".join(caught.value.details)

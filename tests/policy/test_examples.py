"""Every policy that is shown decides about branches, tags and pull requests as its text says."""

import re

import pytest

from bootstrap.policy import cases
from bootstrap.policy.parse import parse, parse_guardrails
from tests.test_docs import ROOT

RAILS = parse_guardrails("guardrails: acme\nforks: nothing\n", "guardrails.yaml")

# Page -> cases of the first policy that it shows.
SHOWN = {
    "README.md": """
  - {name: main, given: {creator-team: platform}, expect: {rule: deploy to production}}
  - {name: webhook, given: {creator-team: platform, source: webhook},
     expect: {rule: everything else is just tests, role: none}}
  - {name: tag, given: {tag: v1, creator-team: platform}, expect: {refused: expected tag none}}
  - {name: tag named main, given: {tag: main, creator-team: platform}, expect: refused}
  - {name: fork, given: {pull-request: fork},
     expect: {rule: everything else is just tests, role: none}}
""",
    "docs/policy.md": """
  - {name: main, given: {creator-team: platform, queue: deploy},
     expect: {rule: deploy to production}}
  - {name: tag, given: {tag: release/1, creator-team: platform, queue: deploy},
     expect: {refused: expected tag none}}
  - {name: branch, given: {branch: x}, expect: {rule: our own pull requests}}
  - {name: own, given: {pull-request: same-repository}, expect: {rule: our own pull requests}}
  - {name: fork, given: {pull-request: fork}, expect: {role: none}}
""",
    "docs/credentials.md": """
  - {name: main, given: {creator-team: platform}, expect: {rule: deploy}}
  - {name: tag, given: {tag: main, creator-team: platform}, expect: {refused: expected tag none}}
  - {name: fork, given: {pull-request: fork, creator-team: platform}, expect: refused}
""",
}


@pytest.mark.parametrize("page", SHOWN)
def test_the_policy_shown_decides_as_its_text_says(page: str) -> None:
    text = (ROOT / page).read_text()
    found = re.search(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found
    policy = parse(found[1], page)
    document = cases.parse(f"pipeline: {policy.pipeline}\ncases:{SHOWN[page]}", page)
    outcomes = cases.outcomes([document], lambda _: (policy, RAILS))
    assert [f"{o.case.name}: {o.problem}" for o in outcomes if o.problem] == []


def test_every_example_of_the_repository_has_cases_which_pass() -> None:
    directory = ROOT / "agent-config/policies"
    policies = {p.stem for p in directory.glob("*.yaml") if not p.stem.endswith(".test")}
    tested = {p.name.removesuffix(".test.yaml") for p in directory.glob("*.test.yaml")}
    assert tested == policies - {"guardrails"}
    read = {slug: parse((directory / f"{slug}.yaml").read_text(), slug) for slug in tested}
    rails = parse_guardrails((directory / "guardrails.yaml").read_text(), "guardrails")
    documents = [
        cases.parse((directory / f"{slug}.test.yaml").read_text(), slug) for slug in sorted(tested)
    ]
    assert [
        o.problem for o in cases.outcomes(documents, lambda slug: (read[slug], rails)) if o.problem
    ] == []
    assert any("tag" in c.given.model_fields_set for document in documents for c in document.cases)

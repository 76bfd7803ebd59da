"""Conditions that no build can fulfil, and those that mislead a reader."""

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from bootstrap.errors import WrongConfiguration
from bootstrap.policy.catalogue import Catalogue
from bootstrap.policy.findings import MEANINGS, Severity
from bootstrap.policy.glob import any_matches, matches
from bootstrap.policy.lint import lint
from bootstrap.policy.overlap import both, overlap
from bootstrap.policy.wording import in_words
from tests.policy.given import decided, policy
from tests.policy.test_lint import ROLE, found


def when(text: str, guardrails: str = "") -> dict[str, str]:
    """Return the texts of the findings about a rule with these conditions, by id."""
    rules = f"  - {{name: a, when: {{{text}}}, allow: {{}}}}\n"
    return {name: finding.text for name, finding in found(rules, guardrails).items()}


@pytest.mark.parametrize(
    ("text", "identifier", "got"),
    [
        ("source: webhok", "unknown-source", 'no source \'webhok\'; did you mean "webhook"?'),
        ("source: [ui, '!scheduled']", "unknown-source", 'did you mean "schedule"?'),
        ("branch: refs/heads/main", "ref-prefix", "Buildkite sends the name alone"),
        ("branch: '!refs/heads/main'", "ref-prefix", "'refs/heads/main'"),
        ("branch: origin/main", "ref-prefix", "matches no build"),
        ("tag: refs/tags/v*", "ref-prefix", "matches no build"),
        ("branch: '^main$'", "regular-expression", "reads as a regular expression"),
        ("branch: '.*'", "regular-expression", "only * is special"),
        ("branch: 'release/.*'", "regular-expression", "'release/.*'"),
        ("branch: '(main|dev)'", "regular-expression", "'(main|dev)'"),
        ("tag: 'v[0-9]*'", "regular-expression", "'v[0-9]*'"),
        ("tag: 'v\\d+'", "regular-expression", "v"),
        ("creator-email: '.*@acme.com'", "regular-expression", "globs"),
        ("branch: 'release ?'", "not-a-ref", "git allows no ' '"),
        ("branch: 'a..b'", "not-a-ref", "git allows no '..'"),
        ("branch: 'main/'", "not-a-ref", "git allows no '/'"),
        ('branch: "ma\\u200bin"', "hidden-characters", "U+200B (zero width space)"),
        ('branch: "\\u202emain"', "hidden-characters", "U+202E (right-to-left override)"),
        ('queue: "deploy "', "hidden-characters", "a space at its beginning or end"),
        ('command: "make \\u2066x"', "hidden-characters", "left-to-right isolate"),
        ('env: {A: "x\\u00ad"}', "hidden-characters", "soft hyphen"),
        ("branch: [main, '!main']", "contradiction", "its own negations exclude every pattern"),
        ("branch: ['release/1', '!release/*']", "contradiction", "branch release/1, but not"),
        ("branch: '!*'", "contradiction", "branch none at all"),
        ("branch: main, tag: 'v*'", "contradiction", "a tag's build has the tag as its branch"),
        ("branch: main, env: {BUILDKITE_BRANCH: dev}", "contradiction", "requires branch main"),
        ("queue: deploy, agent-tag: {queue: default}", "contradiction", "requires queue deploy"),
        ("repository: 'git@github.com:acme/other.git'", "absent-from-repository", "other.git"),
        ("author-team: x, source: schedule", "author-never-holds", "source is schedule"),
        ("tag: 'v*', commit-on-branch: verified", "tag-beside-commit-check", "the tag's name"),
    ],
)  # fmt: skip
def test_a_condition_that_cannot_hold_has_its_finding(text: str, identifier: str, got: str) -> None:
    assert got in when(text)[identifier]


@pytest.mark.parametrize(
    "text",
    [
        "branch: [main, 'release/*', '!release/old']",
        "branch: 'v*', tag: 'v1.*'",
        "branch: '*', tag: [none, 'v*']",
        "branch: 'dependabot/npm_and_yarn/@types/node-1.x'",
        "branch: ['fix-(a)', 'Ünï', 'v1.*']",
        'command: "make all\\n./x | sort $A [1]\\n"',
        "env: {A: '^x$', B: absent}",
        "env: {BUILDKITE_BRANCH: 'm*'}, branch: [main, dev]",
        "env: {BUILDKITE_TAG: absent}",
        "env: {BUILDKITE_STEP_KEY: [absent, x]}, step: 'y'",
        "queue: deploy, agent-tag: {queue: 'd*'}",
        "source: ['!webhook', '*']",
        "repository: 'https://github.com/acme/storefront'",
        "plugin: '!*'",
        "author-team: x, source: webhook",
        "branch: main, commit-on-branch: verified",
    ],
)
def test_a_condition_that_can_hold_has_none(text: str) -> None:
    assert when(text) == {}


def test_a_condition_on_another_organization_than_the_guardrails_is_found() -> None:
    assert (
        "acme, the organization of the guardrails"
        in when("organization: other", "forks: nothing")["other-organization"]
    )
    assert when("organization: [acme, other]", "forks: nothing") == {}


GLOB = st.text("ab*", max_size=5)
GLOBS = st.lists(GLOB | GLOB.map("!".__add__), min_size=1, max_size=3)


@given(one=GLOB, other=GLOB, value=st.text("ab", max_size=5))
@example(one="a*b", other="ab*", value="ab")
def test_globs_overlap_if_a_value_matches_both(one: str, other: str, value: str) -> None:
    assert overlap(one, other) or not (matches(one, value) and matches(other, value))
    assert overlap(value, one) == matches(one, value)
    assert overlap(one, other) == overlap(other, one)


@given(first=GLOBS, second=GLOBS, value=st.text("ab", max_size=4))
def test_what_cannot_overlap_is_matched_by_nothing(
    first: list[str], second: list[str], value: str
) -> None:
    assume(not both(first, second))
    assert not (any_matches(first, (value,)) and any_matches(second, (value,)))


NAMES = st.text("ab*", min_size=1, max_size=5)
LISTS = st.lists(NAMES | NAMES.map("!".__add__), min_size=1, max_size=3)


@given(branch=LISTS, tag=LISTS, name=st.text("ab", min_size=1, max_size=4))
def test_a_contradiction_admits_no_build(branch: list[str], tag: list[str], name: str) -> None:
    """Buildkite gives the build of a tag the tag's name as its branch."""
    text = f"branch: {branch}, tag: {tag}"
    assume("contradiction" in when(text))
    decision = decided(f"{{{text}}}", BUILDKITE_BRANCH=name, BUILDKITE_TAG=name)
    assert not hasattr(decision, "grant")


@pytest.mark.parametrize(
    ("patterns", "words"),
    [
        (["main"], "main"),
        (["main", "release/*"], "main or release/*"),
        (["!main"], "not main"),
        (["!main", "!dev"], "not main or dev"),
        (["main", "!dev"], "main, but not dev"),
        (["!*"], "none at all"),
        ([], "nothing"),
        ([""], "an empty value"),
        (["!"], "not an empty value"),
    ],
)
def test_a_negation_is_printed_as_it_means(patterns: list[str], words: str) -> None:
    assert in_words(patterns) == words


def test_a_refusal_does_not_name_a_branch_that_is_a_negation() -> None:
    decision = decided("{branch: '!main'}")
    assert "expected branch not main, got main" in decision.problem  # type: ignore[union-attr]


COMMENTED = """  - name: a  # airlock: ignore image-without-digest: our own registry is immutable
    when:
      # airlock: ignore ref-prefix: a branch is really called that

      branch: refs/heads/main
    allow: {image: 'node:22'}
"""


def listed(rules: str) -> list[tuple[str, int]]:
    return [(f.id, f.line) for f in lint(Catalogue(policies=(policy(rules),)))]


def test_a_comment_with_a_reason_answers_a_finding() -> None:
    plain = "".join(f"{line.partition('#')[0]}\n" for line in COMMENTED.splitlines())
    assert listed(plain) == [("image-without-digest", 4), ("ref-prefix", 8)]
    assert listed(COMMENTED) == []


@pytest.mark.parametrize(
    ("comment", "identifier", "text"),
    [
        ("ignore image-without-digest", "wrong-ignore", "gives no reason"),
        ("ignore image-without-digest:", "wrong-ignore", "gives no reason"),
        ("ignore image-without-digst: x", "wrong-ignore", 'did you mean "image-without-digest"?'),
        ("ignore: x", "wrong-ignore", "there is no finding ''"),
        ("ignore mistake: x", "wrong-ignore", "'mistake' cannot be ignored"),
        ("ignore misnamed: x", "wrong-ignore", "'misnamed' cannot be ignored"),
        ("ignore unreachable: x", "unused-ignore", "there is no finding 'unreachable' here"),
    ],
)
def test_a_wrong_comment_is_a_finding_and_answers_nothing(
    comment: str, identifier: str, text: str
) -> None:
    rules = f"  - name: a  # airlock: {comment}\n    allow: {{image: 'node:22'}}\n"
    findings = found(rules)
    assert text in findings[identifier].text
    assert "image-without-digest" in findings


def test_a_comment_about_one_rule_does_not_answer_for_another() -> None:
    one = "  - name: {0}\n    when: {{branch: {0}}}\n    allow: {{image: 'node:{0}'}}\n"
    text = one.format("a").replace("a\n", "a  # airlock: ignore image-without-digest: x\n", 1)
    assert listed(text + one.format("b")) == [("image-without-digest", 7)]


@given(text=st.text("#: airlockignore-x\n\u2028", max_size=60))
def test_any_comment_leaves_the_policy_as_it_is(text: str) -> None:
    rules = "  - {name: a, allow: {}}\n"
    commented = rules + "".join(f"# airlock: ignore{line}\n" for line in text.split("\n"))
    try:
        made = policy(commented)
    except WrongConfiguration:
        return  # YAML has line ends of its own
    assert made.rules == policy(rules).rules
    assert {finding.id for finding in lint(Catalogue(policies=(made,)))} <= set(MEANINGS)


def test_the_severity_of_what_never_holds_is_an_error() -> None:
    rules = f"  - {{name: a, when: {{branch: refs/heads/main}}, allow: {{role: '{ROLE}'}}}}\n"
    assert found(rules)["ref-prefix"].severity is Severity.ERROR

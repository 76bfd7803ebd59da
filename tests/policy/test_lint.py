"""Every finding, on a policy that has the problem and on none without it."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from bootstrap.policy.catalogue import Catalogue, Unreadable
from bootstrap.policy.decide import decide
from bootstrap.policy.findings import Finding, Severity
from bootstrap.policy.lint import lint
from bootstrap.policy.model import Denied
from bootstrap.policy.parse import parse_guardrails
from bootstrap.policy.shadow import shadows
from tests.policy.given import claims, policy

ROLE = "arn:aws:iam::111122223333:role/ci/reader"
DEPLOY = "arn:aws:iam::111122223333:role/ci/deploy"


def found(rules: str, guardrails: str = "") -> dict[str, Finding]:
    rails = parse_guardrails(f"guardrails: acme\n{guardrails}", "g") if guardrails else None
    catalogue = Catalogue(policies=(policy(rules),), guardrails=rails)
    return {finding.id: finding for finding in lint(catalogue)}


@pytest.mark.parametrize(
    ("rules", "identifier"),
    [
        (f"  - {{name: a, when: {{pull-request: any}}, allow: {{role: '{ROLE}'}}}}\n",
         "fork-reaches-grant"),
        (f"  - {{name: a, when: {{pull-request: same-repository}}, allow: {{role: '{DEPLOY}'}}}}\n",
         "pull-request-reaches-grant"),
        ("  - {name: a, when: {creator-team: x, source: webhook}, allow: {}}\n",
         "creator-never-holds"),
        ("  - {name: a, when: {creator: x, source: ['!ui', '!api']}, allow: {}}\n",
         "creator-never-holds"),
        ("  - {name: a, when: {unblocker-team: x}, allow: {}}\n", "unblocker-never-holds"),
        ("  - {name: a, when: {branch: main, tag: 'v*'}, allow: {}}\n", "contradiction"),
        ("  - {name: a, when: {tag: [none, '*']}, allow: {}}\n"
         "  - {name: b, when: {tag: 'v*'}, allow: {}}\n", "unreachable"),
        (f"  - {{name: a, when: {{branch: main, commit-on-branch: verified-or-unknown}}, "
         f"allow: {{role: '{ROLE}'}}}}\n", "unknown-commit-reaches-grant"),
        (f"  - {{name: a, allow: {{role: '{DEPLOY}'}}}}\n", "any-branch-reaches-production"),
        (f"  - {{name: a, when: {{branch: '*'}}, allow: {{role: '{DEPLOY}'}}}}\n",
         "any-branch-reaches-production"),
        (f"  - {{name: a, when: {{branch: main, command: make}}, allow: {{role: '{ROLE}', "
         "env: 'GIT_*'}}\n", "variables-change-what-runs"),
        (f"  - {{name: a, when: {{branch: main, command: make}}, allow: {{role: '{ROLE}'}}}}\n",
         "plugins-beside-the-command"),
        (f"  - {{name: a, when: {{tag: 'v*'}}, allow: {{role: '{ROLE}'}}}}\n",
         "only-the-jobs-word"),
        (f"  - {{name: a, when: {{branch: '*', step: x}}, allow: {{role: '{ROLE}'}}}}\n",
         "only-the-jobs-word"),
        (f"  - {{name: a, when: {{branch: main, env: {{PATH: x}}}}, allow: {{role: '{ROLE}'}}}}\n",
         "condition-on-left-out-variable"),
        ("  - {name: a, allow: {image: 'node:22'}}\n", "image-without-digest"),
        ("  - {name: a, when: {plugin: docker}, allow: {}}\n", "plugin-without-version"),
        ("  - {name: a, allow: {}}\n  - {name: b, when: {branch: main}, allow: {}}\n",
         "unreachable"),
        ("  - {name: a, when: {branch: 'r*', pull-request: any}, allow: {}}\n"
         "  - {name: b, when: {branch: 'release/*', queue: x}, allow: {}}\n", "unreachable"),
        ("  - {name: a, when: {branch: ['*', '!main']}, allow: {}}\n"
         "  - {name: b, when: {branch: ['dev', '!main']}, allow: {}}\n", "unreachable"),
    ],
)  # fmt: skip
def test_a_policy_with_a_problem_has_its_finding(rules: str, identifier: str) -> None:
    finding = found(rules)[identifier]
    assert finding.fix
    assert finding.line == 3 + rules.count("\n")


def test_a_grant_beyond_the_guardrails_is_an_error() -> None:
    rules = f"  - {{name: a, when: {{branch: main}}, allow: {{role: '{ROLE}'}}}}\n"
    assert found(rules, "roles: []")["beyond-guardrail"].severity is Severity.ERROR
    assert found(rules, "roles: ['*']") == {}


@pytest.mark.parametrize(
    "rules",
    [
        f"  - {{name: a, when: {{branch: main}}, allow: {{role: '{DEPLOY}'}}}}\n",
        f"  - {{name: a, when: {{tag: 'v1.0', source: ui}}, allow: {{role: '{DEPLOY}'}}}}\n",
        f"  - {{name: a, when: {{branch: main, command: make, plugin: '!*'}}, "
        f"allow: {{role: '{ROLE}'}}}}\n",
        "  - {name: a, when: {plugin: '*', tag: 'v*', command: make}, allow: {}}\n",
        "  - {name: a, allow: {}}\n  - {name: b, when: {tag: '*'}, allow: {}}\n",
        "  - {name: a, when: {tag: '*'}, allow: {}}\n  - {name: b, allow: {}}\n",
        "  - {name: a, when: {pull-request: any}, allow: {workspace: fresh}}\n",
        f"  - {{name: a, when: {{branch: main}}, allow: {{role: '{ROLE}', env: NODE_OPTIONS}}}}\n",
        "  - {name: a, when: {command: make, env: {PATH: x}}, allow: {env: '*'}}\n",
        "  - {name: a, when: {creator-team: x, source: [webhook, ui]}, allow: {}}\n",
        "  - {name: a, when: {author-team: x, source: webhook}, allow: {}}\n",
        "  - {name: a, when: {plugin: ['docker#v5.*', '!evil']}, allow: {}}\n",
        f"  - {{name: a, allow: {{image: 'node@sha256:{'0' * 64}'}}}}\n",
        "  - {name: a, when: {branch: main}, allow: {}}\n  - {name: b, allow: {}}\n",
        "  - {name: a, when: {queue: x}, allow: {}}\n"
        "  - {name: b, when: {branch: main}, allow: {}}\n",
        "  - {name: a, when: {branch: ['*', '!main']}, allow: {}}\n"
        "  - {name: b, when: {branch: 'm*'}, allow: {}}\n",
        f"  - {{name: a, when: {{pull-request: same-repository}}, allow: {{role: '{ROLE}'}}}}\n",
        "  - {name: a, when: {env: {A: absent}}, allow: {}}\n"
        "  - {name: b, when: {env: {A: x}}, allow: {}}\n",
    ],
)
def test_a_policy_without_a_problem_has_no_finding(rules: str) -> None:
    assert found(rules) == {}


def test_misnamed_duplicate_and_unreadable_documents_are_found() -> None:
    one = policy("  - {name: a, allow: {}}\n")
    catalogue = Catalogue(
        policies=(replace(one, origin="p/storefront.yaml"), replace(one, origin="p/other.yaml")),
        unreadable=(Unreadable(origin="p/x.yaml", details=("p/x.yaml:7: unknown key",)),),
    )
    listed = [(finding.id, finding.line) for finding in lint(catalogue)]
    assert listed == [
        ("misnamed", 1), ("pipeline-twice", 1), ("pipeline-twice", 1), ("mistake", 7),
    ]  # fmt: skip


BRANCH = st.text("ab/*", min_size=1, max_size=4)
BRANCHES = st.lists(BRANCH | BRANCH.map("!".__add__), min_size=1, max_size=3)
KINDS = st.sampled_from(["no", "same-repository", "any"])
TAGS = st.sampled_from(["none", "'*'", "a", "[none, 'a*']", "'!a'", "[none, '!a']"])


@settings(suppress_health_check=[HealthCheck.filter_too_much])
@given(
    first=BRANCHES, second=BRANCHES, kinds=st.tuples(KINDS, KINDS), tags=st.tuples(TAGS, TAGS),
    branch=st.text("ab/", min_size=1, max_size=5), pull_request=st.sampled_from(["false", "7"]),
    tag=st.sampled_from(["", "a", "ab", "none"]),
)  # fmt: skip
def test_an_unreachable_rule_admits_no_job(
    *, first: list[str], second: list[str], kinds: tuple[str, str], tags: tuple[str, str],
    branch: str, pull_request: str, tag: str,
) -> None:  # fmt: skip
    quoted = [", ".join(f"'{pattern}'" for pattern in patterns) for patterns in (first, second)]
    both = policy(
        "".join(
            f"  - {{name: r{n}, allow: {{}}, "
            f"when: {{branch: [{patterns}], pull-request: {kind}, tag: {tagged}}}}}\n"
            for n, (patterns, kind, tagged) in enumerate(zip(quoted, kinds, tags, strict=True))
        )
    )
    env = {"BUILDKITE_BRANCH": branch, "BUILDKITE_PULL_REQUEST": pull_request, "BUILDKITE_TAG": tag}
    assume(shadows(*both.rules))
    decision = decide(claims(**env), both)
    assert isinstance(decision, Denied) or decision.rule == "r0"


@pytest.mark.parametrize(
    ("when", "unsigned", "signed"),
    [
        ("tag: 'v*'", True, False),
        ("branch: '*', step: x", True, False),
        ("tag: 'v*', env: {X: a}", True, False),
        ("branch: '*', env: {X: a}", True, True),
        ("branch: main, env: {X: a}", False, False),
        ("pull-request: no, author-team: x, repository: '*'", True, True),
        ("creator: Ada", True, True),
        ("creator-email: ada@example.com", False, False),
    ],
)
def test_a_grant_rests_on_the_jobs_word_by_the_grades_of_its_conditions(
    when: str, *, unsigned: bool, signed: bool
) -> None:
    catalogue = Catalogue(
        policies=(policy(f"  - {{name: a, when: {{{when}}}, allow: {{role: '{ROLE}'}}}}\n"),)
    )
    for on_signed_hosts, expected in ((False, unsigned), (True, signed)):
        found = {finding.id for finding in lint(catalogue, signed=on_signed_hosts)}
        assert ("only-the-jobs-word" in found) is expected

"""`builds` of a rule: its grammar, and what every tool makes of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.errors import WrongConfiguration
from bootstrap.policy.access_map import notes
from bootstrap.policy.builds_schema import OTHERS
from bootstrap.policy.decide import decide
from bootstrap.policy.difference.model import Kind
from bootstrap.policy.difference.parts import differences
from bootstrap.policy.difference.rails import guardrail_changes
from bootstrap.policy.granted import granted as as_json
from bootstrap.policy.guardrails import is_empty
from bootstrap.policy.model import Admitted, Builds, Decision, Denied, Grant
from bootstrap.policy.parse import parse_guardrails
from bootstrap.policy.reach import reach
from tests.policy.given import claims, policy
from tests.policy.test_cases import problem


def rule(allow: str) -> str:
    return f"  - {{name: only, when: {{pull-request: any}}, allow: {{{allow}}}}}\n"


def granted(allow: str) -> Grant:
    return policy(rule(allow)).rules[0].allow


def decided(rails: str, allow: str, **job: str) -> Decision:
    document = parse_guardrails(f"guardrails: acme\n{rails}", "guardrails.yaml")
    return decide(claims(**job), policy(rule(allow)), document)


def test_a_rule_names_what_builds() -> None:
    assert granted("").builds is None
    grant = granted("builds: buildkit")
    assert grant.builds is Builds.BUILDKIT
    assert as_json(grant)["builds"] == "buildkit"
    assert is_empty(grant), "it is no access to anything"


@given(st.text(max_size=12).filter(lambda text: text != "buildkit" and "\0" not in text))
def test_anything_else_is_a_mistake(text: str) -> None:
    quoted = "".join(f"\\U{ord(char):08x}" for char in text if not 0xD800 <= ord(char) < 0xE000)
    with pytest.raises(WrongConfiguration) as raised:
        granted(f'builds: "{quoted}"')
    assert "1 mistake" in raised.value.problem


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize(
    ("name", "alternative"),
    [
        ("none", "leave it out"),
        ("podman", "servers beside a job are `services`"),
        ("docker", "`docker build` and `docker compose build --push` work"),
        ("dind", "images are built by buildkit"),
        ("docker-in-docker", "images are built by buildkit"),
        ("kaniko", "buildkit builds the same Dockerfile"),
        ("buildah", "buildkit builds the same Dockerfile"),
        ("img", "buildkit builds the same Dockerfile"),
        ("buildx", "needs buildkit"),
        ("compose", "needs buildkit"),
        ("docker-compose", "needs buildkit"),
        ("Podman", "servers beside a job are `services`"),
    ],
)
def test_what_is_not_offered_is_refused_with_its_alternative(
    name: str, alternative: str, *, listed: bool
) -> None:
    rails = f"guardrails: acme\nbuilds: [buildkit, {name}]"
    with pytest.raises(WrongConfiguration) as raised:
        parse_guardrails(rails, "guardrails.yaml") if listed else granted(f"builds: {name}")
    (detail,) = raised.value.details
    assert ("builds[1]: " if listed else "allow.builds: ") in detail
    assert alternative in detail
    assert detail.endswith(f"; got '{name}'")


def test_each_of_them_is_one_sentence() -> None:
    assert all(len(why) < 200 and ". " not in why and why[0].islower() for why in OTHERS.values())


@pytest.mark.parametrize(
    ("rails", "allow", "admitted"),
    [
        ("", "builds: buildkit", True),
        ("builds: buildkit", "builds: buildkit", True),
        ("builds: []", "", True),
        ("builds: []", "builds: buildkit", False),
        ("scopes: [{name: s, pipelines: '*', builds: []}]", "builds: buildkit", False),
        ("builds: []\nscopes: [{name: s, pipelines: '*', builds: buildkit}]", "builds: buildkit",
         False),
        ("builds: buildkit\nscopes: [{name: s, pipelines: '*'}]", "builds: buildkit", True),
        ("scopes: [{name: s, pipelines: other}]", "", True),
    ],
)  # fmt: skip
def test_a_guardrail_limits_it(rails: str, allow: str, *, admitted: bool) -> None:
    decision = decided(rails, allow)
    assert isinstance(decision, Admitted) == admitted
    if isinstance(decision, Denied):
        (reason,) = [r for r in decision.reasons if r.subject.endswith("builds")]
        assert (reason.got, reason.expected) == ("buildkit", "nothing")


def test_a_pipeline_in_no_scope_has_none() -> None:
    decision = decided("scopes: [{name: s, pipelines: other}]", "builds: buildkit")
    assert isinstance(decision, Denied)
    assert "'scopes'" in decision.problem


@pytest.mark.parametrize(
    ("rails", "admitted", "widest"),
    [
        ("", False, "same-repository"),
        ("forks: nothing", False, "same-repository"),
        ("forks: refuse", False, "same-repository"),
        ("forks: anything", True, "any"),
        ("scopes: [{name: s, pipelines: '*', forks: anything}]", True, "any"),
    ],
)
def test_forks_build_nothing_unless_guardrails_say_so(
    rails: str, widest: str, *, admitted: bool
) -> None:
    """Code of anyone would reach more of the host's kernel, and share a cache with that of others.

    The decision and what reviewers are shown have to agree.
    """
    decision = decided(rails, "builds: buildkit", BUILDKITE_PULL_REQUEST="7")
    assert isinstance(decision, Admitted) == admitted
    if isinstance(decision, Denied) and rails != "forks: refuse":
        assert "image builds for a fork's pull request" in decision.problem
        assert "no builds" in decision.hint
    assert isinstance(decided(rails, "builds: buildkit"), Admitted)
    document = parse_guardrails(f"guardrails: acme\n{rails}", "guardrails.yaml")
    made = policy(rule("builds: buildkit"))
    assert reach(made.rules[0], document, made.pipeline).pull_requests == widest


def test_services_and_a_list_of_hosts_are_no_access_for_forks() -> None:
    allow = "services: {db: {image: ci/db}}, egress: none"
    assert isinstance(decided("", allow, BUILDKITE_PULL_REQUEST="7"), Admitted)


def test_a_workspace_in_which_forks_worked_is_not_used_once_a_rule_builds() -> None:
    apart = [decided("", allow) for allow in ("", "builds: buildkit")]
    assert isinstance(apart[0], Admitted)
    assert isinstance(apart[1], Admitted)
    assert apart[0].apart != apart[1].apart


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [("", "builds: buildkit", Kind.GAINS), ("builds: buildkit", "", Kind.LOSES)],
)
def test_a_comparison_says_in_which_direction_it_changes(old: str, new: str, kind: Kind) -> None:
    (found,) = differences(granted(old), granted(new))
    assert (found.kind, found.what) == (kind, "image builds")


def test_a_comparison_of_guardrails_says_so_too() -> None:
    none, one = (
        parse_guardrails(f"guardrails: acme\nbuilds: {v}", "g") for v in ("[]", "buildkit")
    )
    (found,) = guardrail_changes(none, one)
    assert (found.kind, found.what) == (Kind.GAINS, "guardrail builds")


def test_reviewers_see_it() -> None:
    assert list(notes(granted("builds: buildkit"))) == [("builds", "buildkit")]


@pytest.mark.parametrize(
    ("allow", "expect", "got"),
    [
        ("builds: buildkit", "{builds: buildkit}", ""),
        ("", "{builds: none}", ""),
        ("", "{builds: buildkit}", "expected builds 'buildkit', got 'none'"),
        ("builds: buildkit", "{builds: none}", "expected builds 'none', got 'buildkit'"),
    ],
)
def test_cases_can_expect_it(allow: str, expect: str, got: str) -> None:
    assert problem(policy(rule(allow)), "{}", expect) == got

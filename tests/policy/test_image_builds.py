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
from tests.policy.given import claims, policy
from tests.policy.test_cases import problem


def rule(allow: str) -> str:
    return f"  - {{name: only, when: {{pull-request: any}}, allow: {{{allow}}}}}\n"


def granted(allow: str) -> Grant:
    return policy(rule(allow)).rules[0].allow


def decided(rails: str, allow: str) -> Decision:
    document = parse_guardrails(f"guardrails: acme\n{rails}", "guardrails.yaml")
    return decide(claims(), policy(rule(allow)), document)


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

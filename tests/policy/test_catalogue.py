"""who-can: the catalogue of what the rules of all policies grant."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bootstrap.policy.catalogue import accesses, close_names, granted, who_can
from bootstrap.policy.decide import decide
from bootstrap.policy.model import Admitted
from bootstrap.policy.parse import parse_guardrails
from tests.policy.given import claims, policy
from tests.policy.samples import MAIN, OTHER, ROLE


def test_who_can_names_pipeline_rule_and_conditions() -> None:
    (access,) = who_can([MAIN], ROLE)
    assert (access.pipeline, access.rule, access.kind) == ("storefront", "deploy", "role")
    assert access.to == (
        "branch main or release/*", "tag none", "creator-team platform", "pull-request no",
    )  # fmt: skip
    assert who_can([MAIN], "*:role/ci/*") == (access,)
    assert who_can([MAIN], OTHER) == ()


RULES = st.lists(
    st.tuples(
        st.sampled_from(["main", "a*", "*", "!main"]),
        st.sampled_from(["no", "same-repository", "any"]),
        st.sampled_from([ROLE, OTHER, ""]),
    ),
    min_size=1,
    max_size=4,
)


@given(rules=RULES, branch=st.sampled_from(["main", "a", "ab", "b"]), fork=st.booleans())
def test_role_of_admitted_job_is_listed_by_who_can(
    rules: list[tuple[str, str, str]],
    branch: str,
    fork: bool,  # noqa: FBT001
) -> None:
    made = policy(
        "".join(
            f"  - {{name: r{n}, when: {{branch: '{pattern}', pull-request: {kind}}}, "
            f"allow: {{{f'role: {role!r}' if role else ''}}}}}\n"
            for n, (pattern, kind, role) in enumerate(rules)
        )
    )
    request = "7" if fork else "false"
    decision = decide(claims(BUILDKITE_BRANCH=branch, BUILDKITE_PULL_REQUEST=request), made)
    assume(isinstance(decision, Admitted) and decision.grant.role)
    assert isinstance(decision, Admitted)
    listed = who_can([made], str(decision.grant.role))
    assert decision.rule in {access.rule for access in listed}
    kinds = {access.pull_requests for access in listed if access.rule == decision.rule}
    assert not fork or kinds == {"any"}


def test_accesses_list_every_grant() -> None:
    assert {access.name for access in accesses([MAIN])} == {
        n for _, n in granted(MAIN.rules[0].allow)
    }


def test_a_role_that_is_assumed_first_is_listed_as_via() -> None:
    made = policy(
        f"  - {{name: a, when: {{branch: main}}, allow: {{role: '{ROLE}', "
        f"session: {{via: '{OTHER}'}}}}}}\n"
    )
    (access,) = who_can([made], OTHER)
    assert (access.rule, access.kind, access.pull_requests) == ("a", "via", "no")


NAMED = policy(
    f"  - name: a\n    allow:\n      role: {ROLE}\n      image: node:20\n"
    "      secrets:\n"
    "        A: secretsmanager:ci/c#key\n"
    "        B: ssm:/ci/b:3\n"
    "        C: ssm:arn:aws:ssm:us-east-1:111122223333:parameter/ci/x\n"
    "        D: secretsmanager:ci/whole\n"
)


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ("secretsmanager:ci/c", "secretsmanager:ci/c#key"),
        ("ssm:/ci/b", "ssm:/ci/b:3"),
        ("ssm:ci/b", "ssm:/ci/b:3"),
        ("ssm:/ci/x", "ssm:arn:aws:ssm:us-east-1:111122223333:parameter/ci/x"),
        ("arn:aws:ssm:us-east-1:111122223333:parameter/ci/b", "ssm:/ci/b:3"),
        ("ssm:arn:aws:ssm:eu-west-1:444455556666:parameter/ci/b", "ssm:/ci/b:3"),
        (
            "arn:aws:secretsmanager:us-east-1:111122223333:secret:ci/whole-AbCdEf",
            "secretsmanager:ci/whole",
        ),
        ("secretsmanager:ci/whole#user", "secretsmanager:ci/whole"),
        ("docker.io/library/node:20", "node:20"),
        ("node", "node:20"),
        (ROLE.replace("deploy", "Deploy"), ROLE),
        ("ssm:/ci/*", "ssm:/ci/b:3"),
        ("*key", "secretsmanager:ci/c#key"),
    ],
)
def test_a_name_is_found_in_every_spelling(wanted: str, name: str) -> None:
    assert name in {access.name for access in who_can([NAMED], wanted)}


@pytest.mark.parametrize(
    "wanted", ["secretsmanager:ci/c#other", "ssm:/ci/c", "node:21", f"{ROLE}-2", "!x", "", "ssm:"]
)
def test_another_name_is_not_found(wanted: str) -> None:
    assert who_can([NAMED], wanted) == ()


def test_names_that_contain_what_was_asked_are_close() -> None:
    assert close_names([NAMED], "deploy") == (ROLE,)
    assert close_names([NAMED], "ssm:/ci/bb") == ("ssm:/ci/b:3",)
    assert close_names([NAMED], "\0") == ()


RAILS = parse_guardrails(
    "guardrails: acme\naccounts: ['444455556666']\n"
    f"requires: [{{roles: '{OTHER}', branch: main, vouched: yes}}]\n",
    "guardrails.yaml",
)


def test_an_access_has_what_guardrails_refuse_of_it() -> None:
    made = policy(
        f"  - {{name: a, when: {{pull-request: any}}, allow: {{role: '{ROLE}'}}}}\n"
        f"  - {{name: b, when: {{env: {{X: a}}}}, allow: {{role: '{OTHER}'}}}}\n"
        f"  - {{name: c, when: {{pull-request: any}}, allow: {{role: '{OTHER}'}}}}\n"
        "  - {name: d, when: {pull-request: any}, allow: {image: 'node:20'}}\n"
    )
    first, second, third, image = who_can([made], "*", RAILS)
    assert first.refused == ("accounts: got 111122223333, allowed 444455556666",)
    assert second.refused == (
        "requires.[0]: got a condition on env X, which is only the job's word",
    )
    assert (third.refused, third.pull_requests) == ((), "same-repository")
    assert third.required == (
        "requires.[0]: branch main; tag none; pull-request no; only vouched facts",
    )
    assert (image.refused, image.required, image.pull_requests) == ((), (), "any")
    assert all(not access.refused for access in who_can([made], "*"))

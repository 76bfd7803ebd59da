"""The first policy of a pipeline: short, valid, and only its branch gets the role."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.errors import WrongConfiguration
from bootstrap.policy.cases import parse as parse_cases
from bootstrap.policy.decide import decide
from bootstrap.policy.first import OTHERS, first
from bootstrap.policy.model import Admitted, Denied
from bootstrap.policy.parse import parse
from tests.policy.given import claims

REPOSITORY = "git@github.com:acme/storefront.git"
ROLE = "arn:aws:iam::111122223333:role/ci/storefront-deploy"


def check(branch: str, role: str | None) -> None:
    made = first("storefront", REPOSITORY, branch=branch, role=role)
    policy = parse(made.policy, "storefront.yaml")
    assert len(made.policy.splitlines()) <= 10
    assert next(condition.patterns for condition in policy.rules[0].when) == (branch,)
    assert policy.rules[0].allow.role == role
    assert len(parse_cases(made.cases, "storefront.test.yaml").cases) == 4
    named = decide(claims(BUILDKITE_BRANCH=branch), policy)
    assert isinstance(named, Admitted)
    assert (named.rule, named.grant.role) == (branch, role)
    other = decide(claims(BUILDKITE_BRANCH="x" + branch), policy)
    assert isinstance(other, Admitted)
    assert (other.rule, other.grant.role) == (OTHERS, None)
    fork = claims(BUILDKITE_BRANCH=branch, BUILDKITE_PULL_REQUEST="7")
    assert isinstance(decide(fork, policy), Denied)


@pytest.mark.parametrize("role", [None, ROLE])
def test_the_first_policy_has_at_most_ten_lines_and_grants_only_the_branch(
    role: str | None,
) -> None:
    check("main", role)


@pytest.mark.parametrize("branch", ["yes", "1.0", "null", "a,b", "#x", "'q'", 'd"q', "Ünï", "{n}"])
def test_a_branch_that_yaml_could_misread_stays_text(branch: str) -> None:
    check(branch, ROLE)


@given(st.text(min_size=1, max_size=60), st.sampled_from([None, ROLE]))
def test_any_branch_becomes_a_policy_or_an_error(branch: str, role: str | None) -> None:
    try:
        first("storefront", REPOSITORY, branch=branch, role=role)
    except WrongConfiguration as refused:
        assert refused.hint
    else:
        check(branch, role)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"pipeline": "Store Front"}, "expected a slug"),
        ({"pipeline": "guardrails"}, "expected a slug"),
        ({"pipeline": "../etc"}, "expected a slug"),
        ({"repository": "/local"}, "expected a git URL"),
        ({"repository": "a\u200bb"}, "printable"),
        ({"role": "admin"}, "a role's ARN"),
        ({"branch": "release/*"}, "expected the name of one branch"),
        ({"branch": "!main"}, "expected the name of one branch"),
        ({"branch": "a: b"}, "as git allows it"),
        ({"branch": "refs/heads/main"}, "as git allows it"),
    ],
)
def test_a_value_that_no_policy_can_have_is_refused(values: dict[str, str], expected: str) -> None:
    given_values = {"pipeline": "storefront", "repository": REPOSITORY, "branch": "main", **values}
    with pytest.raises(WrongConfiguration) as refused:
        first(
            given_values["pipeline"],
            given_values["repository"],
            branch=given_values["branch"],
            role=given_values.get("role"),
        )
    error = refused.value
    assert expected in "\n".join((error.problem, *error.details))

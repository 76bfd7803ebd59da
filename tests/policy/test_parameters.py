"""Both layouts of SSM parameters, and every mistake in them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.errors import AirlockError, WrongConfiguration
from bootstrap.policy.decide import decide
from bootstrap.policy.model import Admitted, Denied, Policy
from bootstrap.policy.parameters import Parameter, compiled
from tests.policy.given import HEAD, claims

PATH = "/buildkite/pipelines/storefront"
ROLE = "arn:aws:iam::111122223333:role/ci/deploy"
REPOSITORY = "git@github.com:acme/storefront.git"


def parameters(**values: str) -> list[Parameter]:
    return [
        Parameter(name=name.replace("_", "-"), kind="String", value=value, version=number)
        for number, (name, value) in enumerate(values.items(), 1)
    ]


def policy(**values: str) -> Policy:
    found = compiled(PATH, "storefront", parameters(**values))
    assert found
    return found


def mistakes(**values: str) -> str:
    with pytest.raises(WrongConfiguration) as caught:
        compiled(PATH, "storefront", parameters(**values))
    return "\n".join(caught.value.details)


def test_a_repository_alone_admits_every_branch_and_no_pull_request() -> None:
    only = policy(repository=REPOSITORY)
    assert isinstance(decide(claims(BUILDKITE_BRANCH="x"), only), Admitted)
    assert isinstance(decide(claims(BUILDKITE_PULL_REQUEST="7"), only), Denied)
    other = claims(BUILDKITE_REPO="git@github.com:mallory/storefront.git")
    assert isinstance(decide(other, only), Denied)


def test_every_leaf_is_a_condition_or_the_role() -> None:
    full = policy(
        repository=REPOSITORY,
        branches="main,release/*",
        teams="platform, security",
        queues="deploy",
        role_arn=ROLE,
    )
    admitted = decide(claims(), full)
    assert isinstance(admitted, Admitted)
    assert admitted.rule == "parameters"
    assert admitted.grant.role == ROLE
    for wrong in (
        {"BUILDKITE_BRANCH": "feature"},
        {"BUILDKITE_BUILD_CREATOR_TEAMS": "everyone"},
        {"BUILDKITE_SOURCE": "webhook"},
        {"BUILDKITE_AGENT_META_DATA_QUEUE": "default"},
    ):
        assert isinstance(decide(claims(**wrong), full), Denied), wrong


def test_a_list_of_repositories_is_read_whole() -> None:
    both = policy(repository=f"https://github.com/acme/other,{REPOSITORY}")
    assert both.repositories == ("https://github.com/acme/other", REPOSITORY)


def test_the_origin_names_each_parameters_version() -> None:
    assert policy(branches="main", repository=REPOSITORY).origin == (
        f"ssm:{PATH} (branches:1, repository:2)"
    )
    assert policy(policy=HEAD + "  - {name: a, allow: {}}\n").origin == f"ssm:{PATH} (policy:1)"


def test_the_digest_changes_with_any_value_or_version() -> None:
    def digest(value: str, version: int) -> str:
        one = Parameter(name="repository", kind="String", value=value, version=version)
        found = compiled(PATH, "storefront", [one])
        assert found
        return found.digest

    assert len({digest(REPOSITORY, 1), digest(REPOSITORY, 2), digest(REPOSITORY + "x", 1)}) == 3


def test_other_parameters_alone_are_no_policy() -> None:
    assert compiled(PATH, "storefront", []) is None
    assert compiled(PATH, "storefront", parameters(npm_token="x", notes="y")) is None


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"branches": "main"}, "the parameter repository is missing"),
        ({"repository": "not a url"}, "repository: expected a git URL"),
        ({"repository": REPOSITORY, "branches": " , "}, "branches: expected at least 1 entry"),
        ({"repository": REPOSITORY, "role_arn": "deploy"}, "role-arn: expected a role's ARN"),
        ({"repository": REPOSITORY, "role_arn": f"{ROLE},{ROLE}"}, "role-arn: expected a role's"),
        ({"repository": REPOSITORY, "branchs": "main"}, 'did you mean "branches"?'),
        ({"repository": REPOSITORY, "branch": "main"}, 'did you mean "branches"?'),
        ({"repository": REPOSITORY, "team": "x"}, 'did you mean "teams"?'),
        ({"repositories": REPOSITORY}, 'did you mean "repository"?'),
        ({"repository": REPOSITORY, "role_arns": ROLE}, 'did you mean "role-arn"?'),
        ({"policy": HEAD, "branches": "main"}, "expected one of the layouts"),
    ],
)
def test_mistakes_name_the_parameter(values: dict[str, str], says: str) -> None:
    assert says in mistakes(**values)


@given(st.dictionaries(st.sampled_from(["repository", "branches", "teams", "role_arn"]), st.text()))
def test_random_values_raise_only_errors_with_details(values: dict[str, str]) -> None:
    try:
        compiled(PATH, "storefront", parameters(**values))
    except AirlockError as error:
        assert error.details

"""A draft admits what was observed, and no pull request that was not."""

from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.job.assemble import claims_of
from bootstrap.policy.decide import decide
from bootstrap.policy.draft import Observed, drafts
from bootstrap.policy.egress import MOST, EgressGrant
from bootstrap.policy.model import Admitted, Denied, Policy
from bootstrap.policy.parse import parse
from tests.job.given import job_env, process_env

DEFAULT = {"BUILDKITE_PIPELINE_DEFAULT_BRANCH": "main"}
FORK = {
    "BUILDKITE_PULL_REQUEST": "7",
    "BUILDKITE_PULL_REQUEST_REPO": "https://github.com/mallory/storefront.git",
}
OWN = {**FORK, "BUILDKITE_PULL_REQUEST_REPO": "https://github.com/acme/storefront.git"}


def drafted(*observed: dict[str, str]) -> Policy:
    return drafted_of(*(Observed(env=env) for env in observed))


def drafted_of(*observed: Observed) -> Policy:
    (document,) = drafts(observed).values()
    return parse(yaml.safe_dump(document, sort_keys=False), "draft.yaml")


def admitted(policy: Policy, env: dict[str, str]) -> bool:
    return isinstance(decide(claims_of(env, process_env()), policy), Admitted)


def test_each_observed_kind_of_job_becomes_one_rule() -> None:
    policy = drafted(
        job_env(**DEFAULT), job_env(**DEFAULT, BUILDKITE_BRANCH="dev"), job_env(**DEFAULT, **OWN)
    )
    assert [rule.name for rule in policy.rules] == [
        "the default branch", "other branches", "pull requests",
    ]  # fmt: skip
    assert not admitted(policy, job_env(**DEFAULT, **FORK))
    assert isinstance(
        decide(claims_of(job_env(BUILDKITE_REPO="git@x.com:a/b"), process_env()), policy), Denied
    )


def test_a_draft_of_the_default_branch_admits_no_other_branch_or_source() -> None:
    policy = drafted(job_env(**DEFAULT))
    assert admitted(policy, job_env(**DEFAULT))
    assert not admitted(policy, job_env(**DEFAULT, BUILDKITE_SOURCE="webhook"))
    assert not admitted(policy, job_env(**DEFAULT, BUILDKITE_BRANCH="dev"))


def test_each_pipeline_gets_a_draft_of_its_own() -> None:
    both = drafts(
        [Observed(env=job_env()), Observed(env=job_env(BUILDKITE_PIPELINE_SLUG="warehouse"))]
    )
    assert set(both) == {"storefront", "warehouse"}


ENVIRONMENTS = st.fixed_dictionaries(
    {
        "BUILDKITE_BRANCH": st.sampled_from(["main", "dev", "!x", "release/1", "Ünï"]),
        "BUILDKITE_SOURCE": st.sampled_from(["ui", "webhook", "schedule"]),
        "BUILDKITE_TAG": st.sampled_from(["", "v1", "!v", "none"]),
        "BUILDKITE_AGENT_META_DATA_QUEUE": st.sampled_from(["default", "deploy", ""]),
    }
)


@given(st.lists(st.tuples(ENVIRONMENTS, st.sampled_from([{}, OWN, FORK])), min_size=1, max_size=12))
def test_every_observed_job_is_admitted_by_its_draft(
    seen: list[tuple[dict[str, str], dict[str, Any]]],
) -> None:
    observed = [job_env(**DEFAULT, **env, **more) for env, more in seen]
    policy = drafted(*observed)
    for env in observed:
        assert admitted(policy, env), env


def test_a_masked_repository_becomes_one_without_credentials() -> None:
    """Records contain `https://***@…`: the credentials of the URL cannot be restored."""
    masked = job_env(**DEFAULT, BUILDKITE_REPO="https://***@github.com/acme/storefront.git")
    policy = drafted(masked)
    assert policy.repositories == ("https://github.com/acme/storefront.git",)


LISTS = st.builds(
    EgressGrant,
    hosts=st.lists(st.sampled_from(["a.example", "*.b.example", "c.example"])).map(tuple),
    cidrs=st.lists(st.sampled_from(["203.0.113.7/32", "198.51.100.0/24"])).map(tuple),
    private=st.lists(st.sampled_from(["10.1.2.3/32", "10.20.0.0/16"])).map(tuple),
)


@given(st.lists(LISTS, min_size=1, max_size=6))
def test_a_draft_lets_jobs_reach_what_all_of_the_kind_have_reached(
    lists: list[EgressGrant],
) -> None:
    env = job_env(**DEFAULT)
    policy = drafted_of(*(Observed(env=env, ran=True, reached=one) for one in lists))
    (rule,) = policy.rules
    assert rule.allow.egress is not None
    assert set(rule.allow.egress.hosts) == {host for one in lists for host in one.hosts}
    assert set(rule.allow.egress.networks) == {net for one in lists for net in one.networks}


def test_a_draft_has_no_list_unless_each_job_that_ran_was_observed() -> None:
    env = job_env(**DEFAULT)
    seen = Observed(env=env, ran=True, reached=EgressGrant(hosts=("a.example",)))
    branch = Observed(env=job_env(**DEFAULT, BUILDKITE_BRANCH="dev"), ran=True)
    policy = drafted_of(seen, Observed(env=env), branch)
    lists = {rule.name: rule.allow.egress for rule in policy.rules}
    assert lists == {
        "the default branch": EgressGrant(hosts=("a.example",)),
        "other branches": None,
    }
    assert drafted_of(seen, Observed(env=env, ran=True)).rules[0].allow.egress is None
    assert drafted_of(Observed(env=env)).rules[0].allow.egress is None
    many = (
        Observed(env=env, ran=True, reached=EgressGrant(hosts=(f"n{n}.example",)))
        for n in range(MOST + 1)
    )
    assert drafted_of(*many).rules[0].allow.egress is None, "longer than a rule may have it"

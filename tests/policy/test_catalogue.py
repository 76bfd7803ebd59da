"""who-can: the catalogue of what the rules of all policies grant."""

from hypothesis import assume, given
from hypothesis import strategies as st

from bootstrap.policy.catalogue import accesses, granted, who_can
from bootstrap.policy.decide import decide
from bootstrap.policy.model import Admitted
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
    assert {access.name for access in accesses([MAIN])} == {n for _, n in granted(MAIN.rules[0])}


def test_a_role_that_is_assumed_first_is_listed_as_via() -> None:
    made = policy(
        f"  - {{name: a, when: {{branch: main}}, allow: {{role: '{ROLE}', "
        f"session: {{via: '{OTHER}'}}}}}}\n"
    )
    (access,) = who_can([made], OTHER)
    assert (access.rule, access.kind, access.pull_requests) == ("a", "via", "no")

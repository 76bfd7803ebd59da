"""What roles and hosts may read: each pipeline its own secrets, and what guardrails allow."""

import pytest

from bootstrap.policy.iam.model import Document, Iam, Trust
from bootstrap.policy.model import Policy
from tests.fakes.iam_evaluation import Request, allows
from tests.policy.fleet import document, made
from tests.policy.samples import ROLE, rule


def statements(found: Iam) -> dict[str, Document]:
    return {s["Sid"]: s for part in found.host for s in part["Statement"]}


def reads(pipeline: str, secrets: str, more: str = "") -> Policy:
    own = f"{{role: '{ROLE}', secrets-with: role, secrets: {{{secrets}}}{more}}}"
    return document(pipeline, f"  - {{name: a, when: {{branch: main}}, allow: {own}}}\n")


def session_may(found: Iam, resource: str, **tags: str) -> bool:
    """Return whether a session of ROLE with these tags may read a parameter."""
    context = {f"aws:PrincipalTag/buildkite:{key}": value for key, value in tags.items()}
    asked = Request(action="ssm:GetParameters", resource=resource, principal=ROLE, context=context)
    return allows((found.roles[ROLE].policy or {},), asked)


def test_a_role_reads_with_its_own_policy_what_its_rule_reads_with_it() -> None:
    found = made(reads("storefront", "A: 'ssm:/ci/a'"))
    assert set(statements(found)) == {"AirlockSessions"}
    read = (found.roles[ROLE].policy or {})["Statement"]
    assert [s["Sid"] for s in read] == ["AirlockParameters", "AirlockParameterKeys"]
    assert read[0]["Resource"] == ["arn:aws:ssm:*:111122223333:parameter/ci/a"]


@pytest.mark.parametrize("trust", list(Trust))
def test_a_role_of_several_pipelines_reads_for_each_what_that_one_is_granted(trust: Trust) -> None:
    """A job has the session of the role, and can read with it what Airlock read with it."""
    found = made(
        reads("shop", "A: 'ssm:/ci/shop', B: 'ssm:/ci/both'"),
        reads("docs", "A: 'ssm:/ci/docs', B: 'ssm:/ci/both'"),
        document("plain", rule("a", "branch: main", ROLE)),
        trust=trust,
    )
    readers = {"shop": ("shop",), "docs": ("docs",), "both": ("shop", "docs")}
    for name, pipelines in readers.items():
        parameter = f"arn:aws:ssm:eu-west-1:111122223333:parameter/ci/{name}"
        for pipeline in ("shop", "docs", "plain"):
            assert session_may(found, parameter, pipeline=pipeline) is (pipeline in pipelines)
        assert not session_may(found, parameter)


def test_a_session_by_token_has_no_tags_and_reads_without_them() -> None:
    token = reads("docs", "A: 'ssm:/ci/docs'", ", session: {identity: buildkite}")
    found = made(token, reads("shop", "A: 'ssm:/ci/shop'"))
    parameter = "arn:aws:ssm:eu-west-1:111122223333:parameter/ci/"
    assert session_may(found, f"{parameter}docs")
    assert not session_may(found, f"{parameter}shop")
    note = f"{ROLE} reads ssm:/ci/docs for every pipeline that has it: a session by Buildkite's"
    assert note in str(found.notes)
    assert note not in str(made(token).notes)

"""What roles and hosts may read: each pipeline its own secrets, and what guardrails allow."""

import pytest

from bootstrap.errors import WrongConfiguration
from bootstrap.policy.iam.model import Document, Iam, Trust
from bootstrap.policy.model import Policy
from bootstrap.policy.parse import parse_guardrails
from tests.fakes.iam_evaluation import Request, allows
from tests.policy.fleet import document, made
from tests.policy.samples import HOST, ROLE, rule


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


SECRET = "arn:aws:secretsmanager:eu-west-1:999988887777:secret:{}"


@pytest.mark.parametrize(
    ("arn", "expected"),
    [("ci/db-AbC123", True), ("ci/db-root-AbC123", False), ("ci/db-AbC1234", False),
     ("ci/db", False)],
)  # fmt: skip
def test_a_secrets_name_does_not_stand_for_longer_names(arn: str, *, expected: bool) -> None:
    """Secrets Manager adds a hyphen and six characters to a name, and never more."""
    found = made(
        document("shop", "  - {name: a, allow: {secrets: {A: 'secretsmanager:ci/db#key'}}}\n")
    )
    assert may(found, "secretsmanager:GetSecretValue", SECRET.format(arn)) is expected


def test_an_arn_without_its_six_characters_is_completed() -> None:
    """Secrets Manager finds a secret by such an ARN, and IAM knows it by the whole one."""
    for name in ("ci/db", "ci/db-AbC123"):
        reference = f"secretsmanager:{SECRET.format(name)}"
        found = made(
            document("shop", f"  - {{name: a, allow: {{secrets: {{A: '{reference}'}}}}}}\n")
        )
        assert may(found, "secretsmanager:GetSecretValue", SECRET.format("ci/db-AbC123"))
        assert not may(found, "secretsmanager:GetSecretValue", SECRET.format("ci/db-x-AbC123"))


def may(found: Iam, action: str, resource: str) -> bool:
    return allows(found.host, Request(action=action, resource=resource, principal=HOST))


RAILS = """guardrails: acme
{more}scopes:
  - name: payments
    pipelines: "payments-*"
    roles: ["arn:aws:iam::*:role/ci/payments/*"]
    secrets: ["ssm:/payments/*", "!ssm:/payments/root"]
    images: ["111122223333.dkr.ecr.us-east-1.amazonaws.com/payments/*"]
  - name: everyone else
    pipelines: "*"
    roles: ["arn:aws:iam::*:role/ci/pipelines/{pipeline}/*"]
    secrets: ["ssm:/ci/{pipeline}/*", "secretsmanager:ci/{pipeline}/*"]
    images: ["111122223333.dkr.ecr.us-east-1.amazonaws.com/{pipeline}/*"]
"""


@pytest.mark.parametrize("more", ["", "secrets: ['*']\n", "images: ['*']\nsecrets: ['*', '!x']\n"])
def test_hosts_read_what_the_scopes_of_guardrails_allow_new_pipelines(more: str) -> None:
    rails = parse_guardrails(RAILS.replace("{more}", more), "guardrails.yaml")
    image = "111122223333.dkr.ecr.us-east-1.amazonaws.com/new/job@sha256:" + 32 * "ab"
    new = document(
        "new",
        f"  - {{name: a, when: {{branch: main}}, allow: {{image: '{image}', "
        "secrets: {A: 'ssm:/ci/new/a', B: 'secretsmanager:ci/new/b'}}}\n",
    )
    old = document("old", "  - {name: a, allow: {secrets: {A: 'ssm:/ci/old/a'}}}\n")
    before = made(old, trust=Trust.TAGS, guardrails=rails)
    assert before.host == made(old, new, trust=Trust.TAGS, guardrails=rails).host
    parameter = "arn:aws:ssm:us-east-1:999988887777:parameter"
    for action, resource in (
        ("ssm:GetParameters", f"{parameter}/ci/new/a"),
        ("ssm:GetParameters", f"{parameter}/payments/a"),
        ("secretsmanager:GetSecretValue", SECRET.format("ci/new/b-AbC123")),
        ("ecr:BatchGetImage", "arn:aws:ecr:us-east-1:111122223333:repository/new/job"),
    ):
        assert may(before, action, resource), resource
    assert not may(before, "ssm:GetParameters", f"{parameter}/other/a")
    assert not may(before, "ssm:GetParameters", f"{parameter}/ci/a")


@pytest.mark.parametrize(
    ("rails", "reference", "resource"),
    [
        # Neither glob can be an ARN of IAM's, or is one of another account than the name has.
        ("secrets: ['s*:/ci/*']", "ssm:/ci/a", "arn:aws:ssm:us-east-1:999988887777:parameter/ci/a"),
        ("secrets: ['ssm:*']", "ssm:arn:aws:ssm:us-east-1:444455556666:parameter/x",
         "arn:aws:ssm:us-east-1:444455556666:parameter/x"),
    ],
)  # fmt: skip
def test_what_a_glob_of_guardrails_does_not_give_is_named(
    rails: str, reference: str, resource: str
) -> None:
    policy = document("shop", f"  - {{name: a, allow: {{secrets: {{A: '{reference}'}}}}}}\n")
    read = parse_guardrails(f"guardrails: acme\n{rails}\n", "guardrails.yaml")
    assert may(made(policy, trust=Trust.TAGS, guardrails=read), "ssm:GetParameters", resource)


def test_an_image_that_a_glob_over_regions_allows_can_be_pulled() -> None:
    image = "111122223333.dkr.ecr.us-east-1.amazonaws.com/ci/job@sha256:" + 32 * "ab"
    policy = document("shop", f"  - {{name: a, allow: {{image: '{image}'}}}}\n")
    read = parse_guardrails(
        "guardrails: acme\nimages: '111122223333.dkr.ecr.*.amazonaws.com/ci/*'\n", "guardrails.yaml"
    )
    resource = "arn:aws:ecr:us-east-1:111122223333:repository/ci/job"
    assert may(made(policy, trust=Trust.TAGS, guardrails=read), "ecr:BatchGetImage", resource)


@pytest.mark.parametrize("trust", list(Trust))
def test_secrets_that_are_too_many_are_read_by_what_guardrails_allow(trust: Trust) -> None:
    listed = [
        document(
            f"p-{n}", f"  - {{name: a, allow: {{secrets: {{A: 'ssm:/ci/p-{n}/{'x' * 40}'}}}}}}\n"
        )
        for n in range(700)
    ]
    rails = parse_guardrails(RAILS.replace("{more}", ""), "guardrails.yaml")
    found = made(*listed, trust=trust, guardrails=rails)
    assert may(
        found, "ssm:GetParameters", f"arn:aws:ssm:x:999988887777:parameter/ci/p-9/{'x' * 40}"
    )
    assert len(found.host) == 1
    if trust is Trust.PIPELINES:
        with pytest.raises(WrongConfiguration, match="managed policies of 6,144") as refused:
            made(*listed)
        assert "`secrets`" in refused.value.hint
        assert "what the guardrails' `roles`, `secrets` and `images` allow" in found.notes[0]


def test_roles_of_scopes_stand_for_names_that_are_too_many() -> None:
    roles = [f"arn:aws:iam::111122223333:role/ci/pipelines/p-{n}/{'x' * 55}{n}" for n in range(900)]
    listed = [document(f"p-{n}", rule("a", "branch: main", role)) for n, role in enumerate(roles)]
    rails = parse_guardrails(RAILS.replace("{more}", ""), "guardrails.yaml")
    found = made(*listed, guardrails=rails)
    assert [s["Resource"] for s in statements(found).values()] == [
        ["arn:aws:iam::*:role/ci/pipelines/*/*"]
    ]

"""IAM documents from policies: what the hosts' role needs, and what other roles need."""

from datetime import timedelta

import pytest

from bootstrap.errors import WrongConfiguration
from bootstrap.policy.iam import quotas
from bootstrap.policy.iam.model import Document, HostNeeds, Iam, Trust
from bootstrap.policy.parse import parse_guardrails
from tests.fakes.iam_evaluation import Request, allows
from tests.policy.fleet import document, made
from tests.policy.given import policy
from tests.policy.samples import HOST, MAIN, OTHER, ROLE, SECRETS, rule

HUB = "arn:aws:iam::444455556666:role/hub"
PARAMETER = "arn:aws:ssm:eu-west-1:999988887777:parameter/ci/{}"
SECRET = "arn:aws:secretsmanager:eu-west-1:999988887777:secret:ci/b-AbCdEf"


def statements(found: Iam) -> dict[str, Document]:
    return {s["Sid"]: s for part in found.host for s in part["Statement"]}


def may(found: Iam, action: str, resource: str, **context: str) -> bool:
    named = {key.replace("__", ":"): value for key, value in context.items()}
    asked = Request(action=action, resource=resource, principal=HOST, context=named)
    return allows(found.host, asked)


def test_host_reads_secrets_of_rules_and_nothing_else() -> None:
    found = made(SECRETS)
    for name, expected in (("a", True), ("key", True), ("b", False), ("ab", False)):
        assert may(found, "ssm:GetParameters", PARAMETER.format(name)) == expected
    assert may(found, "secretsmanager:GetSecretValue", SECRET)
    other = PARAMETER.format("a").replace("999988887777", "111122223333")
    assert not may(found, "ssm:GetParameters", other)


KEY = "arn:aws:kms:eu-west-1:999988887777:key/0123abcd-0000-1111-2222-333344445555"


@pytest.mark.parametrize(
    ("service", "context", "value", "expected"),
    [
        ("ssm", "PARAMETER_ARN", PARAMETER.format("a"), True),
        ("ssm", "PARAMETER_ARN", PARAMETER.format("other"), False),
        ("secretsmanager", "SecretARN", SECRET, True),
        ("secretsmanager", "SecretARN", SECRET.replace("ci/b", "ci/c"), False),
        ("s3", "PARAMETER_ARN", PARAMETER.format("a"), False),
    ],
)
def test_host_decrypts_with_the_keys_of_these_secrets_by_way_of_their_service(
    service: str, context: str, value: str, *, expected: bool
) -> None:
    sent = {"kms__ViaService": f"{service}.eu-west-1.amazonaws.com",
            f"kms__EncryptionContext__{context}": value}  # fmt: skip
    assert may(made(SECRETS), "kms:Decrypt", KEY, **sent) is expected
    assert may(made(SECRETS, keys=(KEY,)), "kms:Decrypt", KEY, **sent) is expected
    assert not may(made(SECRETS, keys=(KEY[:-1],)), "kms:Decrypt", KEY, **sent)


@pytest.mark.parametrize(
    ("reference", "resource"),
    [
        ("ssm:/ci/a:3", "arn:aws:ssm:*:999988887777:parameter/ci/a"),
        ("ssm:name", "arn:aws:ssm:*:999988887777:parameter/name"),
        ("ssm:arn:aws:ssm:us-east-1:111122223333:parameter/x:label",
         "arn:aws:ssm:us-east-1:111122223333:parameter/x"),
        ("secretsmanager:arn:aws:secretsmanager:us-east-1:111122223333:secret:x-AbCdEf#key",
         "arn:aws:secretsmanager:us-east-1:111122223333:secret:x-AbCdEf"),
    ],
)  # fmt: skip
def test_secrets_have_the_arns_by_which_iam_knows_them(reference: str, resource: str) -> None:
    found = made(policy(f"  - {{name: a, allow: {{secrets: {{A: '{reference}'}}}}}}\n"))
    reading = [s for s in statements(found).values() if "Condition" not in s]
    assert [s["Resource"] for s in reading] == [[resource]]


def test_host_pulls_images_of_rules_and_its_own_from_ecr() -> None:
    ecr = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
    rules = f"  - {{name: a, allow: {{image: '{ecr}/ci/job@sha256:{'ab' * 32}'}}}}\n"
    rules += "  - {name: b, allow: {image: 'x:1'}}\n"
    found = statements(made(policy(rules), needs=HostNeeds(images=(f"{ecr}/default:1", "y"))))
    assert found["AirlockImages"]["Resource"] == [
        f"arn:aws:ecr:eu-west-1:111122223333:repository/{name}" for name in ("ci/job", "default")
    ]
    assert found["AirlockRegistries"]["Action"] == ["ecr:GetAuthorizationToken"]
    none = made(policy("  - {name: a, allow: {}}\n"), needs=HostNeeds(ecr=True))
    assert set(statements(none)) == {"AirlockRegistries"}


def test_host_reads_its_store_guardrails_and_the_logins_of_its_registries() -> None:
    store = {"Effect": "Allow", "Action": ["ssm:GetParametersByPath"], "Resource": ["arn:x"]}
    rails = {"Effect": "Allow", "Action": ["ssm:GetParameters"], "Resource": "arn:y"}
    needs = HostNeeds(statements=(store, rails), references=("ssm:/logins/registry",))
    found = made(policy("  - {name: a, allow: {}}\n"), needs=needs)
    assert statements(found)["AirlockPolicies"]["Resource"] == ["arn:x"]
    assert statements(found)["AirlockGuardrails"]["Resource"] == ["arn:y"]
    login = "arn:aws:ssm:eu-west-1:999988887777:parameter/logins/registry"
    assert may(found, "ssm:GetParameters", login)


def test_encrypted_policies_are_decrypted_with_the_keys_named() -> None:
    path = "arn:aws:ssm:*:*:parameter/buildkite"
    store = {"Effect": "Allow", "Action": ["ssm:GetParameters"], "Resource": [path, f"{path}/*"]}
    nothing, needs = policy("  - {name: a, allow: {}}\n"), HostNeeds(statements=(store,))
    sent = {"kms__ViaService": "ssm.eu-west-1.amazonaws.com",
            "kms__EncryptionContext__PARAMETER_ARN":
            "arn:aws:ssm:eu-west-1:999988887777:parameter/buildkite/shop/policy"}  # fmt: skip
    assert may(made(nothing, needs=needs, keys=(KEY,)), "kms:Decrypt", KEY, **sent)
    assert not may(made(nothing, needs=needs), "kms:Decrypt", KEY, **sent)


def test_a_document_that_cannot_be_divided_enough_is_refused() -> None:
    keys = tuple(f"{KEY}-{n}" for n in range(100))
    with pytest.raises(WrongConfiguration) as refused:
        made(SECRETS, keys=keys)
    assert refused.value.problem.startswith("managed policy 2 of ")
    assert "expected at most 6144" in refused.value.problem
    assert "Pass fewer --kms-key" in refused.value.hint


def test_a_role_that_logs_in_to_ecr_may_ask_for_the_login() -> None:
    registry = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
    own = f"{{role: '{ROLE}', registries: {{{registry}: role}}}}"
    (statement,) = (made(policy(f"  - {{name: a, allow: {own}}}\n")).roles[ROLE].policy or {})[
        "Statement"
    ]
    assert statement["Action"] == "ecr:GetAuthorizationToken"
    assert made(MAIN).roles[ROLE].policy is None


@pytest.mark.parametrize(
    ("session", "longest"),
    [
        ("{}", 1),
        ("{duration: 15m}", 1),
        ("{duration: 4h}", 4),
        ("{duration: 12h, identity: buildkite}", 12),
        (f"{{duration: 4h, via: '{HUB}'}}", 1),  # a chained role
        (f"{{duration: 4h, via: '{HUB}', identity: buildkite}}", 1),
    ],
)
def test_roles_allow_the_longest_session_that_rules_ask_for(session: str, longest: int) -> None:
    short = f"  - {{name: a, when: {{branch: x}}, allow: {{role: '{ROLE}'}}}}\n"
    long = f"  - {{name: b, allow: {{role: '{ROLE}', session: {session}}}}}\n"
    found = made(policy(short + long))
    assert found.roles[ROLE].longest == timedelta(hours=longest)
    assert ("STS issues an hour at a time" in str(found.notes)) == (session == "{duration: 4h}")


def test_documents_without_grants_are_none() -> None:
    found = made(policy("  - {name: a, allow: {}}\n"))
    assert (found.host, found.scp, dict(found.roles), found.accounts) == ((), (), {}, ())


def test_conditions_that_a_tokens_subject_does_not_name_are_noted() -> None:
    when = "branch: main, queue: deploy, creator-team: platform"
    allow = f"{{role: '{ROLE}', session: {{identity: buildkite}}}}"
    found = made(policy(f"  - {{name: a, when: {{{when}}}, allow: {allow}}}\n"))
    (note,) = found.notes
    assert note.startswith(f"{ROLE} trusts Buildkite's token")
    assert "conditions on queue, creator-team, pull-request" in note
    assert found.providers == ("111122223333",)


def test_without_organization_no_token_is_trusted() -> None:
    allow = f"{{role: '{ROLE}', session: {{identity: buildkite}}}}"
    found = made(policy(f"  - {{name: a, allow: {allow}}}\n"), organization=None)
    assert "organization:NAME-IT-WITH---organization:" in str(found.roles[ROLE].trust)
    assert f"{ROLE} trusts no token, because the organization is not known" in found.notes[0]


def via(name: str, when: str, role: str, first: str) -> str:
    allow = f"{{role: '{role}', session: {{via: '{first}'}}}}"
    return f"  - {{name: {name}, when: {{{when}}}, allow: {allow}}}\n"


@pytest.mark.parametrize(
    ("rules", "trust", "problem"),
    [
        (rule("a", "", "arn:aws:iam::111122223333:role/" + "x" * 65), "pipelines",
         "which rule 'a' of storefront names, has a name of 65 characters; IAM allows 1 to 64"),
        (rule("a", "", ROLE.removesuffix("deploy")), "pipelines", "a name of 0 characters"),
        (rule("a", "branch: x", ROLE) + rule("b", "", ROLE.replace("ci/d", "x/D")), "pipelines",
         "have the same name in one account"),
        (rule("a", "", "arn:aws:iam::111122223333:role/ci/pipelines/docs/d"), "tags",
         "which is by its path the own role of docs"),
        (via("a", "branch: x", ROLE, OTHER) + via("b", "", OTHER, ROLE), "pipelines",
         "2 roles cannot be deployed"),
        # A job with the session of HUB could ask for ROLE with the tags of any pipeline.
        (via("a", "branch: x", ROLE, HUB) + rule("b", "", HUB), "pipelines",
         f"rule 'b' of storefront gives jobs {HUB}, which may assume the roles of other jobs"),
        (via("a", "branch: x", ROLE, HUB) + rule("b", "", HUB), "tags",
         f"rule 'b' of storefront gives jobs {HUB}, which may assume the roles of other jobs"),
        (rule("a", "", HOST), "pipelines", f"gives jobs {HOST}, which may assume the roles"),
        (f"  - {{name: a, allow: {{role: '{HOST}', session: {{identity: buildkite}}}}}}\n",
         "pipelines", f"gives jobs {HOST}, which may assume the roles of other jobs"),
        (f"  - {{name: a, allow: {{roles: {{x: '{HOST}'}}}}}}\n", "pipelines",
         f"gives jobs {HOST}, which may assume the roles of other jobs"),
        (rule("a", "", "arn:aws-cn:iam::111122223333:role/deploy"), "pipelines",
         "is of the partition aws-cn, and the hosts' role of aws"),
        (f"  - {{name: a, allow: {{role: '{ROLE}', session: {{identity: buildkite}}}}}}\n", "tags",
         "that role would trust every job of the organization"),
    ],
)  # fmt: skip
def test_what_could_not_be_deployed_safely_is_refused(rules: str, trust: str, problem: str) -> None:
    with pytest.raises(WrongConfiguration) as refused:
        made(policy(rules), trust=Trust(trust))
    assert problem in refused.value.problem


def test_every_role_that_cannot_be_deployed_is_listed() -> None:
    long = "arn:aws:iam::111122223333:role/" + "x" * 65
    with pytest.raises(WrongConfiguration) as refused:
        made(policy(rule("a", "branch: x", long) + rule("b", "", f"{long}y")))
    assert refused.value.problem == "2 roles cannot be deployed"
    assert len(refused.value.details) == 2


def test_a_host_that_could_not_name_all_roles_assumes_what_guardrails_allow() -> None:
    roles = [f"arn:aws:iam::111122223333:role/ci/{'x' * 50}-{n}" for n in range(900)]
    listed = [document(f"p-{n}", rule("a", "", role)) for n, role in enumerate(roles)]
    with pytest.raises(WrongConfiguration) as refused:
        made(*listed)
    problem = refused.value.problem
    assert problem.startswith(f"{HOST} needs 14 managed policies of 6,144 characters; expected")
    assert problem.endswith("at most 10: p-100 alone needs 254, p-101 alone needs 254, p-102 alone "
                            "needs 254, and 897 other pipelines")  # fmt: skip
    text = "guardrails: acme\nroles: ['*', '!*:role/x', 'arn:aws:iam::*:role/ci/*']\n"
    found = made(*listed, guardrails=parse_guardrails(text, "guardrails.yaml"))
    assert statements(found)["AirlockSessions"]["Resource"] == ["arn:aws:iam::*:role/ci/*"]
    assert "the hosts' role may assume and read what the guardrails' `roles`" in found.notes[0]
    assert all(size.characters <= size.quota for size in found.sizes)
    assert len(found.scp) > 5
    assert f"There are {len(found.scp)} service control policies, and AWS attaches" in str(
        found.notes
    )


def test_a_rule_beyond_the_guardrails_gives_nothing_and_still_takes_its_jobs() -> None:
    rails = parse_guardrails(f"guardrails: acme\nroles: ['{ROLE}']\n", "guardrails.yaml")
    rules = policy(rule("beyond", "branch: main", OTHER) + rule("rest", ""))
    found = made(rules, guardrails=rails)
    assert set(found.roles) == {ROLE}
    assert found.notes[0].startswith("Rule 'beyond' of storefront exceeds the guardrail 'roles'")
    (first, _) = found.roles[ROLE].trust["Statement"]
    assert first["Condition"]["StringNotLike"] == {"aws:RequestTag/buildkite:branch": "main"}


def test_statements_are_divided_at_the_quota_and_none_is_lost() -> None:
    names = [f"arn:aws:iam::111122223333:role/role-{n}" for n in range(200)]
    need = quotas.Need(names=names, made=lambda some: {"Sid": "A", "Resource": some})
    for quota in (200, 333, 1000, 6144):
        parts = quotas.divided([need, need], quota)
        assert all(quotas.length(part) <= quota for part in parts)
        assert [r for part in parts for s in part["Statement"] for r in s["Resource"]] == names * 2
    assert len(quotas.divided([need], 6144)) == 2

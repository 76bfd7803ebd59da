"""IAM documents from policies: the host's policy, and who is trusted by each role."""

import pytest

from bootstrap.policy.iam import BRANCH, PIPELINE, iam
from tests.policy.given import policy
from tests.policy.samples import HOST, MAIN, ROLE, SECRETS, rule


def test_host_policy_allows_secrets_named_by_rules() -> None:
    statements = {s["Sid"]: s for s in iam([SECRETS], host_role=HOST).host["Statement"]}
    assert statements["AirlockParameters"]["Resource"] == [
        "arn:aws:ssm:*:*:parameter/ci/a", "arn:aws:ssm:*:*:parameter/ci/key",
    ]  # fmt: skip
    assert statements["AirlockSecrets"]["Resource"] == ["arn:aws:secretsmanager:*:*:secret:ci/b-*"]


def test_trust_policy_names_pipelines_and_branches_of_role() -> None:
    made = iam([MAIN], host_role=HOST)
    (statement,) = made.trust[ROLE]["Statement"]
    assert statement["Principal"] == {"AWS": HOST}
    assert statement["Condition"]["StringEquals"] == {PIPELINE: ["storefront"]}
    assert statement["Condition"]["StringLike"][BRANCH] == ["main", "release/*"]
    assert made.host["Statement"][0]["Resource"] == [ROLE]


@pytest.mark.parametrize("when", ["queue: x", "branch: ['*', '!main']", "branch: 'a?'"])
def test_trust_policy_omits_branches_that_iam_cannot_express(when: str) -> None:
    made = iam([policy(rule("deploy", when))], host_role=HOST)
    assert BRANCH not in str(made.trust)


def test_trust_policy_requires_what_sessions_of_rules_send() -> None:
    when = "branch: main}, allow: {session: {external-id: partner-7, source-identity: none}, role:"
    made = iam([policy(f"  - {{name: a, when: {{{when} '{ROLE}'}}}}\n")], host_role=HOST)
    condition = made.trust[ROLE]["Statement"][0]["Condition"]
    assert condition["StringEquals"]["sts:ExternalId"] == ["partner-7"]
    assert "sts:SourceIdentity" not in condition["StringLike"]


def test_host_policy_allows_pull_of_ecr_images() -> None:
    ecr = "111122223333.dkr.ecr.eu-west-1.amazonaws.com/ci/job@sha256:ab"
    rules = (
        f"  - {{name: a, allow: {{image: '{ecr}'}}}}\n  - {{name: b, allow: {{image: 'x:1'}}}}\n"
    )
    statements = {s["Sid"]: s for s in iam([policy(rules)], host_role=HOST).host["Statement"]}
    assert statements["AirlockImages"]["Resource"] == [
        "arn:aws:ecr:eu-west-1:111122223333:repository/ci/job"
    ]
    assert statements["AirlockRegistries"]["Action"] == ["ecr:GetAuthorizationToken"]


@pytest.mark.parametrize("organization", ["acme", None])
def test_trust_policy_of_web_identity_names_pipeline_and_organization(
    organization: str | None,
) -> None:
    when = "branch: main}, allow: {session: {identity: buildkite}, role:"
    documents = [policy(f"  - {{name: a, when: {{{when} '{ROLE}'}}}}\n")]
    made = iam(documents, host_role=HOST, organization=organization)
    (statement,) = made.trust[ROLE]["Statement"]
    (subject,) = statement["Condition"]["StringLike"]["agent.buildkite.com:sub"]
    named = organization or "NAME-IT-WITH---organization"
    assert subject == f"organization:{named}:pipeline:storefront:ref:refs/heads/main:commit:*"
    assert made.host["Statement"] == []
    (with_host,) = iam([MAIN], host_role=HOST).trust[ROLE]["Statement"]
    both = iam([*documents, MAIN], host_role=HOST, organization="acme")
    assert with_host in both.trust[ROLE]["Statement"]
    assert len(both.trust[ROLE]["Statement"]) == 2


def test_host_policy_omits_secrets_read_by_job_role() -> None:
    own = f"{{role: '{ROLE}', secrets-with: role, secrets: {{A: 'ssm:/ci/a'}}}}"
    made = iam([policy(f"  - {{name: a, allow: {own}}}\n")], host_role=HOST)
    assert [s["Sid"] for s in made.host["Statement"]] == ["AirlockSessions"]


def test_iam_documents_without_grants_allow_nothing() -> None:
    made = iam([policy("  - {name: a, allow: {}}\n")], host_role=HOST)
    assert made.host["Statement"] == made.scp["Statement"] == []

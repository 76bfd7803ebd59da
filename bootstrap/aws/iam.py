"""IAM's names for what Airlock does in AWS, and the statements that allow it."""

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from bootstrap.errors import CannotStart

ASSUME_ROLE = "sts:AssumeRole"
TAG_SESSION, SET_SOURCE_IDENTITY = "sts:TagSession", "sts:SetSourceIdentity"
SESSION = (ASSUME_ROLE, TAG_SESSION, SET_SOURCE_IDENTITY)  # allowed on both sides
WEB_IDENTITY = "sts:AssumeRoleWithWebIdentity"
SOURCE_IDENTITY, EXTERNAL_ID = "sts:SourceIdentity", "sts:ExternalId"  # condition keys
ISSUER, AUDIENCE = "agent.buildkite.com", "sts.amazonaws.com"  # of Buildkite's tokens for STS
SUBJECT = f"{ISSUER}:sub"  # condition key

LIST_PARAMETERS, READ_PARAMETERS = "ssm:GetParametersByPath", "ssm:GetParameters"
WRITE_PARAMETER, DELETE_PARAMETER = "ssm:PutParameter", "ssm:DeleteParameter"
READ_SECRET = "secretsmanager:GetSecretValue"  # noqa: S105 - the name of an action
DECRYPT = "kms:Decrypt"
LOGIN, PULL = "ecr:GetAuthorizationToken", ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")

Statement = dict[str, Any]


class Tag(StrEnum):
    """The session tags that Airlock sets. No rule may set them."""

    ORGANIZATION = "buildkite:organization"
    PIPELINE = "buildkite:pipeline"
    BRANCH = "buildkite:branch"
    TAG = "buildkite:tag"  # only of a build of a tag, whose branch has the tag's name
    BUILD = "buildkite:build"
    JOB = "buildkite:job"
    RULE = "buildkite:rule"

    @property
    def condition(self) -> str:
        """The condition key by which a policy reads the tag of an AssumeRole call."""
        return f"aws:RequestTag/{self}"

    @property
    def of_session(self) -> str:
        """The condition key by which a policy of the role reads the tag of its session."""
        return f"aws:PrincipalTag/{self}"


def allow(action: str | Sequence[str], resource: str | Sequence[str]) -> Statement:
    """Return the statement that allows the actions on the resources."""
    return {"Effect": "Allow", "Action": action, "Resource": resource}


def trusting_buildkite(role: str, subjects: Sequence[str], others: Sequence[str] = ()) -> Statement:
    """Return the statement by which a role trusts Buildkite's tokens of these subjects.

    Subjects in `others` are not trusted. A subject ends with the step's key, which a pipeline's
    author chooses and which may contain colons: `:commit:` in it must not look like the one after
    the branch.
    """
    _, partition, _, _, account, _ = role.split(":", 5)
    return {
        "Effect": "Allow",
        "Principal": {"Federated": provider(partition, account)},
        "Action": WEB_IDENTITY,
        "Condition": {
            "StringEquals": {f"{ISSUER}:aud": AUDIENCE},
            "StringLike": {SUBJECT: list(subjects)},
            "StringNotLike": {SUBJECT: [*others, "*:commit:*:commit:*"]},
        },
    }


def provider(partition: str, account: str) -> str:
    """Return the ARN of Buildkite as an identity provider of the account."""
    return f"arn:{partition}:iam::{account}:oidc-provider/{ISSUER}"


def missing(problem: str, *, role: str, statement: Mapping[str, Any]) -> CannotStart:
    """Return the error for a permission that `role` lacks, with the statement that grants it."""
    return CannotStart(
        problem,
        hint=f"Add this statement to the policy of {role}:",
        details=(json.dumps(statement),),
    )

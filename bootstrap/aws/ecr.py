"""Elastic Container Registry: the only caller of its API."""

from typing import TYPE_CHECKING

from bootstrap import images, logins
from bootstrap.aws.client import Caller, role_of
from bootstrap.aws.errors import Kind, kind
from bootstrap.aws.iam import LOGIN, allow, missing
from bootstrap.aws.service import Service
from bootstrap.errors import CannotStart
from bootstrap.host.config import Aws

if TYPE_CHECKING:
    from bootstrap.aws.model import Session

PATIENCE = 30.0


def login(aws: Aws, registry: str, caller: "Caller | Session") -> logins.Login:
    """Return a login of 12 hours for the registry, with the caller's permissions there.

    Raises CannotStart, with the statement to add if the permission is missing.
    """
    region = images.ecr_region(registry) or aws.region
    there = aws.model_copy(update={"region": region})
    service = Service("ecr", there, patience=PATIENCE, caller=caller)
    try:
        answer = service.call(lambda client: client.get_authorization_token())
    except Exception as failed:
        problem = f"ECR issued no login for {registry}: {failed}"
        if kind(failed) is Kind.FORBIDDEN:
            statement = allow(LOGIN, "*")
            raise missing(problem, role=role_of(caller), statement=statement) from failed
        hint = f"Check that this host can reach ECR in {region}."
        raise CannotStart(problem, hint=hint) from failed
    return logins.ecr_login(answer["authorizationData"][0]["authorizationToken"])

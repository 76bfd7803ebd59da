"""Logins at container registries, for the host's pulls and the job's: the only caller of ECR."""

import json
from typing import Any

from bootstrap import images, logins
from bootstrap.aws import secrets
from bootstrap.aws.client import Caller, connect
from bootstrap.aws.errors import code, is_transient
from bootstrap.aws.model import Session
from bootstrap.errors import CannotStart
from bootstrap.host.config import Aws, Host
from bootstrap.log import JobLog
from bootstrap.logins import Login
from bootstrap.retry import persist

PATIENCE = 30.0
_STATEMENT = {"Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"}


def ecr(aws: Aws, registry: str, caller: Caller | Session) -> Login:
    """Return a login of 12 hours for the registry, made with the caller's rights there.

    Raises CannotStart, with the statement to add where the permission lacks.
    """
    region = images.ecr_region(registry) or aws.region
    there = aws.model_copy(update={"region": region})
    client: Any = connect("ecr", there, endpoint=aws.ecr_endpoint, caller=caller)
    try:
        answer = persist(client.get_authorization_token, transient=is_transient, patience=PATIENCE)
    except Exception as failed:
        role = "the host's role" if isinstance(caller, Caller) else caller.role
        denied = code(failed).startswith("AccessDenied")
        raise CannotStart(
            f"ECR gave no login for {registry}: {failed}",
            hint=f"Add this statement to the policy of {role}:"
            if denied
            else f"Does ECR answer this host in {region}?",
            details=(json.dumps(_STATEMENT),) if denied else (),
        ) from failed
    return logins.ecr_login(answer["authorizationData"][0]["authorizationToken"])


def for_image(image: str, host: Host, log: JobLog) -> Login | None:
    """Return how the host logs in where the image is; None: as root's Docker configuration says.

    Raises as `ecr` and `secrets.fetch`.
    """
    registry = images.registry_of(image)
    way = host.registries.get(registry)
    if way is None and images.ecr_region(registry):
        way = logins.ECR
    if way is None or way == logins.DOCKER:
        return None
    if way == logins.ECR:
        found = ecr(host.aws, registry, Caller.HOST)
    else:
        found = logins.login(registry, secrets.fetch(host.aws, {registry: way})[registry])
    log.mask(*logins.shown(found))
    return found

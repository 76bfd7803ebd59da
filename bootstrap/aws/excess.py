"""What the host's role may read although no host needs it: asked with names that do not exist.

AWS decides about the permission before it looks for the name. So a role that is denied knows
nothing of it, and one that may read everything is answered that there is no such name.
"""

import secrets
from collections.abc import Callable, Iterator

from bootstrap.aws.client import Caller
from bootstrap.aws.errors import Kind, kind
from bootstrap.aws.secretsmanager import SecretsManager
from bootstrap.aws.ssm import ParameterStore
from bootstrap.host.config import Aws

_DENIED = {Kind.FORBIDDEN, Kind.FORBIDDEN_KEY}


def excess(aws: Aws, *, patience: float) -> Iterator[str]:
    """Yield the actions that the role may do on any resource. Raises as `Service.call`."""
    name = f"airlock-doctor-{secrets.token_hex(8)}"
    parameters = ParameterStore(aws, patience=patience)
    manager = SecretsManager(aws, patience=patience, caller=Caller.HOST)
    if _is_allowed(lambda: parameters.named([f"/{name}"])):
        yield "ssm:GetParameters on every parameter"
    if _is_allowed(lambda: manager.text(name)):
        yield "secretsmanager:GetSecretValue on every secret"


def _is_allowed(call: Callable[[], object]) -> bool:
    try:
        call()
    except Exception as failed:
        if kind(failed) in _DENIED:
            return False
        if kind(failed) is not Kind.ABSENT:
            raise
    return True

"""AWS Secrets Manager: the only caller of its API."""

from typing import TYPE_CHECKING

from bootstrap.aws.service import Service
from bootstrap.host.config import Aws

if TYPE_CHECKING:
    from bootstrap.aws.client import Caller
    from bootstrap.aws.model import Session


class SecretsManager:
    """Every call is retried for up to `patience` seconds."""

    def __init__(self, aws: Aws, *, patience: float, caller: "Caller | Session") -> None:
        self._service = Service("secretsmanager", aws, patience=patience, caller=caller)

    def text(self, name: str) -> str | None:
        """Return the secret's current text, None if it is binary. Raises as `Service.call`."""
        answer = self._service.call(lambda client: client.get_secret_value(SecretId=name))
        found: str | None = answer.get("SecretString")
        return found

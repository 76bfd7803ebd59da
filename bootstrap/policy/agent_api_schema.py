"""The grammar of `agent-api`: which calls of Buildkite's agent API the jobs of a rule may make."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

from bootstrap.agent_api.model import AgentApiGrant
from bootstrap.fields import ONE_OR_MANY
from bootstrap.forms import form
from bootstrap.policy.node import CONFIG

_SECRET = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,254}", re.ASCII)

Calls = Literal[
    "meta-data", "artifacts", "annotations", "pipeline-upload", "steps", "cancel", "other-builds",
    "caches",
]  # fmt: skip


def _audience(value: str) -> str:
    """A pattern would admit audiences that nobody has thought of."""
    if "*" in value or not value.isprintable() or value != value.strip():
        raise ValueError(
            'expected an audience as a job requests it, such as "sts.amazonaws.com", character '
            "for character: without `*`"
        )
    return value


Audience = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_audience)]
SecretKey = Annotated[
    str, AfterValidator(form(_SECRET.pattern, "the key of a Buildkite secret, as in NPM_TOKEN"))
]


class AgentApiNode(BaseModel):
    """What a job may call; its checkout's calls are always allowed, and nothing else by default."""

    model_config = CONFIG

    calls: Annotated[list[Calls], ONE_OR_MANY] = []
    oidc_audiences: Annotated[list[Audience], ONE_OR_MANY, Field(max_length=200)] = []
    secrets: Annotated[list[SecretKey], ONE_OR_MANY, Field(max_length=200)] = []

    def grant(self) -> AgentApiGrant:
        """Return the grant, in which each name is once."""
        allowed = {call.replace("-", "_"): True for call in self.calls}
        return AgentApiGrant(
            oidc_audiences=tuple(dict.fromkeys(self.oidc_audiences)),
            secrets=tuple(dict.fromkeys(self.secrets)),
            **allowed,
        )

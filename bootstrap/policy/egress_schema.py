"""The grammar of `egress`: what the jobs of a rule may reach, and what guardrails allow."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, model_validator

from bootstrap.fields import ONE_OR_MANY
from bootstrap.policy import egress
from bootstrap.policy.egress import EgressBounds, EgressGrant
from bootstrap.policy.node import CONFIG

INTERNET, NONE = "internet", "none"

_MANY = (ONE_OR_MANY, Field(max_length=egress.MOST))
Hosts = Annotated[list[Annotated[str, AfterValidator(egress.host_pattern)]], *_MANY]
Cidrs = Annotated[list[Annotated[str, AfterValidator(egress.public_network)]], *_MANY]
Private = Annotated[list[Annotated[str, AfterValidator(egress.private_network)]], *_MANY]


def _word(value: object) -> object:
    """`none` is an empty list, and `internet` no list at all."""
    if value == INTERNET:
        return None
    if isinstance(value, list) or (isinstance(value, str) and value != NONE):
        raise ValueError(
            f'expected "{INTERNET}", "{NONE}", or a mapping with hosts, cidrs, private or mode, as '
            "in `egress: {hosts: [github.com]}`"
        )
    return {} if value == NONE else value


class EgressNode(BaseModel):
    """What a job may reach; with `mode: observe` everything, and its log ends with a list."""

    model_config = CONFIG

    hosts: Hosts = []
    cidrs: Cidrs = []
    private: Private = []
    mode: Literal["enforce", "observe"] = "enforce"

    @model_validator(mode="after")
    def _either_a_list_or_observed(self) -> "EgressNode":
        if self.mode == "observe" and (self.hosts or self.cidrs or self.private):
            raise ValueError("expected no list with `mode: observe`, under which all is reached")
        return self

    def grant(self) -> EgressGrant:
        """Return the grant, in which each entry is once."""
        return EgressGrant(
            hosts=tuple(dict.fromkeys(self.hosts)),
            cidrs=tuple(dict.fromkeys(self.cidrs)),
            private=tuple(dict.fromkeys(self.private)),
            observe=self.mode == "observe",
        )


class EgressBoundsNode(BaseModel):
    """What rules may list. A key that is left out limits nothing."""

    model_config = CONFIG

    hosts: Hosts | None = None
    cidrs: Cidrs | None = None
    private: Private | None = None

    def bounds(self) -> EgressBounds:
        """Return the bounds."""
        return EgressBounds(
            hosts=None if self.hosts is None else tuple(self.hosts),
            cidrs=None if self.cidrs is None else tuple(self.cidrs),
            private=None if self.private is None else tuple(self.private),
        )


Egress = Annotated[
    EgressNode | None,
    BeforeValidator(_word, json_schema_input_type=Literal["internet", "none"] | EgressNode),
]

"""The grammar of `limits`: what one container may use of the machine."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field

from bootstrap.fields import PositiveSize
from bootstrap.policy.node import CONFIG


def _number(value: object) -> object:
    """Everything in the document is a string: pass pydantic's number types nothing else."""
    if not isinstance(value, str):
        raise ValueError("expected a number")  # noqa: TRY004 - pydantic reports ValueError
    return value


# What editors accept: YAML's numbers are numbers.
_NUMBER = BeforeValidator(_number, json_schema_input_type=str | float)


class LimitsNode(BaseModel):
    """What one job may use."""

    model_config = CONFIG

    memory: PositiveSize | None = None
    cpus: Annotated[float, _NUMBER, Field(gt=0, le=1024)] | None = None
    pids: Annotated[int, _NUMBER, Field(ge=64, le=1 << 22)] | None = None

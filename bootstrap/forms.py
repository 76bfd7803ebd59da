"""Values that people write in airlock.toml and in policies, each form read in one place.

A function takes what was written and returns the value; it raises ValueError that says what was
expected. The annotated types below are the same for pydantic.
"""

import re
from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator


def form(pattern: str, expected: str) -> Callable[[str], str]:
    """Return a check that the whole text matches `pattern`, whose ASCII classes are meant."""
    compiled = re.compile(pattern, re.ASCII)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(f"expected {expected}")
        return value

    return check


def _listed(value: object) -> object:
    return value if isinstance(value, list) else [value]


role_arn = form(
    r"arn:aws(-[a-z]+)*:iam::\d{12}:role/[\w+=,.@/-]{1,512}",
    "a role's ARN, such as arn:aws:iam::111122223333:role/name",
)
REFERENCE = r"(ssm|secretsmanager):[\w+=,.@/:#-]{1,1024}"
reference = form(REFERENCE, "a secret, as ssm:/path or secretsmanager:name")
registry = form(
    r"[a-z0-9.-]{1,253}(:[0-9]{1,5})?", "a registry's host, with its port if it has one"
)
variable = form(r"[A-Za-z_][A-Za-z0-9_]*", "a variable's name")

RoleArn = Annotated[str, AfterValidator(role_arn)]
Reference = Annotated[str, AfterValidator(reference)]
Registry = Annotated[str, AfterValidator(registry)]
Variable = Annotated[str, AfterValidator(variable)]
# Of the list that it annotates, a single entry need not be written as a list.
ONE_OR_MANY = BeforeValidator(_listed, json_schema_input_type=str | list[str])

"""Values that people write in airlock.toml and in policies, each form read in one place.

A function takes what was written and returns the value; it raises ValueError with what was
expected. The annotated types below are the same for pydantic.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, PlainValidator, WithJsonSchema

_SIZE = re.compile(r"(\d{1,7})\s*(KiB|MiB|GiB)", re.ASCII)
_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_DURATION = re.compile(r"(\d{1,5})(s|m|h|d)", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_STORE = re.compile(r"file:((?:/[^/]+)+)|ssm:((?:/[A-Za-z0-9_.-]+)+)")
_LEAST_MEMORY = 6 << 20  # bytes: Docker refuses less


def size(value: object) -> int:
    """Return the bytes of a size such as "512MiB"."""
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise ValueError('expected a size such as "512MiB" or "8GiB"')
    return int(found[1]) * _UNITS[found[2]]


def positive_size(value: object) -> int:
    """Return the bytes of a size above zero: to Docker and to a tmpfs, zero means no limit."""
    found = size(value)
    if found == 0:
        raise ValueError('expected a size above zero, such as "512MiB"')
    return found


def memory(value: object) -> int:
    """Return the bytes of a size that Docker takes as a memory limit."""
    found = size(value)
    if found < _LEAST_MEMORY:
        raise ValueError('expected a size of at least "6MiB", the least that Docker accepts')
    return found


def duration(value: object) -> int:
    """Return the seconds of a duration such as "30s", "15m" or "14d"."""
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise ValueError('expected a duration such as "30s", "15m", "1h" or "14d"')
    return int(found[1]) * _SECONDS[found[2]]


@dataclass(frozen=True, kw_only=True, slots=True)
class FileStore:
    """Policies in a directory, or guardrails in a file, of this host."""

    path: Path

    def __str__(self) -> str:
        return f"file:{self.path}"


@dataclass(frozen=True, kw_only=True, slots=True)
class SsmStore:
    """Policies below a path of SSM Parameter Store, or guardrails in one parameter."""

    path: str

    def __str__(self) -> str:
        return f"ssm:{self.path}"


Store = FileStore | SsmStore


def store(value: object) -> Store:
    """Return where "file:/path" or "ssm:/path" is."""
    found = _STORE.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise ValueError('expected "file:/path/on/this/host" or "ssm:/path/of/parameters"')
    return FileStore(path=Path(found[1])) if found[1] else SsmStore(path=found[2])


Check = Callable[[str], str]


def _listed(value: object) -> object:
    return value if isinstance(value, list) else [value]


def form(pattern: str, expected: str) -> Check:
    """Return a check that the whole text matches `pattern`, whose ASCII classes are meant."""
    compiled = re.compile(pattern, re.ASCII)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(f"expected {expected}")
        return value

    return check


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

Size = Annotated[int, BeforeValidator(size, json_schema_input_type=str)]
PositiveSize = Annotated[int, BeforeValidator(positive_size, json_schema_input_type=str)]
Memory = Annotated[int, BeforeValidator(memory, json_schema_input_type=str)]
Duration = Annotated[int, BeforeValidator(duration, json_schema_input_type=str)]
StoreLocation = Annotated[Store, PlainValidator(store, json_schema_input_type=str)]
RoleArn = Annotated[str, AfterValidator(role_arn)]
Reference = Annotated[str, AfterValidator(reference)]
Registry = Annotated[str, AfterValidator(registry)]
Variable = Annotated[str, AfterValidator(variable)]
RoleOrReference = Annotated[
    str,
    AfterValidator(form(f"role|{REFERENCE}", "'role', ssm:/path or secretsmanager:name")),
    WithJsonSchema({"anyOf": [{"const": "role", "type": "string"}, {"type": "string"}]}),
]
# Of the list that it annotates, a single entry need not be written as a list.
ONE_OR_MANY = BeforeValidator(_listed, json_schema_input_type=str | list[str])

"""Values that people write in airlock.toml and in policies, each form parsed in one place.

A function takes what was written and returns the value; it raises ValueError with what was
expected. In bootstrap/fields.py they are types for pydantic.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_SIZE = re.compile(r"(\d{1,7})\s*(KiB|MiB|GiB)", re.ASCII)
_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_DURATION = re.compile(r"(\d{1,5})(s|m|h|d)", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_STORE = re.compile(r"file:((?:/[^/]+)+)|ssm:((?:/[A-Za-z0-9_.-]+)+)")
_LEAST_MEMORY = 6 << 20  # bytes: Docker refuses less


def size(value: object) -> int:
    """Return the bytes of a size such as "512MiB"."""
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ValueError('expected a size such as "512MiB" or "8GiB"')
    return int(match[1]) * _UNITS[match[2]]


def positive_size(value: object) -> int:
    """Return the bytes of a size above zero: to Docker and to a tmpfs, zero means no limit."""
    byte_count = size(value)
    if byte_count == 0:
        raise ValueError('expected a size above zero, such as "512MiB"')
    return byte_count


def memory(value: object) -> int:
    """Return the bytes of a size that Docker takes as a memory limit."""
    byte_count = size(value)
    if byte_count < _LEAST_MEMORY:
        raise ValueError('expected a size of at least "6MiB", the least that Docker accepts')
    return byte_count


def duration(value: object) -> int:
    """Return the seconds of a duration such as "30s", "15m" or "14d"."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ValueError('expected a duration such as "30s", "15m", "1h" or "14d"')
    return int(match[1]) * _SECONDS[match[2]]


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
    """Return the location that "file:/path" or "ssm:/path" names."""
    match = _STORE.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ValueError('expected "file:/path/on/this/host" or "ssm:/path/of/parameters"')
    return FileStore(path=Path(match[1])) if match[1] else SsmStore(path=match[2])


Check = Callable[[str], str]


def form(pattern: str, expected: str) -> Check:
    """Return a check that the whole text matches `pattern`, with ASCII character classes.

    It is compiled when it is first needed, which for most jobs is never.
    """

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value, re.ASCII):
            raise ValueError(f"expected {expected}")
        return value

    return check


role_arn = form(
    r"arn:aws(-[a-z]+)*:iam::\d{12}:role/(?!/|.*//|(.*/)?\.\.?/)[\w+=,.@/-]{1,512}",
    "a role's ARN, such as arn:aws:iam::111122223333:role/name, without `//` and the segments `.` "
    "and `..`",
)
# No segment that another program would read as a way up or as nothing.
# SSM passes names below aws/reference/ on to Secrets Manager: another spelling of its secrets.
REFERENCE = (
    r"(?!(?i:ssm:(arn:[^/]*)?/?aws/reference/))"
    r"(ssm|secretsmanager):(?!.*//|(.*[:/])?\.\.?([/#:]|$))[\w+=,.@/:#-]{1,1024}"
)
reference = form(
    REFERENCE,
    "a secret, as ssm:/path or secretsmanager:name, without `..` and `//`; one of Secrets Manager "
    "not by way of ssm:/aws/reference",
)
registry = form(
    r"[a-z0-9.-]{1,253}(:[0-9]{1,5})?", "a registry's host, with its port if it has one"
)
variable = form(r"[A-Za-z_][A-Za-z0-9_]*", "a variable's name")
role_or_reference = form(f"role|{REFERENCE}", "'role', ssm:/path or secretsmanager:name")

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_PORT = ":[0-9]{1,5}"
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
# Docker takes a name of hexadecimal digits, or `sha256:` and such, for the beginning of an image's
# id: any image that is on the host, whatever it is called. Capitals before the first slash are a
# host to some of its versions.
image = form(
    r"(?!(?:sha256:)?[0-9a-f]+$)(?=.{1,512}$)"
    rf"(?:(?:{_LABEL}(?:\.{_LABEL})+(?:{_PORT})?|{_LABEL}{_PORT}|localhost)/)?"
    rf"{_PART}(?:/{_PART})*(?::\w[\w.-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?",
    "an image such as repository:tag or repository@sha256:<64 digits>, in lower case; a name of "
    "hexadecimal digits only needs a tag",
)

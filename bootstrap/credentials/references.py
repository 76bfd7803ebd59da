"""Where a secret is: `ssm:/path`, `secretsmanager:name` or `secretsmanager:name#key`."""

import json
from dataclasses import dataclass

from bootstrap.errors import WrongConfiguration
from bootstrap.secret import Secret


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """One secret. `key` is the member of a JSON object, None for the whole value."""

    text: str
    service: str  # ssm or secretsmanager
    name: str
    key: str | None


def parse(text: str) -> Reference:
    """Read a reference; policy.schema has already checked its form."""
    service, _, rest = text.partition(":")
    name, mark, key = rest.partition("#")
    return Reference(text=text, service=service, name=name, key=key if mark else None)


def member(reference: Reference, value: str) -> Secret:
    """Return the part of the stored value that the reference means. Raises WrongConfiguration."""
    if reference.key is None:
        return Secret(value)
    try:
        found = json.loads(value)[reference.key]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise wrong(reference, f"holds no JSON object with the key {reference.key!r}") from None
    if not isinstance(found, str | int | float) or isinstance(found, bool):
        raise wrong(reference, f"has no text at the key {reference.key!r}")
    return Secret(str(found))


def wrong(reference: Reference, what: str) -> WrongConfiguration:
    """Return the error that states what is wrong with a secret, and never its value."""
    return WrongConfiguration(
        f"the secret {reference.text} {what}",
        hint="Correct the reference in allow of the rule, or the secret itself.",
    )

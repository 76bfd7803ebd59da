"""The versions of a store's parameters, in a file: `push` writes only over what a person has seen.

{"version": 1, "store": "/buildkite/pipelines", "parameters": {"/buildkite/…/policy": 3}}
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootstrap.errors import WrongConfiguration

NAME = ".airlock-versions.json"  # in a directory that `pull` wrote
_FORMAT = 1
_MOST = 16 << 20  # bytes: far more than an account can have parameters


@dataclass(frozen=True, kw_only=True, slots=True)
class Versions:
    """The version of each parameter of ours below `store` at one time; of no other one."""

    store: str
    parameters: Mapping[str, int]

    def content(self) -> bytes:
        """Return the file's content."""
        document = {"version": _FORMAT, "store": self.store, "parameters": dict(self.parameters)}
        return f"{json.dumps(document, indent=1, sort_keys=True)}\n".encode()


def read(path: Path) -> Versions | None:
    """Return the versions in a file, None if there is no file. Raises WrongConfiguration."""
    try:
        with path.open("rb") as file:
            content = file.read(_MOST + 1)
    except FileNotFoundError:
        return None
    except OSError as failed:
        raise _wrong(path, f"cannot be read: {failed.strerror}") from failed
    try:
        return _versions(json.loads(content))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as malformed:
        raise _wrong(path, "is not what `airlock policy diff` or `pull` wrote") from malformed


def _versions(document: Any) -> Versions:  # noqa: ANN401 - is JSON
    if document["version"] != _FORMAT or not isinstance(document["store"], str):
        raise ValueError
    parameters = document["parameters"].items()
    if not all(type(version) is int for _, version in parameters):
        raise ValueError
    return Versions(store=document["store"], parameters=dict(parameters))


def _wrong(path: Path, what: str) -> WrongConfiguration:
    return WrongConfiguration(
        f"the file of versions {path} {what}",
        hint="Write it again with `airlock policy diff store DIR --save-versions FILE` or `pull`, "
        "and review the changes: it says what the store had when somebody last looked at it.",
    )

"""What an input is, by its name and its content."""

import json
import re
from typing import Any

from bootstrap.replay.model import Kind

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_OF_RECORD = frozenset({"schema", "events", "started"})  # a record of any schema has one of them
_ASSIGNMENT = re.compile(rb"^[A-Za-z_][A-Za-z0-9_]*=", re.MULTILINE)
_STEPS = re.compile(rb"^steps[ \t]*:|^- ", re.MULTILINE)


def is_url(source: str) -> bool:
    """Return whether this is a URL, and not a path."""
    return _URL.match(source) is not None


def document_of(data: bytes) -> Any:  # noqa: ANN401 - JSON
    """Return the JSON of `data`, None if it is something else.

    Raises ValueError if it begins as a JSON object and is not one.
    """
    if not data.lstrip().startswith(b"{"):
        return None
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def kind_of(data: bytes) -> Kind | None:
    """Return what this is the content of, None if that is not certain.

    Raises ValueError as `document_of`.
    """
    document = document_of(data)
    if document is not None:
        return _of_json(document)
    if b"\0" in data:
        return None
    is_env, is_pipeline = _ASSIGNMENT.search(data), _STEPS.search(data)
    if bool(is_env) == bool(is_pipeline):
        return None
    return Kind.ENV if is_env else Kind.STEP


def _of_json(document: Any) -> Kind | None:  # noqa: ANN401 - JSON
    if not isinstance(document, dict):
        return None
    if isinstance(document.get("steps"), list):
        return Kind.STEP
    if isinstance(document.get("env"), dict):
        return Kind.RECORD if _OF_RECORD & document.keys() else Kind.ENV
    return Kind.ENV if all(isinstance(value, str) for value in document.values()) else None

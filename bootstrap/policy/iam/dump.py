"""What `aws iam get-account-authorization-details` prints, whatever form IAM has it in."""

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote


def as_list(value: Any) -> list[Any]:  # noqa: ANN401 - IAM allows one or a list everywhere
    """Return the value as a list."""
    return value if isinstance(value, list) else [value]


def mappings(value: Any) -> Iterator[Mapping[str, Any]]:  # noqa: ANN401 - JSON
    """Yield what is an object of a value that should be a list of objects."""
    yield from (each for each in as_list(value) if isinstance(each, Mapping))


def allowing(document: Any) -> Iterator[Mapping[str, Any]]:  # noqa: ANN401 - JSON
    """Yield the statements of a document that allow something; IAM may encode it as in a URL."""
    if isinstance(document, str):
        try:
            document = json.loads(unquote(document))
        except ValueError:
            return
    if isinstance(document, Mapping):
        for statement in mappings(document.get("Statement", [])):
            if statement.get("Effect") == "Allow":
                yield statement


def condition_of(statement: Mapping[str, Any]) -> str:
    """Return the condition as JSON in which equal conditions are equal: lists are sorted."""
    return json.dumps(_normal(statement.get("Condition", {})), sort_keys=True)


def _normal(value: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, Mapping):
        return {str(key): _normal(each) for key, each in value.items()}
    return sorted(map(str, as_list(value)))

"""What pydantic found wrong with a document, in plain words."""

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from bootstrap import grammar
from bootstrap.text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

_KEY = "[key]"  # how pydantic marks an error that is about a key, not about its value

# pydantic's error type -> what was expected, with the fields of its context
_EXPECTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dataclass_type": "a mapping of names to values",
    "dict_type": "a mapping of names to values",
    "enum": "{expected}",
    "finite_number": "a finite number",
    "float_parsing": "a number",
    "float_type": "a number",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "{ge:g} or more",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a smaller whole number",
    "int_type": "a whole number",
    "ip_v4_address": 'an IPv4 address such as "10.0.0.2"',
    "ip_v4_network": 'an IPv4 network such as "198.18.240.0/20"',
    "less_than": "less than {lt:g}",
    "less_than_equal": "{le:g} or less",
    "list_type": "a list",
    "literal_error": "{expected}",
    "model_attributes_type": "a mapping of names to values",
    "model_type": "a mapping of names to values",
    "path_type": "a path",
    "string_too_long": "at most {max_length} characters",
    "string_too_short": "text that is not empty",
    "string_type": "text",
    "string_unicode": "text in UTF-8",
    "too_long": "at most {max_length} entries",
    "too_short": "at least {min_length} entry",
    "tuple_type": "a list",
}

# What people write who come from other tools -> what has that place in Airlock's documents.
_ELSEWHERE = {
    "docker": "jobs have no Docker Engine; see `services` and `builds`",
    "environment": "variables are `env`",
    "healthcheck": "when a service is ready is `ready`",
    "ports": "ports are not listed: a job reaches those of a host or a service that it may reach",
    "volumes": "nothing is mounted; directories in memory are `tmpfs`",
}


def explain(error: "ErrorDetails", schema: grammar.Schema) -> str:
    """Return one line: where, what was expected and what was found.

    `schema` is the JSON schema of the document: it has the keys that are possible there.
    """
    path = error["loc"]
    if path and path[-1] == _KEY:
        return _at(path[:-2], f'the key "{printable(str(path[-2]))}": {_expected(error)}')
    match error["type"]:
        case "missing":
            return f"{place(path)} is missing"
        case "extra_forbidden" | "unexpected_keyword_argument":
            return _at(path[:-1], _unknown(str(path[-1]), path[:-1], schema))
        case "value_error" if isinstance(error["input"], dict):  # about several keys of it
            return _at(path, _expected(error))
        case "dataclass_type" | "model_type" if keys := grammar.keys(schema, path):
            expected = f"expected a mapping with any of the keys {', '.join(keys)}"
            return _at(path, f"{expected}; got {_got(error['input'])}")
        case _:
            return _at(path, f"{_expected(error)}; got {_got(error['input'])}")


def place(path: tuple[str | int, ...]) -> str:
    """Return a path as it is written: rules[0].when.branch."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return printable("".join(steps).removeprefix("."))


def _at(path: tuple[str | int, ...], text: str) -> str:
    return f"{place(path)}: {text}" if path else text


def _unknown(key: str, path: tuple[str | int, ...], schema: grammar.Schema) -> str:
    name = key.replace("_", "-")
    here = grammar.keys(schema, path)
    close = get_close_matches(name, here, n=1)
    elsewhere = grammar.places(schema, name)
    if key in _ELSEWHERE and grammar.places(schema, "services"):  # a policy
        hints = [_ELSEWHERE[key]]
    else:
        hints = [f'did you mean "{close[0]}"?'] if close else []
        if elsewhere:
            where = elsewhere[0] or "the document itself"
            hints.append(f'"{printable(name)}" belongs to {where}')
        if here and not hints:
            hints.append(f"expected one of {', '.join(here)}")
    hint = f"; {' '.join(hints)}" if hints else ""
    return f'unknown key "{printable(key)}"{hint}'


def _expected(error: "ErrorDetails") -> str:
    context: Mapping[str, Any] = error.get("ctx", {})
    if error["type"] in _EXPECTED:
        return f"expected {_EXPECTED[error['type']].format(**context)}"
    return error["msg"].removeprefix("Value error, ")


def _got(value: object) -> str:
    match value:
        case dict():
            return "a mapping" if value else "an empty mapping"
        case list() | tuple():
            return "a list" if value else "an empty list"
        case "" | None:
            return "nothing"
        case _:
            return repr(printable(str(value), limit=80))

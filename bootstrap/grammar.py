"""The keys that a document may have at each place, by its JSON schema."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

Schema: TypeAlias = Mapping[str, Any]
Path: TypeAlias = tuple[str | int, ...]

_ENTRY = "[]"
_ANY_NAME = "NAME"


def keys(schema: Schema, path: Path) -> tuple[str, ...]:
    """Return the keys of the mapping at `path`, in the order of the schema.

    There are none where names are free, and where the schema has no mapping.
    """
    nodes = list(_alternatives(schema, schema))
    for step in path:
        nodes = [below for node in nodes for below in _below(schema, node, step)]
    return tuple(dict.fromkeys(key for node in nodes for key in node.get("properties", ())))


def places(schema: Schema, key: str) -> tuple[str, ...]:
    """Return where the document may have this key, as in rules[].allow; the shortest come first."""
    found = {place for place, node in _mappings(schema) if key in node["properties"]}
    return tuple(sorted(found, key=lambda place: (len(place), place)))


def _alternatives(schema: Schema, node: Schema) -> Iterator[Schema]:
    """Yield what a value may be, with references followed."""
    if "$ref" in node:
        yield from _alternatives(schema, schema["$defs"][node["$ref"].rpartition("/")[2]])
    elif "anyOf" in node:
        for one in node["anyOf"]:
            yield from _alternatives(schema, one)
    else:
        yield node


def _below(schema: Schema, node: Schema, step: str | int) -> Iterator[Schema]:
    if isinstance(step, int):
        found = node.get("items")
    else:
        found = node.get("properties", {}).get(step, node.get("additionalProperties"))
    if isinstance(found, Mapping):
        yield from _alternatives(schema, found)


def _mappings(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """Yield each mapping with fixed keys, and where it is. No grammar contains itself."""
    waiting = [("", node) for node in _alternatives(schema, schema)]
    while waiting:
        place, node = waiting.pop()
        if "properties" in node:
            yield place.removeprefix("."), node
        for end, below in _children(node):
            waiting += [(place + end, one) for one in _alternatives(schema, below)]


def _children(node: Schema) -> Iterable[tuple[str, Schema]]:
    children = [(f".{name}", below) for name, below in node.get("properties", {}).items()]
    children += [(_ENTRY, node.get("items")), (f".{_ANY_NAME}", node.get("additionalProperties"))]
    return [(end, below) for end, below in children if isinstance(below, Mapping)]

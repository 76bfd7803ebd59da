"""The meta-data of a replayed build, in memory."""

from collections.abc import Mapping
from typing import Any

from bootstrap.agent_api.model import Answer, Call, MalformedError, json_answer, problem
from bootstrap.agent_api.routes import Kind

MAX_KEYS = 10_000
MAX_BYTES = 64 << 20  # of all keys and values
MAX_VALUE = 100 << 10  # bytes, as at Buildkite


class MetaData:
    """Keys and values; its callers take turns."""

    def __init__(self, known: Mapping[str, str]) -> None:
        self.values = dict(known)

    def answer(self, call: Call) -> Answer:
        """Answer a call about meta-data. Raises MalformedError."""
        document = call.document()
        match call.route.kind, call.route.name:
            case Kind.META_DATA_SET, _:
                return self._set([document])
            case Kind.META_DATA_SET_BATCH, _:
                items = document.get("items")
                if not isinstance(items, list) or not all(isinstance(one, dict) for one in items):
                    raise MalformedError("'items' is not a list of keys and values")
                return self._set(items)
            case _, "keys":
                return json_answer(sorted(self.values))
            case _, "exists":
                return json_answer({"exists": _text(document, "key") in self.values})
            case _:
                return self._get(_text(document, "key"))

    def _get(self, key: str) -> Answer:
        if key not in self.values:
            return problem(404, f"No key {key!r} found")
        return json_answer({"key": key, "value": self.values[key]})

    def _set(self, items: list[dict[str, Any]]) -> Answer:
        """Set all or none of them."""
        changed = {_text(one, "key"): _value(one) for one in items}
        after = {**self.values, **changed}
        size = sum(len(key) + len(value) for key, value in after.items())
        if len(after) > MAX_KEYS or size > MAX_BYTES:
            return problem(
                422, f"a build has at most {MAX_KEYS} keys and {MAX_BYTES} bytes of them"
            )
        self.values = after
        return json_answer({})


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise MalformedError(f"{name!r} is not a text")
    return value


def _value(document: Mapping[str, Any]) -> str:
    """Return a value that is not blank: Buildkite accepts no other."""
    value = document.get("value", "")
    if not isinstance(value, str) or not value.strip():
        raise MalformedError("'value' is not a text, or is blank")
    if len(value.encode("utf-8", "replace")) > MAX_VALUE:
        raise MalformedError(f"'value' has more than {MAX_VALUE} bytes")
    return value

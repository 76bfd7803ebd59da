"""The one step that a replay has: its attributes, read and updated."""

import json
from collections.abc import Mapping

from bootstrap.agent_api.model import Answer, Call, MalformedError, OwnIds, json_answer, problem
from bootstrap.agent_api.routes import Kind

MAX_ATTRIBUTES = 100
MAX_VALUE = 1 << 20  # characters


class Steps:
    """Its callers take turns."""

    def __init__(self, own: OwnIds, env: Mapping[str, str]) -> None:
        self._own = own
        self._names = {own.step, env.get("BUILDKITE_STEP_KEY", "")} - {""}
        self.attributes = {
            "id": own.step,
            "key": env.get("BUILDKITE_STEP_KEY", ""),
            "label": env.get("BUILDKITE_LABEL", ""),
            "command": env.get("BUILDKITE_COMMAND", ""),
            "state": "running",
            "outcome": "neutral",
        }

    def answer(self, call: Call) -> Answer:
        """Answer a call about a step. Raises MalformedError."""
        document = call.document()
        if call.route.step not in self._names or document.get("build_id", "") != self._own.build:
            names = " or ".join(sorted(self._names))
            return problem(404, f"this replay has no such step: it has the job's own, {names}")
        match call.route.kind:
            case Kind.STEP_EXPORT:
                return self._exported(_text(document, "attribute"))
            case Kind.STEP_UPDATE:
                return self._update(document)
            case _:
                return json_answer({"uuid": self._own.step})

    def _exported(self, attribute: str) -> Answer:
        if not attribute:
            return json_answer({"output": json.dumps(self.attributes)})
        if attribute not in self.attributes:
            return problem(422, f"this replay does not know the step's {attribute!r}")
        return json_answer({"output": self.attributes[attribute]})

    def _update(self, document: Mapping[str, object]) -> Answer:
        name, value = _text(document, "attribute"), _text(document, "value")
        before = self.attributes.get(name, "") if document.get("append") else ""
        if len(before) + len(value) > MAX_VALUE:
            return problem(422, f"an attribute has at most {MAX_VALUE} characters")
        if name not in self.attributes and len(self.attributes) >= MAX_ATTRIBUTES:
            return problem(422, f"a step has at most {MAX_ATTRIBUTES} attributes")
        self.attributes[name] = before + value
        return json_answer({"uuid": self._own.step})


def _text(document: Mapping[str, object], name: str) -> str:
    value = document.get(name, "")
    if not isinstance(value, str):
        raise MalformedError(f"{name!r} is not a text")
    return value

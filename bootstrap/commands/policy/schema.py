"""`airlock policy schema`: JSON Schemas for editors, generated from the grammar itself."""

import json
from typing import Any

from bootstrap.commands.policy.source import Output
from bootstrap.policy.cases import CasesNode
from bootstrap.policy.guardrails_schema import GuardrailsNode
from bootstrap.policy.schema import Node, PolicyNode

_DOCUMENTS: dict[str, type[Node]] = {
    "policy": PolicyNode,
    "guardrails": GuardrailsNode,
    "cases": CasesNode,
}


def schema(*, document: str, output: Output) -> int:
    """Print the schema of one kind of document."""
    output(json.dumps(json_schema(document), indent=2))
    return 0


def json_schema(document: str) -> dict[str, Any]:
    """Return the JSON Schema of "policy", "guardrails" or "cases"."""
    made = _DOCUMENTS[document].model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}

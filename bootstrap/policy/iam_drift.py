"""How the roles of an account differ from what `policy.iam` expects."""

import json
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from bootstrap.policy.iam import Document, Iam


def drift(made: Iam, dump: Mapping[str, Any]) -> tuple[str, ...]:
    """Compare with the output of `aws iam get-account-authorization-details`; empty: no drift."""
    real = {role["Arn"]: role for role in dump.get("RoleDetailList", [])}
    found: list[str] = []
    for role, wanted in made.trust.items():
        if role not in real:
            found.append(f"{role}: is not in the dump")
            continue
        found += [f"{role}: {what}" for what in _trust_drift(wanted, real[role])]
    return tuple(found)


def _trust_drift(wanted: Document, role: Mapping[str, Any]) -> Iterable[str]:
    trusted = role.get("AssumeRolePolicyDocument", {})
    if isinstance(trusted, str):
        trusted = json.loads(unquote(trusted))
    statements = _listed(trusted.get("Statement", []))
    allowing = [statement for statement in statements if statement.get("Effect") == "Allow"]
    ours = {principal: s for s in wanted["Statement"] for principal in _principals(s)}
    for principal, statement in ours.items():
        yield from _principal_drift(principal, statement, allowing)
    others = sorted({p for s in allowing for p in _principals(s)} - set(ours))
    if others:
        yield f"also trusts {', '.join(others)}"


def _principal_drift(principal: str, ours: Document, allowing: list[Any]) -> Iterable[str]:
    matching = [s for s in allowing if principal in _principals(s)]
    missing = set(ours["Action"]) - {a for s in matching for a in _listed(s.get("Action", []))}
    if missing:
        yield f"does not trust {principal} for {', '.join(sorted(missing))}"
    for statement in matching:
        if statement.get("Condition") != ours["Condition"]:
            got = json.dumps(statement.get("Condition", {}), sort_keys=True)
            expected = json.dumps(ours["Condition"], sort_keys=True)
            yield f"trusts {principal} under the condition {got}, expected {expected}"


def _principals(statement: Mapping[str, Any]) -> list[str]:
    principal = statement.get("Principal", {})
    if isinstance(principal, str):
        return [principal]
    return [str(name) for names in principal.values() for name in _listed(names)]


def _listed(value: Any) -> list[Any]:  # noqa: ANN401 - IAM allows one or a list everywhere
    return value if isinstance(value, list) else [value]

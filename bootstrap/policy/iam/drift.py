"""How the roles of an account differ from what the documents expect."""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any, NamedTuple
from urllib.parse import unquote

from bootstrap.policy.iam.model import Document, Iam, Role
from bootstrap.policy.wording import length
from bootstrap.text import printable


class _Trusted(NamedTuple):
    """One principal that may perform one action, and under which condition (JSON)."""

    principal: str
    action: str
    condition: str


def drift(made: Iam, dump: Mapping[str, Any], account: str | None = None) -> tuple[str, ...]:
    """Compare with the output of `aws iam get-account-authorization-details`; empty: no drift.

    The dump is of one account; with `account`, only that account's roles are expected in it.
    """
    details = [role for role in _listed(dump.get("RoleDetailList")) if isinstance(role, dict)]
    real = {str(role.get("Arn")): role for role in details}
    return tuple(
        f"{arn}: {what}"
        for arn, role in made.roles.items()
        if account in {None, role.account}
        for what in (_of_role(role, real[arn]) if arn in real else ["is not in the dump"])
    )


def _of_role(wanted: Role, real: Mapping[str, Any]) -> Iterator[str]:
    yield from _trust_drift(wanted.trust, real)
    longest = real.get("MaxSessionDuration")  # of `aws iam list-roles`; the other dump has none
    asked = int(wanted.longest.total_seconds())
    if isinstance(longest, int) and longest < asked:
        yield (
            f"allows sessions of {length(timedelta(seconds=longest))}, and rules ask for "
            f"{length(timedelta(seconds=asked))}"
        )


def _trust_drift(wanted: Document, role: Mapping[str, Any]) -> Iterator[str]:
    ours, theirs = set(_trusted(wanted)), set(_trusted(_trust_of(role)))
    for missing in sorted(ours - theirs):
        yield f"does not trust {_in_words(missing)}"
    for other in sorted(theirs - ours):
        yield f"also trusts {_in_words(other)}"


def _trust_of(role: Mapping[str, Any]) -> Mapping[str, Any]:
    trust = role.get("AssumeRolePolicyDocument", {})
    if isinstance(trust, str):
        try:
            trust = json.loads(unquote(trust))
        except ValueError:
            return {}
    return trust if isinstance(trust, Mapping) else {}


def _trusted(trust: Mapping[str, Any]) -> Iterable[_Trusted]:
    for statement in _listed(trust.get("Statement", [])):
        if isinstance(statement, Mapping) and statement.get("Effect") == "Allow":
            condition = json.dumps(_normal(statement.get("Condition", {})), sort_keys=True)
            for principal in _principals(statement):
                for action in _actions(statement):
                    yield _Trusted(principal, action, condition)


def _principals(statement: Mapping[str, Any]) -> list[str]:
    principal = statement.get("Principal", "everyone but NotPrincipal")
    if isinstance(principal, Mapping):
        return [str(name) for names in principal.values() for name in _listed(names)]
    return [str(principal)]


def _actions(statement: Mapping[str, Any]) -> list[str]:
    return [str(action) for action in _listed(statement.get("Action", "all but NotAction"))]


def _normal(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return the value as it is compared: IAM may store a list in another order."""
    if isinstance(value, Mapping):
        return {str(key): _normal(each) for key, each in value.items()}
    return sorted(map(str, _listed(value)))


def _in_words(trusted: _Trusted) -> str:
    under = f" under the condition {trusted.condition}" if trusted.condition != "{}" else ""
    return printable(f"{trusted.principal} for {trusted.action}{under}", limit=2000)


def _listed(value: Any) -> list[Any]:  # noqa: ANN401 - IAM allows one or a list everywhere
    return value if isinstance(value, list) else [value]

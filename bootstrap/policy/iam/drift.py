"""How the roles of an account differ from what the documents expect."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

from bootstrap.policy.iam.dump import allowing, as_list, condition_of, mappings
from bootstrap.policy.iam.model import Document, Iam, Role, account_of
from bootstrap.policy.iam.permissions import permissions_drift
from bootstrap.policy.wording import length
from bootstrap.text import printable


class _Trusted(NamedTuple):
    """One principal that may perform one action, and under which condition (JSON)."""

    principal: str
    action: str
    condition: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """What was compared, by ARN, and every difference, which begins with such an ARN."""

    roles: tuple[str, ...]
    differences: tuple[str, ...]


def drift(made: Iam, dump: Mapping[str, Any], account: str | None = None) -> Drift:
    """Compare with the output of `aws iam get-account-authorization-details`.

    The dump is of one account; with `account`, only that account's roles are expected in it. The
    hosts' role is expected if it is of that account, and compared wherever it is in the dump.
    """
    real = {str(role.get("Arn")): role for role in mappings(dump.get("RoleDetailList"))}
    roles = [arn for arn, role in made.roles.items() if account in {None, role.account}]
    found = [
        f"{arn}: {what}"
        for arn in roles
        for what in (_of_role(made.roles[arn], real[arn], dump) if arn in real else [_ABSENT])
    ]
    host = made.host_role
    if made.host and (host in real or account == account_of(host)):
        roles.append(host)
        of_host = permissions_drift(made.host, real[host], dump) if host in real else [_ABSENT]
        found += [f"{host}: {what}" for what in of_host]
    return Drift(roles=tuple(dict.fromkeys(roles)), differences=tuple(found))


_ABSENT = "is not in the dump"


def _of_role(wanted: Role, real: Mapping[str, Any], dump: Mapping[str, Any]) -> Iterator[str]:
    yield from _trust_drift(wanted.trust, real)
    yield from permissions_drift([wanted.policy] if wanted.policy else [], real, dump)
    longest = real.get("MaxSessionDuration")  # of `aws iam list-roles`; the other dump has none
    asked = int(wanted.longest.total_seconds())
    if isinstance(longest, int) and 0 < longest < asked:
        yield (
            f"allows sessions of {length(timedelta(seconds=longest))}, and rules ask for "
            f"{length(timedelta(seconds=asked))}"
        )


def _trust_drift(wanted: Document, role: Mapping[str, Any]) -> Iterator[str]:
    ours = set(_trusted(allowing(wanted)))
    theirs = set(_trusted(allowing(role.get("AssumeRolePolicyDocument", {}))))
    for missing in sorted(ours - theirs):
        yield f"does not trust {_in_words(missing)}"
    for other in sorted(theirs - ours):
        yield f"also trusts {_in_words(other)}"


def _trusted(statements: Iterable[Mapping[str, Any]]) -> Iterator[_Trusted]:
    for statement in statements:
        condition = condition_of(statement)
        for principal in _principals(statement):
            for action in _actions(statement):
                yield _Trusted(principal, action, condition)


def _principals(statement: Mapping[str, Any]) -> list[str]:
    principal = statement.get("Principal", "everyone but NotPrincipal")
    if isinstance(principal, Mapping):
        return [str(name) for names in principal.values() for name in as_list(names)]
    return [str(principal)]


def _actions(statement: Mapping[str, Any]) -> list[str]:
    return [str(action) for action in as_list(statement.get("Action", "all but NotAction"))]


def _in_words(trusted: _Trusted) -> str:
    under = f" under the condition {trusted.condition}" if trusted.condition != "{}" else ""
    return printable(f"{trusted.principal} for {trusted.action}{under}", limit=2000)

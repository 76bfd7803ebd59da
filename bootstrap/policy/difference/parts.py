"""What a grant consists of, and how two grants differ in it.

Every field is compared, whichever the model has: what is here is only in which direction a known
field changes access. A field that is not known is reported as a change in neither direction.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from bootstrap.agent_api.model import AgentApiGrant
from bootstrap.grants.kind import BY_ROLE
from bootstrap.grants.kind import Kind as Granted
from bootstrap.policy.difference.model import Kind
from bootstrap.policy.difference.words import label, shown
from bootstrap.policy.egress import is_within
from bootstrap.policy.model import Grant

NOTHING = "nothing"
DEFAULT_OF_HOST = "the host's default"
INTERNET = "internet"
WITHIN = "within what is listed"
WHOLE = "all that the job's own token may do"
ORDER = "order of "


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One thing of a grant, before and after, in words."""

    kind: Kind
    what: str
    name: str = ""
    before: str
    after: str


Direction = Callable[[Any, Any, Grant, Grant], Kind]


def _more(old: Any, new: Any, _old: Grant, _new: Grant) -> Kind:  # noqa: ANN401 - a number
    if old is None or new is None:
        return Kind.CHANGES  # the other side is a default of the host's, which may be either
    return Kind.GAINS if new > old else Kind.LOSES


def _listed(old: Any, new: Any, _old: Grant, _new: Grant) -> Kind:  # noqa: ANN401 - an entry
    return Kind.GAINS if old is None else Kind.LOSES if new is None else Kind.CHANGES


def _restricting(_one: Any, _other: Any, old: Grant, new: Grant) -> Kind:  # noqa: ANN401 - as above
    """A session has what its role and any one of its own policies allow."""
    before, after = (bool(grant.session_policy or grant.policy_arns) for grant in (old, new))
    if before == after:
        return Kind.CHANGES
    return Kind.LOSES if after else Kind.GAINS


def _agent_api(old: Any, _new: Any, _old: Grant, _new_grant: Grant) -> Kind:  # noqa: ANN401 - as above
    """Without a gateway, a job may do all that its token may."""
    return Kind.LOSES if old is None else Kind.GAINS


def _egress(old: Any, _new: Any, _old: Grant, _new_grant: Grant) -> Kind:  # noqa: ANN401 - as above
    """Without a list, a job reaches all that the host's network leads to."""
    return Kind.LOSES if old is None else Kind.GAINS


def _reached(old: Any, new: Any, before: Grant, after: Grant) -> Kind:  # noqa: ANN401 - an entry
    """What another entry of the other list reaches is neither gained nor lost."""
    other, entry = (before.egress, new) if old is None else (after.egress, old)
    if other is not None and is_within(other, entry):
        return Kind.CHANGES
    return Kind.GAINS if old is None else Kind.LOSES


_CALLS = tuple(one.name for one in fields(AgentApiGrant) if one.type == "bool" or one.type is bool)
_DIRECTIONS: Mapping[str, Direction] = {
    "duration": _more,
    "session_policy": _restricting,
    "policy_arns": _restricting,
    "known_hosts": _listed,
    "env": _listed,
    "services": _listed,
    "agent_api": _agent_api,
    "agent_api.oidc_audiences": _listed,
    "agent_api.secrets": _listed,
    **{f"agent_api.{name}": _more for name in _CALLS},
    "builds": _listed,
    "egress": _egress,
    **{f"egress.{name}": _reached for name in ("hosts", "cidrs", "private")},
    "egress.observe": _more,
    "limits.memory": _more,
    "limits.cpus": _more,
    "limits.pids": _more,
}
_WORDS: Mapping[str, str] = {
    "duration": "session duration",
    "tags": "session tag",
    "transitive_tags": "transitive session tag",
    "external_id": "external id",
    "source_identity": "source identity",
    "session_policy": "session policy",
    "policy_arns": "session policy ARN",
    "via": "role that is assumed first",
    "web_identity": "assumed with Buildkite's token",
    "delivery": "delivery of credentials",
    "secrets_with_role": "secrets are read with the job's role",
    "known_hosts": "known host",
    "env": "variable that the job may set",
    "services": "service container",
    "agent_api": "agent API",
    "agent_api.oidc_audiences": "OIDC audience",
    "agent_api.secrets": "Buildkite secret",
    **{f"agent_api.{name}": f"agent API: {label(name)}" for name in _CALLS},
    "builds": "image builds",
    "egress": "egress",
    "egress.hosts": "host that jobs reach",
    "egress.cidrs": "network that jobs reach",
    "egress.private": "private network that jobs reach",
    "egress.observe": "egress: mode observe",
    "limits.memory": "memory limit",
    "limits.cpus": "CPU limit",
    "limits.pids": "limit of processes",
}
_UNSET: Mapping[str, str] = {"image": DEFAULT_OF_HOST, "agent_api": WHOLE, "egress": INTERNET} | {
    f"limits.{name}": DEFAULT_OF_HOST for name in ("memory", "cpus", "pids")
}


def things(grant: Grant) -> dict[tuple[str, str], tuple[str, ...]]:
    """Map noun and name of everything of grants.KINDS to how the job receives it."""
    found: dict[tuple[str, str], list[str]] = {}
    for kind in grant.kinds:
        for key, how in _of_kind(kind):
            found.setdefault(key, []).append(how)
    return {key: tuple(sorted(how)) for key, how in found.items()}


def _of_kind(kind: Granted[Any]) -> Iterator[tuple[tuple[str, str], str]]:
    match kind.granted:
        case Mapping() as named:
            for name, value in named.items():
                if value == BY_ROLE:
                    yield ("registry", name), "login by the role"
                else:
                    yield (kind.noun, shown(value)), f"{kind.key} {name}"
        case tuple() | list() as listed:
            for value in listed:
                yield (kind.noun, shown(value)), kind.key
        case value:
            yield (kind.noun, shown(value)), kind.key


def differences(old: Grant, new: Grant) -> Iterator[Difference]:
    """Yield everything in which the grants differ; nothing if and only if they are equal."""
    if old == new:
        return
    found = [*_things(old, new), *_settings("", old, new, (old, new))]
    if not found:  # equal things in another order, or a kind whose value has parts of its own
        found = [_order(old, new)]
    yield from found


def _things(old: Grant, new: Grant) -> Iterator[Difference]:
    before, after = things(old), things(new)
    for what, name in dict.fromkeys((*before, *after)):
        had, has = before.get((what, name)), after.get((what, name))
        if had != has:
            yield Difference(
                kind=_kind(had, has), what=what, name=name, before=_how(had), after=_how(has)
            )


def _kind(old: object, new: object) -> Kind:
    return Kind.GAINS if old is None else Kind.LOSES if new is None else Kind.CHANGES


def _how(how: tuple[str, ...] | None) -> str:
    return NOTHING if how is None else f"as {' and '.join(how)}"


def _order(old: Grant, new: Grant) -> Difference:
    before, after = ([shown(kind.granted) for kind in grant.kinds] for grant in (old, new))
    return Difference(
        kind=Kind.CHANGES, what=f"{ORDER}what is granted",
        before="; ".join(before), after="; ".join(after),
    )  # fmt: skip


def _settings(
    path: str, old: Any, new: Any, grants: tuple[Grant, Grant],  # noqa: ANN401 - a dataclass
) -> Iterator[Difference]:  # fmt: skip
    for field in fields(old):
        name = f"{path}{field.name}"
        had, has = getattr(old, field.name), getattr(new, field.name)
        if name != "kinds" and had != has:
            yield from _setting(name, had, has, grants)


def _setting(name: str, old: Any, new: Any, grants: tuple[Grant, Grant]) -> Iterator[Difference]:  # noqa: ANN401 - a field's values
    match old, new:
        case tuple(), tuple():
            yield from _entries(name, dict.fromkeys(old), dict.fromkeys(new), grants)
            if set(old) == set(new):
                yield _one(name, old, new, grants, what=f"{ORDER}{_word(name)}s")
        case Mapping(), Mapping():
            yield from _entries(name, old, new, grants)
        case _ if is_dataclass(old) and type(old) is type(new):
            yield from _settings(f"{name}.", old, new, grants)
        case _:
            yield _one(name, old, new, grants)


def _entries(
    name: str, old: Mapping[Any, Any], new: Mapping[Any, Any], grants: tuple[Grant, Grant]
) -> Iterator[Difference]:
    """Compare a mapping by its keys; a list is one whose values are None."""
    direction = _DIRECTIONS.get(name, _neither)
    for key in dict.fromkeys((*old, *new)):
        if (key in old, old.get(key)) != (key in new, new.get(key)):
            had, has = (key if key in side else None for side in (old, new))
            kind = direction(had, has, *grants)
            absent = WITHIN if direction is _reached and kind is Kind.CHANGES else NOTHING
            yield Difference(
                kind=kind, what=_word(name), name=shown(key),
                before=_entry(old, key, absent), after=_entry(new, key, absent),
            )  # fmt: skip


def _entry(listed: Mapping[Any, Any], key: object, absent: str) -> str:
    if key not in listed:
        return absent
    return "listed" if listed[key] is None else shown(listed[key])


def _one(
    name: str, old: Any, new: Any, grants: tuple[Grant, Grant], *, what: str = ""  # noqa: ANN401 - a field's values
) -> Difference:  # fmt: skip
    last = name.rpartition(".")[2]
    before, after = (
        _UNSET.get(name, NOTHING) if value is None else shown(value, last) for value in (old, new)
    )
    direction = _neither if what else _DIRECTIONS.get(name, _neither)
    return Difference(
        kind=direction(old, new, *grants), what=what or _word(name), before=before, after=after
    )


def _neither(_one: Any, _other: Any, _old: Grant, _new: Grant) -> Kind:  # noqa: ANN401 - any value
    return Kind.CHANGES


def _word(name: str) -> str:
    return _WORDS.get(name, label(name))

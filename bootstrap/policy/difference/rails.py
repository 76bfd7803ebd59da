"""How the limits of all pipelines change with the guardrails document."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from typing import Any

from bootstrap.policy.difference.model import EVERY, Change, Kind, Place, Way
from bootstrap.policy.difference.words import label, shown
from bootstrap.policy.egress import EgressBounds
from bootstrap.policy.guardrails import WITHOUT_DOCUMENT
from bootstrap.policy.model import AgentApiUse, Bounds, ForkAccess, Guardrails, Limits

GUARDRAILS = "guardrails"
NO_LIMIT = "not limited"
NOTHING = "nothing"
NO_DOCUMENT = "no guardrails document: nothing is limited but forks"
_UNCOMPARED = frozenset({"origin", "digest"})  # where it is, and its text
# Where a longer list or a greater number lets pipelines have more.
_KNOWN = frozenset({"", "limits.", "egress."})
_BOUNDS = frozenset(
    one.name for one in (*fields(Bounds), *fields(Limits), *fields(EgressBounds))
)  # the same of scopes
# From the least to the most that may be granted.
_RANKS: Mapping[type[Enum], tuple[Enum, ...]] = {
    AgentApiUse: (AgentApiUse.REQUIRED, AgentApiUse.OPTIONAL),
    ForkAccess: (ForkAccess.REFUSE, ForkAccess.NOTHING, ForkAccess.ANYTHING),
}


def guardrail_changes(old: Guardrails | None, new: Guardrails | None) -> Iterator[Change]:
    """Yield every field that differs. Without a document only forks are limited."""
    if old is None and new is None:
        return
    known = new or old
    assert known is not None  # noqa: S101 - for the type checker: one of them is a document
    place = Place(origin=known.origin, line=1)
    none = replace(WITHOUT_DOCUMENT, organization=known.organization)  # which limits nothing
    found = list(_fields("", old or none, new or none, place))
    if old is None or new is None:
        kinds = {change.kind for change in found}
        before, after = (NO_DOCUMENT if one is None else "a document" for one in (old, new))
        yield _change(
            kinds.pop() if len(kinds) == 1 else Kind.CHANGES, GUARDRAILS, before, after, place
        )
    yield from found


def _fields(path: str, old: Any, new: Any, place: Place) -> Iterator[Change]:  # noqa: ANN401 - a dataclass
    for field in fields(new):
        had, has = getattr(old, field.name), getattr(new, field.name)
        if field.name in _UNCOMPARED or _meaning(had) == _meaning(has):
            continue
        one = had if has is None else has
        name = f"{path}{label(field.name)}"
        if is_dataclass(one) and not isinstance(one, type) and None not in (had, has):
            yield from _fields(f"{name}.", had, has, place)
        elif _named(had) and _named(has) and (had or has):
            yield from _entries(name, had or (), has or (), place)
        else:
            before, after = (
                NO_LIMIT if value is None else shown(value, field.name) for value in (had, has)
            )
            known = path in _KNOWN or (path.startswith("scopes.") and field.name in _BOUNDS)
            kind = _direction(had, has) if known else Kind.CHANGES
            yield _change(kind, f"guardrail {name}", before, after, place)


def _entries(
    path: str, old: tuple[Any, ...], new: tuple[Any, ...], place: Place
) -> Iterator[Change]:
    """Compare parts that have names by those; which of them comes first may matter, too."""
    before, after = ({entry.name: entry for entry in side} for side in (old, new))
    for name in dict.fromkeys((*before, *after)):
        had, has = before.get(name), after.get(name)
        if had is not None and has is not None:
            yield from _fields(f"{path}.{name}.", had, has, place)
        else:
            b, a = (NOTHING if entry is None else shown(entry) for entry in (had, has))
            yield _change(Kind.CHANGES, f"guardrail {path}.{name}", b, a, place)
    if list(before) != list(after) and set(before) == set(after):
        yield _change(
            Kind.CHANGES, f"order of guardrail {path}", ", ".join(before), ", ".join(after), place
        )


def _named(value: object) -> bool:
    """Return whether this is a list of parts, each with a name of its own."""
    if value is None:
        return True
    if not isinstance(value, tuple) or not all(map(is_dataclass, value)):
        return False
    names = [getattr(entry, "name", None) for entry in value]
    return all(names) and len(set(names)) == len(names)


def _meaning(value: Any) -> Any:  # noqa: ANN401 - a field's value
    """Return the value without the lines at which its parts are written."""
    if isinstance(value, tuple):
        return tuple(map(_meaning, value))
    if is_dataclass(value) and not isinstance(value, type):
        named = ((one.name, getattr(value, one.name)) for one in fields(value))
        return type(value), tuple((name, _meaning(part)) for name, part in named if name != "line")
    return value


def _change(kind: Kind, what: str, before: str, after: str, place: Place) -> Change:
    way = Way(jobs="", before=before, after=after)
    return Change(kind=kind, pipeline=EVERY, what=what, ways=(way,), place=place)


def _direction(old: Any, new: Any) -> Kind:  # noqa: ANN401 - a field's values
    """Return whether more may be granted; CHANGES if that is not certain."""
    if old is None or new is None:
        return Kind.GAINS if new is None else Kind.LOSES
    if type(old) in _RANKS and type(old) is type(new):
        ranks = _RANKS[type(old)]
        return Kind.GAINS if ranks.index(new) > ranks.index(old) else Kind.LOSES
    if isinstance(old, tuple) and isinstance(new, tuple):
        return _of_lists(old, new)
    if isinstance(old, str | bool) or type(old) is not type(new) or not hasattr(old, "__gt__"):
        return Kind.CHANGES
    return Kind.GAINS if new > old else Kind.LOSES


def _of_lists(old: tuple[Any, ...], new: tuple[Any, ...]) -> Kind:
    """A `!` negates, and a list of negations alone allows everything else."""
    before, after = set(old), set(new)
    if not all(isinstance(entry, str) for entry in before | after):
        return Kind.CHANGES
    if any(entry.startswith("!") for entry in before | after):
        return _of_negations(before, after)
    if before == after:
        return Kind.CHANGES
    return Kind.GAINS if after > before else Kind.LOSES if after < before else Kind.CHANGES


def _of_negations(before: set[str], after: set[str]) -> Kind:
    wanted = [{e for e in side if not e.startswith("!")} for side in (before, after)]
    if wanted[0] == wanted[1] and before != after and (wanted[0] or (before and after)):
        if after < before:
            return Kind.GAINS
        if after > before:
            return Kind.LOSES
    return Kind.CHANGES

"""How the limits of all pipelines change with the guardrails document."""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from typing import Any

from bootstrap.policy.difference.model import EVERY, Change, Kind, Place, Way
from bootstrap.policy.difference.words import label, shown
from bootstrap.policy.model import ForkAccess, Guardrails

GUARDRAILS = "guardrails"
NO_LIMIT = "not limited"
NO_DOCUMENT = "no guardrails document"
_UNCOMPARED = frozenset({"origin", "digest"})  # where it is, and its text
# From the least to the most that may be granted.
_RANKS: Mapping[type[Enum], tuple[Enum, ...]] = {
    ForkAccess: (ForkAccess.REFUSE, ForkAccess.NOTHING, ForkAccess.ANYTHING),
}


def guardrail_changes(old: Guardrails | None, new: Guardrails | None) -> Iterator[Change]:
    """Yield every field that differs. Without a document nothing is limited."""
    if old is None and new is None:
        return
    known = new or old
    assert known is not None  # noqa: S101 - for the type checker: one of them is a document
    place = Place(origin=known.origin, line=1)
    if old is None or new is None:
        kind = Kind.GAINS if new is None else Kind.LOSES
        before, after = (f"{NO_DOCUMENT}: {NO_LIMIT}" if one is None else "a document"
                         for one in (old, new))  # fmt: skip
        yield _change(kind, GUARDRAILS, before, after, place)
    yield from _fields("", known, old, new, place)


def _fields(path: str, shape: Any, old: Any, new: Any, place: Place) -> Iterator[Change]:  # noqa: ANN401 - a dataclass
    for field in fields(shape):
        had, has = (None if side is None else getattr(side, field.name) for side in (old, new))
        if field.name in _UNCOMPARED or had == has:
            continue
        one = had if has is None else has
        if is_dataclass(one) and not isinstance(one, type):
            yield from _fields(f"{path}{label(field.name)}.", one, had, has, place)
        elif _limits(one, field.default, without_document=None in (old, new)):
            before, after = (
                NO_LIMIT if value is None else shown(value, field.name) for value in (had, has)
            )
            kind = _direction(had, has)
            yield _change(kind, f"guardrail {path}{label(field.name)}", before, after, place)


def _limits(value: object, default: object, *, without_document: bool) -> bool:
    """Return whether the field of a document that appears or goes is worth a line of its own.

    Its name limits nothing, and neither does what it has by default, other than ranks such as
    those of forks.
    """
    if not without_document:
        return True
    return default is not MISSING and (type(value) in _RANKS or value != default)


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

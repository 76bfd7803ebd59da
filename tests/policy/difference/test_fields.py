"""Every field of what decides is compared: a new one that is not fails here, whatever it is."""

from collections.abc import Iterator
from dataclasses import Field, dataclass, fields, is_dataclass, replace
from datetime import timedelta
from enum import Enum
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from bootstrap.grants import KINDS
from bootstrap.grants.kind import Kind
from bootstrap.grants.role import Role
from bootstrap.policy.catalogue import Catalogue
from bootstrap.policy.difference import difference
from bootstrap.policy.model import Condition, Grant, Guardrails, Limits, Policy, Rule

# Where a document was read and its text: neither is part of what it means.
NOT_COMPARED = {"Policy.origin", "Policy.digest", "Rule.line", "Condition.line",
                "Guardrails.origin", "Guardrails.digest"}  # fmt: skip
ARN = "arn:aws:iam::111122223333:role/other"
URL = "git@github.com:acme/storefront.git"


def other(hint: Any, value: object) -> object:
    """A value of the same type that is another one. A type that is not known here has to be."""
    origin = get_origin(hint)
    if origin is Kind:
        return Role(granted=ARN)
    if isinstance(hint, UnionType):
        return other(next(one for one in get_args(hint) if one is not NoneType), value)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return next(one for one in hint if one is not value)
    if is_dataclass(hint) and isinstance(hint, type):
        return made(hint, value)
    if origin is tuple:
        return (*(value or ()), other(get_args(hint)[0], None))  # type: ignore[misc]
    if origin is not None and origin.__name__ in {"Mapping", "dict"}:
        return {**(value or {}), "other": other(get_args(hint)[1], None)}  # type: ignore[dict-item]
    known = {bool: not value, str: f"{ARN}-{value}", int: 4711, float: 47.11,
             timedelta: timedelta(minutes=47)}  # fmt: skip
    return known[hint]


def made(kind: type, value: object) -> object:
    """An instance of a dataclass, other than `value`, with every field set."""
    hints = get_type_hints(kind)
    return kind(**{
        field.name: other(hints[field.name], getattr(value, field.name, None))
        for field in fields(kind)
    })  # fmt: skip


CONDITION = Condition(subject="agent-tag", name="os", patterns=("linux",), line=1)
RULE = Rule(name="r", when=(CONDITION,), allow=Grant(), line=1)
POLICY = Policy(
    pipeline="storefront", repositories=(URL,), rules=(RULE,), origin="ssm:/x", digest="1"
)
GUARDRAILS = Guardrails(organization="acme", origin="guardrails.yaml", digest="1")
WHOLE: tuple[Any, ...] = (
    POLICY,
    RULE,
    CONDITION,
    RULE.allow,
    RULE.allow.limits,
    GUARDRAILS,
    GUARDRAILS.limits,
)


def all_fields() -> Iterator[Any]:
    for index, value in enumerate(WHOLE):
        for field in fields(value):
            name = f"{type(value).__name__}.{field.name}"
            where = "guardrails." if index == len(WHOLE) - 1 else ""
            if name not in NOT_COMPARED:
                yield pytest.param(value, index, field, id=f"{where}{name}")


def with_it(value: Any, index: int) -> Catalogue:
    """A catalogue in which the value has the place of WHOLE[index]."""
    places: list[Any] = [*WHOLE]
    places[index] = value
    policy, rule, condition, grant, limits, rails, rail_limits = places
    if index == 6:
        rails = replace(GUARDRAILS, limits=rail_limits)
    if index == 4:
        grant = replace(Grant(), limits=limits)
    if index > 1:
        rule = replace(rule, when=(condition,), allow=grant)
    if index > 0:
        policy = replace(policy, rules=(rule,))
    return Catalogue(
        policies=(replace(policy, digest=f"{value}"),),
        guardrails=replace(rails, digest=f"{value}"),
    )


@pytest.mark.parametrize(("value", "index", "field"), list(all_fields()))
def test_a_field_that_differs_is_a_change(value: Any, index: int, field: Field[Any]) -> None:
    hint = get_type_hints(type(value))[field.name]
    if field.name == "repositories":
        changed: Any = replace(value, repositories=(URL, "git@github.com:acme/other.git"))
    else:
        changed = replace(value, **{field.name: other(hint, getattr(value, field.name))})
    assert changed != value
    found = difference(with_it(value, index), with_it(changed, index))
    assert found
    assert difference(with_it(value, index), with_it(value, index)) == ()


@dataclass(frozen=True, kw_only=True)
class LaterRule(Rule):
    owner: str


@dataclass(frozen=True, kw_only=True)
class LaterPolicy(Policy):
    owner: str


@pytest.mark.parametrize(("later", "index"), [(LaterRule, 1), (LaterPolicy, 0)])
def test_a_field_that_rules_or_policies_may_get_is_compared(later: type, index: int) -> None:
    known = {field.name: getattr(WHOLE[index], field.name) for field in fields(WHOLE[index])}
    old, new = (with_it(later(**known, owner=name), index) for name in ("one", "two"))
    (change,) = difference(old, new)
    assert (change.what, change.ways[0].before, change.ways[0].after) == ("owner", "one", "two")


@pytest.mark.parametrize("kind", KINDS, ids=[kind.key for kind in KINDS])
def test_every_kind_of_grant_is_compared(kind: type[Kind[Any]]) -> None:
    values = {
        str: (ARN, f"{ARN}-2"),
        tuple: ((ARN,), (ARN, f"{ARN}-2")),
        dict: ({"a": ARN}, {"a": ARN, "b": ARN}),
    }
    shape = {"role": str, "ssh-keys": tuple}.get(kind.key, dict)
    old, new = (Grant(kinds=(kind(granted=value),)) for value in values[shape])
    before, after = (with_it(grant, 3) for grant in (old, new))
    assert difference(before, after)
    assert difference(with_it(Grant(), 3), before)


def test_the_exceptions_are_fields() -> None:
    names = {
        f"{kind.__name__}.{field.name}"
        for kind in (Policy, Rule, Condition, Grant, Limits, Guardrails)
        for field in fields(kind)
    }
    assert names >= NOT_COMPARED


@dataclass(frozen=True, kw_only=True)
class Part:
    name: str
    roles: tuple[str, ...]
    line: int


@dataclass(frozen=True, kw_only=True)
class LaterGuardrails(Guardrails):
    parts: tuple[Part, ...]


def later(*parts: Part) -> Catalogue:
    return Catalogue(
        policies=(),
        guardrails=LaterGuardrails(organization="a", origin="x", digest="", parts=parts),
    )


def test_named_parts_that_guardrails_may_get_are_compared_one_by_one() -> None:
    one, other = (Part(name=name, roles=("r",), line=1) for name in ("one", "other"))
    wider = replace(one, roles=("r", "s"))
    changes = {
        "guardrail parts.one.roles": (later(one, other), later(wider, other)),
        "guardrail parts.other": (later(one), later(one, other)),
        "order of guardrail parts": (later(one, other), later(other, one)),
    }
    for what, (old, new) in changes.items():
        assert [change.what for change in difference(old, new)] == [what]
    assert difference(later(one), later(replace(one, line=7))) == ()

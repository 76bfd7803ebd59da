"""A pipeline's policy from SSM parameters: one YAML document, or one parameter per setting.

    <prefix>/<slug>/policy                                        the document of `parse`
    <prefix>/<slug>/repository, branches, teams, queues, role-arn  compiled into one rule

Leaves are String or StringList; either is split at its commas, as SSM itself does.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bootstrap.errors import WrongConfiguration
from bootstrap.policy.model import Policy
from bootstrap.text import counted, printable

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

DOCUMENT = "policy"
RULE = "parameters"

# Leaf -> the place of its values in a document.
_PLACES: Mapping[str, tuple[str | int, ...]] = {
    "repository": ("repository",),
    "branches": ("rules", 0, "when", "branch"),
    "teams": ("rules", 0, "when", "creator-team"),
    "queues": ("rules", 0, "when", "queue"),
    "role-arn": ("rules", 0, "allow", "role"),
}
LEAVES = frozenset(_PLACES)


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """One parameter as SSM returned it. `name` is the last part of its path."""

    name: str
    kind: str  # String, StringList or SecureString
    value: str
    version: int


def compiled(path: str, slug: str, parameters: Iterable[Parameter]) -> Policy | None:
    """Return the policy that these parameters of `path` are; None if there are none of ours.

    Other parameters are allowed beside ours, but none that looks like a misspelt leaf: a condition
    that is not read would admit jobs. Raises WrongConfiguration with every mistake.
    """
    named = {parameter.name: parameter for parameter in parameters}
    ours = {name: named[name] for name in sorted({DOCUMENT, *LEAVES} & set(named))}
    mistakes = [*_misspelt(set(named) - set(ours)), *_both(ours)]
    if mistakes:
        raise _wrong(path, mistakes)
    if not ours:
        return None
    origin = f"ssm:{path} ({', '.join(f'{p.name}:{p.version}' for p in ours.values())})"
    if DOCUMENT in ours:
        from bootstrap.policy.parse import parse  # noqa: PLC0415 - see bootstrap/fields.py

        return parse(ours[DOCUMENT].value, origin)
    return _from_leaves(path, slug, ours, origin)


def _misspelt(others: set[str]) -> Iterable[str]:
    if others:
        from difflib import get_close_matches  # noqa: PLC0415
    for name in sorted(others):
        close = get_close_matches(name, (DOCUMENT, *LEAVES), n=1, cutoff=0.75)
        if close:
            yield f'unknown parameter "{printable(name)}"; did you mean "{close[0]}"?'


def _both(ours: Mapping[str, Parameter]) -> Iterable[str]:
    leaves = sorted(LEAVES & set(ours))
    if DOCUMENT in ours and leaves:
        yield f"{DOCUMENT} and {', '.join(leaves)} are both present; expected one of the layouts"


def _from_leaves(path: str, slug: str, ours: Mapping[str, Parameter], origin: str) -> Policy:
    from pydantic import ValidationError  # noqa: PLC0415

    from bootstrap.policy import schema  # noqa: PLC0415
    from bootstrap.policy.parse import digest, policy_of  # noqa: PLC0415

    document = as_document(slug, {name: parameter.value for name, parameter in ours.items()})
    try:
        node = schema.PolicyNode.model_validate(document)
    except ValidationError as invalid:
        raise _wrong(path, [_explain(error) for error in invalid.errors()]) from invalid
    text = repr(sorted((p.name, p.version, p.value) for p in ours.values()))
    return policy_of(node, line=lambda _: 0, origin=origin, digest=digest(text))


def _values(text: str) -> list[str]:
    return [value.strip() for value in text.split(",") if value.strip()]


def as_document(slug: str, leaves: Mapping[str, str]) -> dict[str, Any]:
    """Return the document that leaf parameters mean, in the grammar of `parse`."""
    values = {name: _values(text) for name, text in leaves.items()}
    when = {_PLACES[leaf][-1]: values[leaf] for leaf in ("branches", "teams", "queues")
            if leaf in values}  # fmt: skip
    allow = {"role": ",".join(values["role-arn"])} if "role-arn" in values else {}
    repository = {"repository": values["repository"]} if "repository" in values else {}
    return {
        "pipeline": slug,
        **repository,
        "rules": [{"name": RULE, "when": when, "allow": allow}],
    }


def _explain(error: "ErrorDetails") -> str:
    """Name the leaf, not its place: the operator has never seen the document around it."""
    path = error["loc"]
    leaf = next((leaf for leaf, p in _PLACES.items() if path[: len(p)] == p), "the pipeline")
    if error["type"] == "missing":
        return f"the parameter {leaf} is missing"
    from bootstrap.mistakes import explain  # noqa: PLC0415

    return explain({**error, "loc": (leaf,)}, {})


def _wrong(path: str, mistakes: Iterable[str]) -> WrongConfiguration:
    listed = tuple(f"ssm:{path}: {mistake}" for mistake in mistakes)
    return WrongConfiguration(
        f"the parameters of ssm:{path} have {counted(len(listed), 'mistake')}",
        hint="See both layouts in docs/policy.md#policies-in-ssm.",
        details=listed,
    )

"""Policies proposed from what a fleet uses today, with a comment on whatever is not known."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import yaml

from bootstrap.policy.layout import neat
from bootstrap.text import printable

# A condition on this holds for no job: what limits a grant today and is not known stays a limit.
TO_COMPLETE = "to-be-completed"
_WIDTH = 96


@dataclass(frozen=True, kw_only=True, slots=True)
class ProposedRule:
    """One rule in the grammar of `parse`; `notes` become comments above it."""

    name: str
    when: Mapping[str, Any]
    allow: Mapping[str, Any]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """A policy for one pipeline. Without a repository it is not valid until a person adds one."""

    pipeline: str
    repositories: tuple[str, ...] = ()
    rules: tuple[ProposedRule, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What one source holds; `skipped` is in words what no policy could be proposed for."""

    proposals: tuple[Proposal, ...] = ()
    skipped: tuple[str, ...] = ()


def is_file_name(slug: str) -> bool:
    """Return whether a policy can be in <slug>.yaml: some names are of other documents."""
    return (
        re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,99}", slug) is not None
        and slug != "guardrails"
        and not slug.endswith(".test")
    )


def merged(proposals: Iterable[Proposal], repository: str | None) -> tuple[Proposal, ...]:
    """Return one proposal per pipeline; `repository` is for those without any."""
    by_slug: dict[str, Proposal] = {}
    for one in proposals:
        known = by_slug.get(one.pipeline, Proposal(pipeline=one.pipeline))
        by_slug[one.pipeline] = replace(
            known,
            repositories=tuple(dict.fromkeys((*known.repositories, *one.repositories))),
            rules=(*known.rules, *(rule for rule in one.rules if rule not in known.rules)),
            notes=tuple(dict.fromkeys((*known.notes, *one.notes))),
        )
    default = (repository,) if repository else ()
    return tuple(
        replace(one, repositories=one.repositories or default, rules=_named_apart(one.rules))
        for _, one in sorted(by_slug.items())
    )


def _named_apart(rules: Iterable[ProposedRule]) -> tuple[ProposedRule, ...]:
    """Number the rules whose name another one has already: names are unique in a policy."""
    seen: set[str] = set()
    made = []
    for rule in rules:
        base = printable(rule.name, limit=90)
        names = (base, *(f"{base} {number}" for number in range(2, 10_000)))
        name = next(name for name in names if name not in seen)
        seen.add(name)
        made.append(replace(rule, name=name))
    return tuple(made)


def document(proposal: Proposal, source: str) -> str:
    """Return the text of a policy, with comments. `source` is where it was found."""
    head = [f"Proposed by `airlock policy import` from {source}. Review every rule before use."]
    if not proposal.repositories:
        head.append(
            "Not known: the pipeline's repository. Add it as `repository`, below `pipeline`."
        )
    top: dict[str, Any] = {"pipeline": proposal.pipeline}
    if proposal.repositories:
        top["repository"] = _one_or_many(proposal.repositories)
    parts = [_comments((*head, *proposal.notes), ""), as_yaml(top), "rules:\n"]
    for rule in proposal.rules:
        when = {"when": dict(rule.when)} if rule.when else {}
        text = as_yaml({"name": rule.name, **when, "allow": dict(rule.allow)})
        lines = text.rstrip("\n").split("\n")
        parts += [_comments(rule.notes, "  "), f"  - {lines[0]}\n"]
        parts += [f"    {line}\n" if line else "\n" for line in lines[1:]]
    return neat("".join(parts))


def _one_or_many(values: tuple[str, ...]) -> str | list[str]:
    return values[0] if len(values) == 1 else list(values)


def as_yaml(content: object) -> str:
    """Return the content as YAML, readable where that is the same content when it is read."""
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=_WIDTH)
    if yaml.safe_load(text) == content:
        return text
    return yaml.safe_dump(content, sort_keys=False, width=_WIDTH)  # escapes line separators


def _comments(notes: Iterable[str], indent: str) -> str:
    """Return comments. What others wrote is on one line, so that it cannot end the comment."""
    return "".join(f"{indent}# {printable(note, limit=400)}\n" for note in notes)

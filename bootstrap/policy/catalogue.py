"""All policies of an organisation at once, and the questions that can be asked of them."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from bootstrap.policy.glob import matches
from bootstrap.policy.model import Grant, Guardrails, Policy, Rule
from bootstrap.policy.names import image_is_asked, role_is_asked, secret_is_asked
from bootstrap.policy.reach import asked, in_words, reach
from bootstrap.policy.spelling import folded

AUDIENCE, IMAGE, VIA = "OIDC audience", "image", "via"
ANY = "*"  # of audiences; no rule can grant one of this name
# What audiences mostly are, URLs and names of hosts, where no rule grants what is asked for.
_AUDIENCE = re.compile(r"[a-z][a-z0-9+.-]*://\S+|[\w*-]+(\.[\w*-]+)+", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Unreadable:
    """A document that is not a valid policy, with every mistake in it, and what to do if known."""

    origin: str
    details: tuple[str, ...]
    hint: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Catalogue:
    """Every document of a store."""

    policies: tuple[Policy, ...]
    unreadable: tuple[Unreadable, ...] = ()
    guardrails: Guardrails | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """One thing that one rule grants, and to which jobs.

    `kind` is a noun of grants.KINDS, OIDC audience, image, or `via`: a role that is assumed first,
    to reach another one, and that jobs do not get. An audience named ANY is whichever a job asks
    for: its rule has no `agent-api`. `refused` has every reason why guardrails let no
    job have it, `required` what they ask of jobs beside the rule's conditions.
    """

    pipeline: str
    rule: str
    kind: str
    name: str
    to: tuple[str, ...]  # the rule's conditions in words; all of them must hold
    pull_requests: str  # no, same-repository or any: the widest that get it
    refused: tuple[str, ...] = ()
    required: tuple[str, ...] = ()


def by_slug(policies: Iterable[Policy]) -> dict[str, Policy]:
    """Return the policies as a host finds them: of a file, its name says which pipeline it is."""
    return {slug_of(policy.origin) or policy.pipeline: policy for policy in policies}


def slug_of(origin: str) -> str:
    """Return the slug in the name of a policy's file, "" for what is in no such file."""
    file = origin.rpartition("/")[2]
    return file.removesuffix(".yaml") if file.endswith(".yaml") else ""


def accesses(policies: Iterable[Policy], guardrails: Guardrails | None = None) -> Iterator[Access]:
    """Yield everything that any rule of any policy grants, and what guardrails leave of it."""
    for policy in policies:
        for rule in policy.rules:
            yield from _accesses(policy, rule, granted(rule.allow), guardrails)


def _accesses(
    policy: Policy,
    rule: Rule,
    named: Iterable[tuple[str, str]],
    guardrails: Guardrails | None,
) -> Iterator[Access]:
    left = reach(rule, guardrails, policy.pipeline)
    for kind, name in named:
        yield Access(
            pipeline=policy.pipeline,
            rule=rule.name,
            kind=kind,
            name=name,
            to=tuple(in_words(condition) for condition in rule.when),
            pull_requests=left.pull_requests,
            refused=left.refused,
            required=tuple(f"requires.{one.name}: {asked(one)}" for one in left.required),
        )


def granted(grant: Grant) -> tuple[tuple[str, str], ...]:
    """Return kind and name of each thing that is granted."""
    named = [
        (kind.noun, name)
        for kind in grant.kinds
        for name in (*kind.needs().roles.values(), *kind.needs().references.values())
    ]
    named += [("secret", name) for name in grant.buildkite_secrets]
    named += [(AUDIENCE, name) for name in grant.audiences]
    return (*dict.fromkeys(named), *(((IMAGE, grant.image),) if grant.image else ()))


def who_can(
    policies: Iterable[Policy], wanted: str, guardrails: Guardrails | None = None
) -> tuple[Access, ...]:
    """Return every access to what `wanted` names: a name in any spelling, or a glob over names.

    In doubt an access is among them. Those that guardrails refuse are, too, but for rules without
    `agent-api`, which are listed where an OIDC audience is asked for, or what looks like one.
    """
    named = [
        (policy, rule, found)
        for policy in policies
        for rule in policy.rules
        if (found := [one for one in _uses(rule) if _is_asked(wanted, *one)])
    ]
    listed = tuple(
        access
        for policy, rule, found in named
        for access in _accesses(policy, rule, found, guardrails)
    )
    if not _may_be_audience(wanted, listed):
        return listed
    return (*listed, *_of_any_audience(policies, guardrails))


def _may_be_audience(wanted: str, found: Iterable[Access]) -> bool:
    kinds = {access.kind for access in found}
    return AUDIENCE in kinds or (not kinds and _AUDIENCE.fullmatch(wanted) is not None)


def _of_any_audience(policies: Iterable[Policy], guardrails: Guardrails | None) -> Iterator[Access]:
    """Yield rules whose jobs have the agent's token: Buildkite signs for any audience with it."""
    for policy in policies:
        for rule in policy.rules:
            if rule.allow.agent_api is None:
                found = _accesses(policy, rule, ((AUDIENCE, ANY),), guardrails)
                yield from (access for access in found if not access.refused)


def close_names(policies: Iterable[Policy], wanted: str) -> tuple[str, ...]:
    """Return some names that are like `wanted`, or contain it: those that may have been meant."""
    names = sorted({n for policy in policies for rule in policy.rules for _, n in _uses(rule)})
    plain = folded(wanted.strip("*"))
    contain = [name for name in names if plain and plain in folded(name)]
    return tuple(contain[:_CLOSE] or get_close_matches(wanted, names, n=_CLOSE))


_CLOSE = 5


def _uses(rule: Rule) -> tuple[tuple[str, str], ...]:
    return (*granted(rule.allow), *(((VIA, rule.allow.via),) if rule.allow.via else ()))


def _is_asked(wanted: str, kind: str, name: str) -> bool:
    if matches(wanted, name):
        return True
    if kind == IMAGE:
        return image_is_asked(wanted, name)
    if kind == AUDIENCE:
        return False
    is_role = kind == VIA or name.startswith("arn:")
    return role_is_asked(wanted, name) if is_role else secret_is_asked(wanted, name)

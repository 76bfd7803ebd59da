"""What other documents would have decided about jobs of the past."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import StrEnum
from typing import Any

from bootstrap.errors import Refused, WrongConfiguration
from bootstrap.policy.decide import asks_for_commit, decide, variables
from bootstrap.policy.difference.parts import DEFAULT_OF_HOST, INTERNET, WHOLE
from bootstrap.policy.difference.words import label, shown
from bootstrap.policy.history import Decided, Recorded
from bootstrap.policy.model import Admitted, Denied, Grant, Guardrails, Policy
from bootstrap.text import printable

# Not "none": without the key a job may do all.
_UNSET = {label("agent_api"): WHOLE, label("egress"): INTERNET} | {
    f"limits.{name}": DEFAULT_OF_HOST for name in ("memory", "cpus", "pids")
}

Documents = Callable[[str], tuple[Policy | None, Guardrails | None]]  # takes a pipeline


class Kind(StrEnum):
    """How a decision changes."""

    REFUSED = "newly refused"
    ADMITTED = "newly admitted"
    GRANT = "another grant"
    RULE = "another rule"
    UNDECIDED = "undecided"  # the record does not hold what the decision depends on


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """A decision: the rule and what it grants, by key, or why there is none.

    `grant` has what is known of it: of a job's record, the roles and secrets that it received.
    """

    rule: str | None
    problem: str = ""
    grant: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """The changes of one kind and text in a pipeline: how many jobs, and the first of them."""

    kind: Kind
    text: str
    jobs: int
    job: str
    build: str


class Totals:
    """The jobs that were replayed, those whose decision stays, and the changes by pipeline.

    `without_grant` are jobs that were admitted, and of which no record holds what they received.
    """

    def __init__(self) -> None:
        self.jobs = 0
        self.unchanged = 0
        self.without_grant = 0
        self.changes: dict[str, dict[tuple[Kind, str], Change]] = {}

    def of(self, kind: Kind) -> int:
        """Return the number of jobs with a change of this kind."""
        listed = (change for found in self.changes.values() for change in found.values())
        return sum(change.jobs for change in listed if change.kind is kind)

    def add(self, of: Recorded, change: tuple[Kind, str] | None) -> None:
        """Count one job."""
        self.jobs += 1
        if change is None:
            self.unchanged += 1
            return
        found = self.changes.setdefault(of.claims.pipeline, {})
        first = found.get(change)
        found[change] = Change(
            kind=change[0],
            text=change[1],
            jobs=first.jobs + 1 if first else 1,
            job=first.job if first else of.job,
            build=first.build if first else of.build,
        )


def changed(
    of: Recorded, proposed: Documents, against: Documents | None
) -> tuple[Kind, str] | None:
    """Return how the decision about a recorded job changes, None if it does not.

    It is compared with what `against` decides, or else with what was recorded.
    """
    unknown = next(filter(None, (_unknown(of, read) for read in (proposed, against) if read)), "")
    if unknown:
        return Kind.UNDECIDED, unknown
    if against is None and of.decided is None:
        return Kind.UNDECIDED, "the record holds no decision"
    before = _decided(of, against) if against else _recorded(of.decided)
    return difference(before, _decided(of, proposed))


def _unknown(of: Recorded, read: Documents) -> str:
    """Return what the decision depends on and no record holds, "" for nothing."""
    try:
        policy, guardrails = read(of.claims.pipeline)
    except WrongConfiguration:
        return ""
    if hidden := sorted(of.hidden & variables(policy, guardrails)):
        return f"a condition asks about {hidden[0]}, whose value is a secret and in no record"
    if of.commit is None and asks_for_commit(of.claimed(policy), policy, guardrails):
        return "a rule asks whether the commit is on its branch, and no host had looked"
    if of.is_signed is None and _depends_on_signature(of, policy, guardrails):
        return "guardrails ask for signed facts, and the record does not say whether there were any"
    return ""


def _depends_on_signature(
    of: Recorded, policy: Policy | None, guardrails: Guardrails | None
) -> bool:
    try:
        both = [replace(of, is_signed=signed).claimed(policy) for signed in (True, False)]
    except Refused:  # a token signs what this job does not have
        return False
    rules = [d.rule if isinstance(d, Admitted) else None
             for d in (decide(claims, policy, guardrails) for claims in both)]  # fmt: skip
    return rules[0] != rules[1]


def _decided(of: Recorded, read: Documents) -> Side:
    try:
        policy, guardrails = read(of.claims.pipeline)
    except WrongConfiguration as mistakes:
        return Side(rule=None, problem=f"a host ends every job with 78: {mistakes.problem}")
    match decide(of.claimed(policy), policy, guardrails):
        case Admitted(rule=rule, grant=grant):
            return Side(rule=rule, grant=_granted(grant))
        case Denied(problem=problem):
            return Side(rule=None, problem=problem)


def _recorded(decided: Decided | None) -> Side:
    if decided is None:
        return Side(rule=None)
    received = {"all roles": decided.roles, "all secrets": decided.secrets}
    grant = {key: _listed(names) for key, names in received.items() if names is not None}
    return Side(rule=decided.rule, problem=decided.problem, grant=grant if decided.rule else {})


def is_grant_known(of: Recorded) -> bool:
    """Return whether the record of a job that was admitted holds what the job received."""
    decided = of.decided
    return decided is None or decided.rule is None or decided.roles is not None


def _granted(grant: Grant) -> dict[str, Any]:
    settings = {label(one.name): getattr(grant, one.name) for one in fields(grant)}
    del settings["kinds"]
    return {
        "all roles": _listed(grant.roles.values()),
        "all secrets": _listed(grant.references),
        **{kind.key: kind.granted for kind in grant.kinds},
        **settings,
    }


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(set(names))) or "none"


def difference(before: Side, after: Side) -> tuple[Kind, str] | None:
    """Return how one decision differs from another; of the grants, in what both sides know."""
    match before.rule, after.rule:
        case None, None:
            return None
        case rule, None:
            return Kind.REFUSED, printable(f"was {rule!r}; {after.problem}", limit=500)
        case None, rule:
            return Kind.ADMITTED, printable(f"by {rule!r}", limit=500)
    known = before.grant.keys() & after.grant.keys() if before.grant else set()
    missing = (after.grant.keys() ^ before.grant.keys()) if _is_whole(before) else set()
    differing = [
        part
        for key in sorted(known | missing)
        for part in _differing(key, before.grant.get(key), after.grant.get(key))
    ]
    rules = "" if before.rule == after.rule else f"{before.rule!r} -> {after.rule!r}"
    if differing:
        text = "; ".join(filter(None, (rules, *differing)))
        return Kind.GRANT, printable(text, limit=500)
    return (Kind.RULE, printable(rules, limit=500)) if rules else None


def _differing(key: str, had: Any, has: Any) -> Iterator[str]:  # noqa: ANN401 - a part of a grant
    """Yield what differs, of parts with names only those: a text of all would be cut off."""
    if had == has:
        return
    match had, has:
        case Mapping(), Mapping():
            for name in dict.fromkeys((*had, *has)):
                yield from _differing(f"{key}.{name}", had.get(name), has.get(name))
        case _ if is_dataclass(had) and type(had) is type(has):
            for one in fields(had):
                parts = (getattr(side, one.name) for side in (had, has))
                yield from _differing(f"{key}.{label(one.name)}", *parts)
        case _:
            yield f"{key}: {_words(had, key)} -> {_words(has, key)}"


def _words(value: object, key: str) -> str:
    return _UNSET.get(key, "none") if value is None else shown(value, key.rpartition(".")[2])


def _is_whole(side: Side) -> bool:
    """Return whether all of the grant is known, and not only what a job received."""
    return "workspace" in side.grant

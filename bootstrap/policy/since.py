"""What a decision about a recorded job would be now, beside what it was then."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bootstrap.policy.granted import granted
from bootstrap.policy.history import Decided
from bootstrap.policy.model import Admitted, Decision, Grant
from bootstrap.text import printable

NOTHING = "nothing"
_OF_REASON = ("expected", "got", "provenance", "grade", "holds")


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One difference. `what` is outcome, rule, document, grant or fact, and `of` a part of that.

    `then` and `now` are in words.
    """

    what: str
    of: str
    then: str
    now: str


def changes(event: Mapping[str, Any], decided: Decided | None, now: Decision) -> tuple[Change, ...]:
    """Return every difference between what was recorded and the decision of now.

    `event` is the recorded `admitted` or `denied`, and `decided` what the record says besides. A
    grant is compared as far as the record has it: older ones have the roles and secrets only, and
    those only of jobs that got as far as running.
    """
    return (
        *_outcome(event, now),
        *_document(event, now),
        *_grant(event, decided, now),
        *_facts(event, now),
    )


def _outcome(event: Mapping[str, Any], now: Decision) -> Iterator[Change]:
    was_admitted, is_admitted = event.get("event") == "admitted", isinstance(now, Admitted)
    if was_admitted != is_admitted:
        words = {True: "admitted", False: "refused"}
        yield Change(what="outcome", of="", then=words[was_admitted], now=words[is_admitted])
    then = str(event.get("rule")) if was_admitted else NOTHING
    rule = now.rule if isinstance(now, Admitted) else NOTHING
    yield from _change("rule", "", then, rule)


def _document(event: Mapping[str, Any], now: Decision) -> Iterator[Change]:
    policy = event.get("policy")
    policy = policy if isinstance(policy, dict) else {}
    yield from _change("document", "origin", _text(policy.get("origin")), _text(now.policy_origin))
    yield from _change("document", "sha256", _text(policy.get("sha256")), _text(now.policy_digest))


def _grant(event: Mapping[str, Any], decided: Decided | None, now: Decision) -> Iterator[Change]:
    # Where there is none, its settings are not listed that have their defaults.
    after = granted(now.grant if isinstance(now, Admitted) else Grant())
    before = event.get("grant")
    if isinstance(before, dict) and before:
        for key in sorted(before.keys() | after.keys()):
            yield from _change("grant", key, _text(before.get(key)), _text(after.get(key)))
        return
    if decided is None or not isinstance(now, Admitted):
        return
    received = (("roles", decided.roles, now.grant.roles.values()),
                ("secrets", decided.secrets, now.grant.references))  # fmt: skip
    for key, then, names in received:
        if then is not None:
            yield from _change("grant", key, _listed(then), _listed(names))


def _listed(names: Any) -> str:  # noqa: ANN401 - of either
    return ", ".join(sorted(set(names))) or NOTHING


def _facts(event: Mapping[str, Any], now: Decision) -> Iterator[Change]:
    """Compare the conditions of rules that were tried both times, the guardrails among them."""
    recorded = event.get("reasons")
    listed = [r for r in recorded if isinstance(r, dict)] if isinstance(recorded, list) else []
    then = {_key(r): _shown(r) for r in listed}
    after = {(r.rule, r.subject): _shown({k: getattr(r, k) for k in _OF_REASON})
             for r in now.reasons}  # fmt: skip
    rules = {rule for rule, _ in then} & {rule for rule, _ in after}
    for key in dict.fromkeys((*then, *after)):
        if key[0] in rules:
            of = f"{key[1]} of rule {key[0]!r}"
            yield from _change("fact", of, then.get(key, "no condition"),
                               after.get(key, "no condition"))  # fmt: skip


def _key(reason: Mapping[str, Any]) -> tuple[str, str]:
    return str(reason.get("rule")), str(reason.get("subject"))


def _shown(reason: Mapping[str, Any]) -> str:
    expected, got, provenance, grade, holds = (reason.get(name) for name in _OF_REASON)
    vouched = f" ({grade or provenance})" if grade or provenance else ""
    return f"expected {expected}, got {got}{vouched}: {'holds' if holds else 'does not hold'}"


def _change(what: str, of: str, then: str, now: str) -> Iterator[Change]:
    if then != now:
        yield Change(
            what=what, of=of, then=printable(then, limit=500), now=printable(now, limit=500)
        )


def _text(value: object) -> str:
    return NOTHING if value in (None, "", [], {}) else str(value)

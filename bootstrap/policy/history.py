"""What a job's record says about the decision (docs/audit.md#events)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bootstrap.errors import Refused, WrongConfiguration
from bootstrap.job.assemble import claims_of
from bootstrap.job.grades import Grade, grade_of
from bootstrap.job.model import Claims, Known, Provenance
from bootstrap.policy import builds
from bootstrap.policy.decide import with_commit
from bootstrap.policy.match import COMMIT_ON_BRANCH, ELSEWHERE, UNKNOWN, VERIFIED
from bootstrap.policy.model import Policy
from bootstrap.text import MASK


@dataclass(frozen=True, kw_only=True, slots=True)
class Decided:
    """A decision that was recorded: the rule, or why there is none.

    `roles` and `secrets` are what the job received, None if it did not get that far.
    """

    rule: str | None
    problem: str
    roles: frozenset[str] | None
    secrets: frozenset[str] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """One job. `hidden` are its variables that are secret, of which no record has the whole value.

    `commit` is what the host found out about the commit, None if it did not ask. `is_signed` is
    whether Buildkite had signed its claims, None if no condition was about one that can be signed.
    """

    job: str
    build: str
    claims: Claims
    hidden: frozenset[str]
    commit: str | None
    is_signed: bool | None
    decided: Decided | None

    def claimed(self, policy: Policy | None) -> Claims:
        """Return the claims with what the host had confirmed, for a decision by `policy`."""
        claims = builds.signed(self.claims, policy) if self.is_signed else self.claims
        if self.commit is None:
            return claims
        return with_commit(claims, Known(value=self.commit, provenance=Provenance.HOST))


def is_record(document: object) -> bool:
    """Return whether this is a job's record, and not the environment of a job."""
    return isinstance(document, dict) and isinstance(document.get("env"), dict)


def recorded(document: Any) -> Recorded:  # noqa: ANN401 - is JSON
    """Return what a record says.

    Raises ValueError if it is no record, Refused if its environment is not a job's.
    """
    if not is_record(document):
        raise ValueError("it is not the record of a job: expected an object with `env`")
    named = {str(name): value for name, value in document["env"].items()}
    env = {n: v.replace(f"{MASK}@", "") for n, v in named.items() if isinstance(v, str)}
    events = [event for event in _listed(document, "events") if isinstance(event, dict)]
    decision = _last(events)
    reasons = [r for r in _listed(decision or {}, "reasons") if isinstance(r, dict)]
    claims = claims_of(env, process_env={})
    return Recorded(
        job=claims.job_id,
        build=claims.build_number,
        claims=claims,
        hidden=frozenset(
            (*(n for n, v in named.items() if not isinstance(v, str)), *_masked(document))
        ),
        commit=next(_commits(reasons), None),
        is_signed=_is_signed(reasons),
        decided=_decided(decision, events) if decision else None,
    )


def _masked(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the variables of which a part is masked."""
    yield from (name for name in _listed(document, "masked") if isinstance(name, str))


def _is_signed(reasons: list[dict[str, Any]]) -> bool | None:
    known = [r for r in reasons if r.get("provenance") in set(Provenance)]
    if any(reason["provenance"] == Provenance.SIGNED for reason in known):
        return True
    subjects = (str(reason.get("subject")).partition(" ")[0] for reason in known)
    could_be = any(grade_of(subject, signed=True) is Grade.SIGNED for subject in subjects)
    return False if could_be else None


def _last(events: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the decision, or else the end of a job whose documents allowed none."""
    decisions = [event for event in events if event.get("event") in ("admitted", "denied")]
    failed = [event for event in events if event.get("event") == "failed"]
    final = (Refused.exit_code, WrongConfiguration.exit_code)
    ends = [event for event in failed if event.get("exit_code") in final]
    return next(reversed([*ends, *decisions]), None)


def _commits(reasons: list[dict[str, Any]]) -> Iterator[str]:
    for reason in reasons:
        if reason.get("subject") == COMMIT_ON_BRANCH:
            yield from ({VERIFIED, ELSEWHERE, UNKNOWN} & {str(reason.get("got"))})


def _decided(decision: Mapping[str, Any], events: list[dict[str, Any]]) -> Decided:
    is_admitted = decision.get("event") == "admitted"
    complete = any(event.get("event") == "sandbox" for event in events)
    return Decided(
        rule=str(decision.get("rule")) if is_admitted else None,
        problem="" if is_admitted else str(decision.get("problem")),
        roles=frozenset(_roles(events)) if complete else None,
        secrets=frozenset(_secrets(events)) if complete else None,
    )


def _roles(events: list[dict[str, Any]]) -> Iterator[str]:
    for event in events:
        if event.get("event") == "session":
            yield str(event.get("role"))


def _secrets(events: list[dict[str, Any]]) -> Iterator[str]:
    for event in events:
        if event.get("event") == "secrets" and event.get("purpose", "job") == "job":
            for secret in _listed(event, "secrets"):
                if isinstance(secret, dict):
                    yield str(secret.get("reference"))


def _listed(event: Mapping[str, Any], key: str) -> list[Any]:
    found = event.get(key)
    return found if isinstance(found, list) else []

"""`airlock policy explain`: every condition of every rule, checked for one job."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bootstrap.commands.policy.asked import Asked, asked
from bootstrap.commands.policy.hosted import host_of
from bootstrap.commands.policy.source import Output
from bootstrap.job.model import Absent, Claims, Known, Provenance
from bootstrap.policy.catalogue import granted as named
from bootstrap.policy.decide import asks_for_commit, decide, variables, with_commit
from bootstrap.policy.match import COMMIT_ON_BRANCH, ELSEWHERE, UNKNOWN, VERIFIED, verdict
from bootstrap.policy.model import Admitted, Decision, Grant, Policy, Reason
from bootstrap.policy.steering import left_out
from bootstrap.policy.stores.choose import Now
from bootstrap.text import printable

# How `explain` names the party that vouches for a claim. The first two say nothing of the grade.
_SOURCES = {
    Provenance.AGENT: "vouched for by the agent",
    Provenance.JOB: "from the job's environment",
    Provenance.HOST: "checked by this host",
    Provenance.SIGNED: "signed by Buildkite",
}


def explain(
    *,
    job: Path | None,
    pipeline: str | None,
    given: Mapping[str, Any],
    directory: Path | None,
    config_path: Path,
    as_json: bool,
    output: Output,
) -> int:
    """Print every condition of every rule for the job; 0 if it is admitted, 77 if not.

    If that depends on what the host finds out about the commit, 0 only if every answer admits it.
    Raises what a host raises for the job.
    """
    host = host_of(directory, config_path)
    of = asked(job, pipeline, given, Now(host), signed=host.policy.identity == "signed")
    answers = _by_commit(of)
    of = replace(of, claims=_as_asked(of.claims)) if answers else of
    decision = decide(of.claims, of.documents.policy, of.documents.guardrails)
    reasons = _all(of.claims, of.documents.policy, decision)
    dropped = left_out(of.claims.env, decision.grant) if isinstance(decision, Admitted) else {}
    if as_json:
        output(json.dumps(_document(decision, reasons, dropped, answers), indent=2, default=str))
    else:
        _print(decision, reasons, answers, output)
        for name, reason in dropped.items():
            output(f"{printable(name)} is left out of the job's environment: {reason}")
        _notes(of, observed=host.policy.observes(of.claims.pipeline), output=output)
    return 0 if all(isinstance(d, Admitted) for d in answers.values() or (decision,)) else 77


def _by_commit(of: Asked) -> dict[str, Decision]:
    """Return the decision for each answer about the commit; none if it is stated, or is not asked.

    The same question decides whether a host asks the repository.
    """
    documents = (of.documents.policy, of.documents.guardrails)
    if isinstance(of.claims.facts.get(COMMIT_ON_BRANCH), Known):
        return {}
    if not asks_for_commit(of.claims, *documents):
        return {}
    answers = {
        a: Known(value=a, provenance=Provenance.HOST) for a in (VERIFIED, ELSEWHERE, UNKNOWN)
    }
    return {a: decide(with_commit(of.claims, k), *documents) for a, k in answers.items()}


def _as_asked(claims: Claims) -> Claims:
    why = "only a host asks the repository; --commit-on-branch states its answer"
    return replace(claims, facts={**claims.facts, COMMIT_ON_BRANCH: Absent(why=why)})


def _document(
    decision: Decision,
    reasons: tuple[Reason, ...],
    dropped: Mapping[str, str],
    answers: Mapping[str, Decision],
) -> dict[str, Any]:
    return {
        **asdict(decision),
        **({"grant": granted(decision.grant)} if isinstance(decision, Admitted) else {}),
        "admitted": isinstance(decision, Admitted),
        "reasons": [asdict(reason) for reason in reasons],
        "left-out": dict(dropped),
        **({"by-commit-on-branch": {a: _in_words(d) for a, d in answers.items()}}
           if answers else {}),
    }  # fmt: skip


def granted(grant: Grant) -> dict[str, Any]:
    """Return the grant's settings and kinds by their keys."""
    named = {kind.key.replace("-", "_"): kind.granted for kind in grant.kinds}
    return {**named, **{key: value for key, value in asdict(grant).items() if key != "kinds"}}


def _all(claims: Claims, policy: Policy | None, decision: Decision) -> tuple[Reason, ...]:
    """Return the verdicts of every rule, also of those after the match; guardrails last."""
    tried = (
        verdict(rule.name, condition, claims)
        for rule in (policy.rules if policy else ())
        for condition in rule.when
    )
    rails = (r for r in decision.reasons if r.subject.startswith("guardrail "))
    return (*tried, *rails)


def _print(
    decision: Decision,
    reasons: tuple[Reason, ...],
    answers: Mapping[str, Decision],
    output: Output,
) -> None:
    rule = None
    for reason in reasons:
        if reason.rule != rule:
            rule = reason.rule
            output(f"\n{rule}")
        mark = "yes" if reason.holds else "NO "
        output(
            f"  {mark}  {reason.subject:16} expected {reason.expected}, "
            f"got {reason.got}{_source(reason)}"
        )
    output("")
    for answer, decided in answers.items():
        output(f"if the check of the commit says {answer}: {_in_words(decided)}")
    if not answers:
        output(_in_words(decision))
        if not isinstance(decision, Admitted):
            output(decision.hint)


def _source(reason: Reason) -> str:
    """Return the grade of a fact, and where it is from."""
    if reason.provenance is None:
        return ""
    is_plain = reason.provenance in {Provenance.AGENT, Provenance.JOB}
    return f" ({f'{reason.grade}, ' if is_plain else ''}{_SOURCES[reason.provenance]})"


def _in_words(decision: Decision) -> str:
    if isinstance(decision, Admitted):
        gets = ", ".join((decision.grant.role or "no role", *_further(decision.grant)))
        return f"admitted by rule {decision.rule!r} of {decision.policy_origin}, with {gets}"
    return f"refused: {decision.problem}"


def _further(grant: Grant) -> Iterator[str]:
    """Yield what the job gets beside its own role."""
    yield from (f"{kind} {name}" for kind, name in named(grant) if name != grant.role)
    yield from (f"ECR login {name}" for kind in grant.kinds for name in kind.needs().ecr)


def _notes(of: Asked, *, observed: bool, output: Output) -> None:
    asked_of = variables(of.documents.policy, of.documents.guardrails)
    for name in sorted(of.hidden & asked_of):
        output(f"{printable(name)} is a secret, which records do not hold: decided as if not set")
    if observed:
        output(f"This host observes {of.claims.pipeline}: a refusal would only be recorded")

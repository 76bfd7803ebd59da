"""`airlock policy explain`: every condition of every rule, checked for one job."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from bootstrap.commands.policy.asked import Asked, asked
from bootstrap.commands.policy.hosted import host_of
from bootstrap.commands.policy.source import Output
from bootstrap.errors import Refused
from bootstrap.job.model import Absent, Claims, Known, Provenance
from bootstrap.policy.catalogue import granted as named
from bootstrap.policy.decide import asks_for_commit, decide, variables, with_commit
from bootstrap.policy.difference.words import label, shown
from bootstrap.policy.granted import granted
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
    found = judged(of)
    if as_json:
        output(json.dumps(document(found), indent=2, default=str))
    else:
        show(found, observed=host.policy.observes(of.claims.pipeline), output=output)
    return found.status


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """What a host decides about a job.

    `reasons` are the verdicts of every rule, `dropped` the variables that the job does not get, and
    why. `answers` are the decisions by what the host may find out about the commit, if that counts.
    """

    of: Asked
    decision: Decision
    reasons: tuple[Reason, ...]
    dropped: Mapping[str, str]
    answers: Mapping[str, Decision]

    @property
    def status(self) -> int:
        """0 if the job is admitted whatever the commit is, else 77."""
        decisions = self.answers.values() or (self.decision,)
        return 0 if all(isinstance(one, Admitted) for one in decisions) else Refused.exit_code


def judged(of: Asked) -> Judged:
    """Decide about the job as its host does."""
    answers = _by_commit(of)
    of = replace(of, claims=_as_asked(of.claims)) if answers else of
    decision = decide(of.claims, of.documents.policy, of.documents.guardrails)
    return Judged(
        of=of,
        decision=decision,
        reasons=_all(of.claims, of.documents.policy, decision),
        dropped=left_out(of.claims.env, decision.grant) if isinstance(decision, Admitted) else {},
        answers=answers,
    )


def show(found: Judged, *, observed: bool, output: Output) -> None:
    """Print it. `observed` is whether the host only records refusals of the pipeline."""
    _print(found.decision, found.reasons, found.answers, output)
    for name, reason in found.dropped.items():
        output(f"{printable(name)} is left out of the job's environment: {reason}")
    _notes(found.of, observed=observed, output=output)


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


def document(found: Judged) -> dict[str, Any]:
    """Return it as JSON has it."""
    decision, answers = found.decision, found.answers
    return {
        **asdict(decision),
        **({"grant": granted(decision.grant)} if isinstance(decision, Admitted) else {}),
        "admitted": isinstance(decision, Admitted),
        "reasons": [asdict(reason) for reason in found.reasons],
        "left-out": dict(found.dropped),
        **({"by-commit-on-branch": {a: in_words(d) for a, d in answers.items()}}
           if answers else {}),
    }  # fmt: skip


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
        output(f"if the check of the commit says {answer}: {in_words(decided)}")
    if not answers:
        output(in_words(decision))
        if not isinstance(decision, Admitted):
            output(decision.hint)


def _source(reason: Reason) -> str:
    """Return the grade of a fact, and where it is from."""
    if reason.provenance is None:
        return ""
    is_plain = reason.provenance in {Provenance.AGENT, Provenance.JOB}
    return f" ({f'{reason.grade}, ' if is_plain else ''}{_SOURCES[reason.provenance]})"


def in_words(decision: Decision) -> str:
    """Return a decision in one line."""
    if isinstance(decision, Admitted):
        gets = ", ".join((decision.grant.role or "no role", *_further(decision.grant)))
        return f"admitted by rule {decision.rule!r} of {decision.policy_origin}, with {gets}"
    return f"refused: {decision.problem}"


def _further(grant: Grant) -> Iterator[str]:
    """Yield what the job gets beside its own role."""
    beside = {one.image for one in grant.services.values()} - {grant.image}
    yield from (
        f"{kind} {name}" for kind, name in named(grant) if name not in {grant.role, *beside}
    )
    yield from (f"ECR login {name}" for kind in grant.kinds for name in kind.needs().ecr)
    if grant.builds:
        yield f"image builds by {grant.builds}"
    if grant.egress:
        yield f"egress to {shown(grant.egress)}"
    yield from (f"service {name} of image {one.image}" for name, one in grant.services.items())
    if api := grant.agent_api:
        calls = [label(one.name) for one in fields(api) if getattr(api, one.name) is True]
        yield f"agent API by a gateway{': ' if calls else ''}{' and '.join(calls)}"


def _notes(of: Asked, *, observed: bool, output: Output) -> None:
    asked_of = variables(of.documents.policy, of.documents.guardrails)
    for name in sorted(of.hidden & asked_of):
        how = "as it is masked" if name in of.claims.env else "as if not set"
        output(f"{printable(name)} is a secret, which records do not hold: decided {how}")
    if observed:
        output(f"This host observes {of.claims.pipeline}: a refusal would only be recorded")

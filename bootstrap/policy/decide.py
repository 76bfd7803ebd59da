"""The decision: which rule admits this job, if any, and why (docs/design.md#the-decision)."""

from dataclasses import replace

from bootstrap.job.facts import PLAIN
from bootstrap.job.model import Claims, Known, Provenance
from bootstrap.job.repository import same, same_name
from bootstrap.policy.guardrails import (
    AGENT_API,
    ORGANIZATION,
    WITHOUT_DOCUMENT,
    bounds_for,
    exceeds_for,
    forks_for,
    gives_access,
    limits_left,
)
from bootstrap.policy.match import COMMIT_ON_BRANCH, ELSEWHERE, UNKNOWN, VERIFIED, verdict
from bootstrap.policy.model import (
    Admitted,
    Decision,
    Denied,
    Excess,
    Grant,
    Guardrails,
    Policy,
    Reason,
    Rule,
)
from bootstrap.policy.requirements import demanded, unmet
from bootstrap.text import printable, without_credentials

MIRROR = "BUILDKITE_GIT_REMOTE_MIRROR_URL"  # agents from 3.136 on fetch the commit from it


def decide(claims: Claims, policy: Policy | None, guardrails: Guardrails | None = None) -> Decision:
    """Return the first rule whose every condition holds, or why there is none.

    No policy, another pipeline's policy, another repository and no matching rule all refuse; so
    does a matching rule that grants more than the guardrails allow, or whose grant requires what
    the job lacks. Without guardrails, forks get nothing and all else is allowed.
    """
    if policy is None:
        slug = printable(claims.pipeline)
        return Denied(
            problem=f"no policy exists for pipeline {slug!r}",
            hint=f"Add it to the store: {slug}.yaml in a directory, {slug}/policy in SSM.",
            nearest=None,
            reasons=(),
        )
    decision = _mismatch(claims, policy) or _first_match(claims, policy)
    if isinstance(decision, Denied):
        return decision
    return _within(guardrails or WITHOUT_DOCUMENT, claims, policy, *decision)


def agent_tags(policy: Policy, guardrails: Guardrails | None = None) -> tuple[str, ...]:
    """Return the agent's tags that any rule or requirement asks about."""
    listed = [rule.when for rule in policy.rules]
    listed += [requirement.when for requirement in guardrails.requires] if guardrails else []
    asked = (c.name for when in listed for c in when if c.subject == "agent-tag")
    return tuple(sorted({name for name in asked if name}))


_VARIABLES = {**PLAIN, "plugin": "BUILDKITE_PLUGINS"}


def variables(policy: Policy | None, guardrails: Guardrails | None) -> frozenset[str]:
    """Return the variables that any rule or requirement asks about, by name or by a fact."""
    listed = [rule.when for rule in policy.rules] if policy else []
    listed += [requirement.when for requirement in guardrails.requires] if guardrails else []
    asked = [c for when in listed for c in when]
    named = {c.name for c in asked if c.subject == "env" and c.name}
    return frozenset(named | {_VARIABLES[c.subject] for c in asked if c.subject in _VARIABLES})


def asks_for_commit(claims: Claims, policy: Policy | None, guardrails: Guardrails | None) -> bool:
    """Return whether the decision depends on the commit being on its branch.

    Only then is the repository checked: a job that is refused whatever the answer starts nothing.
    """
    decisions = (
        _decided_if(answer, claims, policy, guardrails) for answer in (VERIFIED, ELSEWHERE, UNKNOWN)
    )
    return len({d.rule if isinstance(d, Admitted) else None for d in decisions}) > 1


def grant_if_verified(
    claims: Claims, policy: Policy | None, guardrails: Guardrails | None
) -> Grant | None:
    """Return what the job gets if its commit is on its branch; None if it is refused even then.

    The check of the commit may use what this grant contains, and nothing of any other rule.
    """
    decision = _decided_if(VERIFIED, claims, policy, guardrails)
    return decision.grant if isinstance(decision, Admitted) else None


def _decided_if(
    answer: str, claims: Claims, policy: Policy | None, guardrails: Guardrails | None
) -> Decision:
    found = Known(value=answer, provenance=Provenance.HOST)
    return decide(with_commit(claims, found), policy, guardrails)


def with_commit(claims: Claims, answer: Known) -> Claims:
    """Return the claims with what the host found out about the commit."""
    return replace(claims, facts={**claims.facts, COMMIT_ON_BRANCH: answer})


def _within(
    guardrails: Guardrails, claims: Claims, policy: Policy, rule: Rule, reasons: tuple[Reason, ...]
) -> Decision:
    beyond = (*exceeds_for(claims, rule.allow, guardrails), *unmet(claims, rule, guardrails))
    if not beyond:
        return Admitted(
            rule=rule.name,
            grant=replace(rule.allow, at_most=limits_left(guardrails, claims.pipeline, rule.allow)),
            policy_origin=policy.origin,
            policy_digest=policy.digest,
            reasons=reasons,
            apart=_trusted_as(policy, rule, guardrails, claims.pipeline),
        )
    first = beyond[0]
    return _denied(
        policy,
        _beyond(first, rule, policy, guardrails),
        hint=first.hint or _hint(first.guardrail),
        nearest=rule.name,
        reasons=(*reasons, *(_reason(rule.name, excess) for excess in beyond)),
    )


def _beyond(excess: Excess, rule: Rule, policy: Policy, guardrails: Guardrails) -> str:
    if excess.guardrail == ORGANIZATION:
        return (
            f"the job is of organization {excess.got}, and the guardrails in {guardrails.origin} "
            f"are for {excess.allowed}"
        )
    return (
        f"rule {rule.name!r} of {policy.origin} exceeds the guardrail {excess.guardrail!r} of "
        f"{guardrails.origin}: got {excess.got}, allowed: {excess.allowed}"
    )


def _trusted_as(
    policy: Policy, rule: Rule, guardrails: Guardrails, pipeline: str
) -> tuple[str, ...]:
    """Return what decides which jobs come to the rule, and what of theirs changes what they run.

    A rule that keeps its name may once have asked for less, or have granted nothing: forks come to
    such a rule, and variables that change what runs. What jobs of then left in a workspace must
    not run with what it grants now.
    """
    grant, required = rule.allow, demanded(rule.allow, guardrails, pipeline)
    asked = (*rule.when, *(condition for one in required for condition in one.when))
    parts: tuple[list[object], ...] = (
        list({(c.subject, c.name, c.patterns) for c in asked}),
        list({str(one.grade) for one in required}),
        list(policy.repositories),
        [bounds.plugins for _, bounds in bounds_for(guardrails, pipeline)],
        [str(forks_for(guardrails, pipeline))],
        [kind.key for kind in grant.kinds],
        [not gives_access(grant)],
        list(grant.env),
    )
    return tuple(repr(sorted(map(repr, part))) for part in parts)


_REQUIRED = (
    "Start a build that meets the requirement, change the rule's conditions to facts that it "
    "accepts (docs/policy.md#what-a-condition-is-worth), or grant another role."
)


def _hint(guardrail: str) -> str:
    match guardrail:
        case "forks":
            return (
                "Grant forks nothing, and no builds (`pull-request: same-repository` leaves them "
                "out), or have the platform team write `forks: anything` into the guardrails."
            )
        case _ if guardrail.startswith("requires."):
            return _REQUIRED
        case "organization":
            return (
                "Correct `guardrails` in that document if the slug is wrong. Agents of another "
                "organization need a host of their own."
            )
        case "scopes":
            return "Ask the platform team to name the pipeline in one of the guardrails' scopes."
        case _ if guardrail.rpartition(".")[2] == AGENT_API:
            return (
                "Add `agent-api` to the rule, with the calls that its jobs make: "
                "docs/policy.md#the-agent-api."
            )
        case _:
            return "Reduce what the rule grants, or ask the platform team to widen the guardrail."


def _reason(rule: str, excess: Excess) -> Reason:
    return Reason(
        rule=rule,
        subject=f"guardrail {excess.guardrail}",
        expected=excess.allowed,
        got=excess.got,
        holds=False,
    )


def _mismatch(claims: Claims, policy: Policy) -> Denied | None:
    if policy.pipeline != claims.pipeline:
        return _denied(
            policy,
            f"{policy.origin} is the policy of pipeline {policy.pipeline!r}, "
            f"but the job belongs to pipeline {printable(claims.pipeline)!r}",
            hint="Give the document the name of the pipeline in it.",
        )
    if not any(same(allowed, claims.repository) for allowed in policy.repositories):
        return _denied(
            policy,
            f"repository: expected {without_credentials(' or '.join(policy.repositories))}, "
            f"got {printable(claims.repository)}",
            hint=_other_spelling(claims, policy)
            or f"If the pipeline's repository has moved, change `repository` in {policy.origin}.",
        )
    mirror = claims.env.get(MIRROR, "")
    if mirror and not any(same(allowed, mirror) for allowed in policy.repositories):
        return _denied(
            policy,
            f"{MIRROR}: expected {' or '.join(policy.repositories)}, or no value, "
            f"got {printable(mirror)}",
            hint="The agent would fetch the commit from that URL. Remove the variable, or add the "
            f"URL to `repository` in {policy.origin}.",
        )
    return None


def _other_spelling(claims: Claims, policy: Policy) -> str:
    """Forges other than the big three may serve different things by https and by ssh."""
    if not any(same_name(allowed, claims.repository) for allowed in policy.repositories):
        return ""
    return (
        "The two URLs have the same host and path in different forms. If both lead to the same "
        f"repository, list both under `repository` in {policy.origin}."
    )


def _first_match(claims: Claims, policy: Policy) -> tuple[Rule, tuple[Reason, ...]] | Denied:
    seen: list[Reason] = []
    failures: dict[str, list[Reason]] = {}
    for rule in policy.rules:
        reasons = _verdicts(rule, claims)
        seen.extend(reasons)
        failed = [reason for reason in reasons if not reason.holds]
        if not failed:
            return rule, tuple(seen)
        failures[rule.name] = failed
    return _none_matched(policy, failures, tuple(seen))


def _verdicts(rule: Rule, claims: Claims) -> tuple[Reason, ...]:
    """Check all conditions, not only up to the first that fails: the record shows every one."""
    return tuple(verdict(rule.name, condition, claims) for condition in rule.when)


def _none_matched(
    policy: Policy, failures: dict[str, list[Reason]], seen: tuple[Reason, ...]
) -> Denied:
    if not failures:
        return _denied(policy, f"{policy.origin} has no rules", hint="Add a rule.")
    nearest = min(failures, key=lambda name: len(failures[name]))
    first = failures[nearest][0]
    return _denied(
        policy,
        f"no rule of {policy.origin} admits this job; nearest is {nearest!r}: "
        f"expected {first.subject} {first.expected}, got {first.got}",
        hint=f"Change the build, or that rule in {policy.origin}.",
        nearest=nearest,
        reasons=seen,
    )


def _denied(
    policy: Policy,
    problem: str,
    *,
    hint: str,
    nearest: str | None = None,
    reasons: tuple[Reason, ...] = (),
) -> Denied:
    return Denied(
        problem=problem,
        hint=hint,
        nearest=nearest,
        reasons=reasons,
        policy_origin=policy.origin,
        policy_digest=policy.digest,
    )

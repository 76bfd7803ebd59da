"""Whether a job is admitted: its claims are confirmed, the policy decides, the record is written.

`airlock bootstrap` and `airlock admit` both call `admit`, so they come to the same decision.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Protocol, assert_never

from bootstrap.buildkite.agent_files import check_names
from bootstrap.buildkite.redaction import agent_env, masking, without_values
from bootstrap.errors import Refused, WrongConfiguration
from bootstrap.grants.role import Role
from bootstrap.host.config import Host
from bootstrap.job.assemble import is_part
from bootstrap.job.claims import confirmed, requested
from bootstrap.job.digest import digest
from bootstrap.job.model import Agent, Claims, Known, PullRequest
from bootstrap.log import JobLog
from bootstrap.policy import decide as rules
from bootstrap.policy.granted import granted
from bootstrap.policy.model import Admitted, Decision, Denied, Grant, Workspace
from bootstrap.policy.stores import PATIENCE, choose
from bootstrap.record import Record

OBSERVED = "observed"  # the rule's name in observe mode


@dataclass(frozen=True, kw_only=True, slots=True)
class Admission:
    """A decision and the claims it is based on, including signed ones and the host's own.

    `enforced` is False for a refusal that is only observed. `ages` are those of old documents
    (policy.stores.choose.Documents).
    """

    claims: Claims
    decision: Decision
    enforced: bool
    ages: Mapping[str, int] = field(default_factory=dict)


class Admit(Protocol):
    """Decides about a job and records that, as `admit` does."""

    def __call__(
        self, claims: Claims, agent: Agent, host: Host, record: Record, log: JobLog
    ) -> tuple[Claims, Admitted]:
        """Return the confirmed claims and what the job gets, or raise as `admit` does."""


def admit(
    claims: Claims,
    agent: Agent,
    host: Host,
    record: Record,
    log: JobLog,
    *,
    patience: float = PATIENCE,
) -> tuple[Claims, Admitted]:
    """Decide, record the decision, and only then act on it.

    `patience` is how many seconds the documents may take.

    Returns the confirmed claims and what the job gets. Raises Refused if no rule admits the job or
    if a signed claim differs, WrongConfiguration and CannotStart if there can be no decision.
    """
    record_job(claims, agent, record)
    check_token(agent, host, log)
    admission = decide(claims, agent, host, record, log, patience=patience)
    record_decision(admission.decision, record, enforced=admission.enforced, ages=admission.ages,
                    claims=digest(claims, agent.values))  # fmt: skip
    record.timed("policy")
    match admission.decision:
        case Admitted() as admitted:
            return admission.claims, admitted
        case Denied() as denied if not admission.enforced:
            return admission.claims, observed_grant(admission.claims, denied, host)
        case Denied(problem=problem, hint=hint) as denied:
            raise Refused(problem, hint=hint, details=_failures(denied))
        case _:
            assert_never(admission.decision)


def record_job(claims: Claims, agent: Agent, record: Record) -> None:
    """Add the identity of the job to every later event, and its environment to its record."""
    mask = masking(claims.env, agent.values)
    env, masked = without_values(claims.env, agent.values, mask)
    record.job(
        organization=claims.organization,
        pipeline=claims.pipeline,
        job=claims.job_id,
        build=claims.build_number,
        agent=claims.agent_name,
        env=env,
        agent_env=agent_env(agent.values),
        masked=masked,
        mask=mask,
    )


def record_unusable(env: Mapping[str, str], process_env: Mapping[str, str], record: Record) -> None:
    """Record the environment of a job that may not run because of it, with its failure.

    Not if its id is not that of the agent's files, or cannot be a part of a path: then the failure
    is in the audit trail alone.
    """
    names = ("ORGANIZATION_SLUG", "PIPELINE_SLUG", "JOB_ID", "BUILD_NUMBER", "AGENT_NAME")
    organization, pipeline, job, build, agent = (env.get(f"BUILDKITE_{n}", "") for n in names)
    with suppress(Refused):
        check_names(job, process_env)
        if is_part(job):
            mask = masking(env, process_env)
            shown, masked = without_values(env, process_env, mask)
            record.job(organization=organization, pipeline=pipeline, job=job, build=build,
                       agent=agent, env=shown, masked=masked, mask=mask)  # fmt: skip


def check_token(agent: Agent, host: Host, log: JobLog) -> None:
    """Keep the agent's own token out of the sandbox. Raises WrongConfiguration."""
    if agent.own_token:
        return
    problem = "the access token that the agent passes is not this job's alone (bkaj_…)"
    if host.policy.agent_tokens == "job":
        raise WrongConfiguration(
            problem,
            hint="A job that has the agent's own token can take its other jobs. Have Buildkite "
            'issue job tokens, or set policy.agent-tokens = "any" in airlock.toml.',
        )
    log.alert(f"{problem}: this job could take other jobs of the agent")


def decide(
    claims: Claims,
    agent: Agent,
    host: Host,
    record: Record,
    log: JobLog,
    *,
    patience: float = PATIENCE,
) -> Admission:
    """Confirm the claims, and decide about them by the documents of the store.

    The check of a commit may use the repository's credentials of the one rule that admits the job
    if the check succeeds, and nothing if there is no such rule. They are recorded as they are read.

    In observe mode, mistakes in a policy or in what the check needs are a refusal that is only
    observed. Otherwise they raise WrongConfiguration: to take them for an unknown commit would
    admit jobs by `verified-or-unknown`.
    """
    observes = host.policy.observes(claims.pipeline)
    try:
        read = choose.documents(host, claims.pipeline, patience=patience)
    except WrongConfiguration as mistakes:
        if not observes:
            raise
        return _only_observed(_confirmed(claims, agent, host, ()), mistakes)
    policy, guardrails = read.policy, read.guardrails
    for name, age in read.ages.items():
        log.note(f"{name}: {age} s old, because SSM did not answer (policy.serve-stale)")
    claims = _confirmed(claims, agent, host, rules.agent_tags(policy, guardrails) if policy else ())
    if rules.asks_for_commit(claims, policy, guardrails):
        from bootstrap.credentials.repository_access import repository_access  # noqa: PLC0415
        from bootstrap.sandbox.commit_check import ancestry  # noqa: PLC0415

        grant = rules.grant_if_verified(claims, policy, guardrails)
        access = partial(
            repository_access, grant, claims.repository, host.aws, log=log, record=record
        )
        try:
            commit_fact = ancestry.commit_on_branch(claims, host, access, log)
        except WrongConfiguration as mistakes:
            if not observes:
                raise
            return _only_observed(claims, mistakes)
        claims = rules.with_commit(claims, commit_fact)
    decision = rules.decide(claims, policy, guardrails)
    return Admission(
        claims=claims,
        decision=decision,
        enforced=not (observes and isinstance(decision, Denied)),
        ages=read.ages,
    )


def _only_observed(claims: Claims, mistakes: WrongConfiguration) -> Admission:
    denied = Denied(problem=mistakes.problem, hint=mistakes.hint, nearest=None, reasons=())
    return Admission(claims=claims, decision=denied, enforced=False)


def _confirmed(claims: Claims, agent: Agent, host: Host, tags: tuple[str, ...]) -> Claims:
    """Return the claims with those that Buildkite signed, if airlock.toml requires them.

    `tags` are the agent's tags that the pipeline's policy asks about. Raises Refused if the token
    is not this job's or differs from the environment, CannotStart if there is no token or no key
    to check it with.
    """
    if host.policy.identity != "signed":
        return claims
    from bootstrap.buildkite import identity  # noqa: PLC0415 - with the call, as few hosts need it
    from bootstrap.buildkite.agent_api import AgentApi  # noqa: PLC0415

    proxy_for = host.aws.proxy_for
    api = AgentApi(claims.job_id, agent.values, agent.token, proxy_for=proxy_for)
    token = api.oidc_token(identity.AUDIENCE, requested(tags))
    return confirmed(claims, identity.verified(token, host), tags)


def record_decision(
    decision: Decision,
    record: Record,
    *,
    enforced: bool = True,
    ages: Mapping[str, int] = MappingProxyType({}),
    claims: str = "",
) -> None:
    """Record the decision, whichever it is, with every reason. Raises CannotStart.

    `claims` is the digest of those that were decided about.
    """
    policy = {
        "origin": decision.policy_origin,
        "sha256": decision.policy_digest,
        "age": ages.get("policy"),
        "guardrails_age": ages.get("guardrails"),
    }
    reasons = [asdict(reason) for reason in decision.reasons]
    match decision:
        case Admitted(rule=rule, grant=grant):
            record.admitted(
                rule=rule, policy=policy, reasons=reasons, grant=granted(grant), claims=claims
            )
        case Denied(problem=problem, nearest=nearest):
            record.denied(
                problem=problem, nearest=nearest, policy=policy, reasons=reasons,
                enforced=enforced, claims=claims,
            )  # fmt: skip
        case _:
            assert_never(decision)


def observed_grant(claims: Claims, denied: Denied, host: Host) -> Admitted:
    """Return what a job gets in observe mode if it is refused: the operator's choice, or nothing.

    No rule separates trust levels here, so each branch and each tag has a workspace of its own. A
    pull request, or a build that may be one, gets no role and a fresh workspace.
    """
    request = claims.facts.get("pull-request")
    is_branch_or_tag = isinstance(request, Known) and request.value == PullRequest.NO
    role = host.policy.observe_role
    return Admitted(
        rule=OBSERVED,
        grant=Grant(
            kinds=(Role(granted=role),) if is_branch_or_tag and role else (),
            workspace=Workspace.REUSE if is_branch_or_tag else Workspace.FRESH,
        ),
        policy_origin=f"airlock.toml, only observed: {denied.problem}",
        policy_digest=denied.policy_digest or "",
        reasons=denied.reasons,
        apart=tuple(claims.env.get(f"BUILDKITE_{name}", "") for name in ("BRANCH", "TAG")),
    )


def _failures(denied: Denied) -> tuple[str, ...]:
    return tuple(
        f"rule {reason.rule!r}: {reason.subject}: expected {reason.expected}, got {reason.got}"
        for reason in denied.reasons
        if not reason.holds
    )

"""The way of a job through the airlock, in order. Nothing else knows this order."""

import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import assert_never

from bootstrap.aws.sts import Sts
from bootstrap.buildkite import identity
from bootstrap.buildkite.agent_api import AgentApi
from bootstrap.credentials import obtain
from bootstrap.errors import CannotStart, Refused, WrongConfiguration
from bootstrap.host import storage
from bootstrap.host.config import Host
from bootstrap.job.model import Job, Known, PullRequest
from bootstrap.job.read import read
from bootstrap.log import JobLog
from bootstrap.policy.decide import agent_tags, asks_for_commit, decide, with_commit
from bootstrap.policy.iam import AUDIENCE
from bootstrap.policy.model import Admitted, Decision, Denied, Grant, Workspace
from bootstrap.policy.stores import choose
from bootstrap.record import Record
from bootstrap.sandbox import ancestry, eviction, job_sandbox, lease
from bootstrap.sandbox.exitstatus import ExitStatus, explain, resolve
from bootstrap.sandbox.model import Ended, Evicted
from bootstrap.sandbox.signals import Cancellation
from bootstrap.sandbox.workspace import prepare_host, token_for
from bootstrap.secret import Secret

OBSERVED = "observed"  # the rule's name in observe mode


def run(
    process_env: Mapping[str, str],
    host: Host,
    *,
    log: JobLog,
    record: Record,
    cancellation: Cancellation,
    out: int,
) -> ExitStatus:
    """Take one job from its papers to its end and return the status the agent shall see.

    Raises an AirlockError if the job does not get as far as running, and CancelledEarly if the
    agent cancels it before. Either way nothing of it is left on this host.
    """
    job = read(process_env, writable=(host.paths.state,))
    log.group("Airlock")
    with cancellation.interrupting():
        admitted = admit(job, host, record, log)
    log.note(f"{job.pipeline}: rule {admitted.rule!r} of {admitted.policy_origin}")
    prepare_host(host.paths.runtime, host.paths.state)
    token = token_for(job.id, secrets.token_hex(4))
    with lease.reaper(host, token), ExitStack() as held:
        with cancellation.interrupting():
            lease.sweep(host)
            storage.collect(host, time.time())
            storage.require(host, note=log.note)
            tree = job_sandbox.tree_of(job, admitted, host, token)
            ours = held.enter_context(
                lease.acquire(host, token, tree=tree, agent=job.agent_name, alert=log.alert)
            )
            assume = Sts(host.aws, token=partial(_token_for_sts, job)).assume
            granted = held.enter_context(
                obtain.granted(job, admitted, host.aws, assume, log=log, record=record)
            )
            room = held.enter_context(
                job_sandbox.sealed(
                    job, admitted, granted, host, ours, log=log, record=record, out=out
                )
            )
        ended = room.supervision.until_end(room.pump, cancellation)
        with no_longer_its_business(log):
            held.close()
            if isinstance(ended, Evicted):
                eviction.discard_workspace(host, tree)
    for problem in room.pump.problems:
        log.alert(problem)
    explain(ended, log)
    return _concluded(ended, log, record)


def _token_for_sts(job: Job) -> Secret:
    return AgentApi(job.id, job.agent, job.token).oidc_token(AUDIENCE, ())


@contextmanager
def no_longer_its_business(log: JobLog) -> Iterator[None]:
    """Whatever goes wrong once the job has ended, its result stays its own."""
    try:
        yield
    except Exception as trouble:  # noqa: BLE001 - a bug of ours must not fail a finished job
        log.alert(
            f"the room was not cleared: {type(trouble).__name__}: {trouble}. The next job of this "
            "host, or `airlock gc`, does it"
        )


def _concluded(ended: Ended, log: JobLog, record: Record) -> ExitStatus:
    """The job's result is the job's: not even a full disk may change it any more."""
    status = resolve(ended)
    try:
        record.ended(status=status, ended=ended)
    except CannotStart as unwritable:
        log.alert(f"the job's end is not in the audit record: {unwritable.problem}")
    return status


def admit(job: Job, host: Host, record: Record, log: JobLog) -> Admitted:
    """Decide, write the decision down, and only then act on it. Raises Refused."""
    record.job(job)
    check_token(job, host, log)
    decision = decided(job, host, log)
    observed = isinstance(decision, Denied) and host.policy.observes(job.pipeline)
    record.decided(decision, enforced=not observed)
    record.timed("policy")
    match decision:
        case Admitted():
            return decision
        case Denied() if observed:
            return observed_grant(job, decision, host)
        case Denied():
            raise Refused(decision.problem, hint=decision.hint, details=_failures(decision))
        case _:
            assert_never(decision)


def check_token(job: Job, host: Host, log: JobLog) -> None:
    """Keep the agent's own token out of the sandbox. Raises WrongConfiguration."""
    if job.own_token:
        return
    problem = "the access token that the agent hands over is not this job's alone (bkaj_…)"
    if host.policy.agent_tokens == "job":
        raise WrongConfiguration(
            problem,
            hint="Whoever holds the agent's own token can take its other jobs. Have Buildkite "
            'issue job tokens, or set policy.agent-tokens = "any" in airlock.toml.',
        )
    log.alert(f"{problem}: this job could take other jobs of the agent")


def decided(job: Job, host: Host, log: JobLog) -> Decision:
    """Decide by the store's documents. A policy with mistakes refuses where it is only observed."""
    try:
        policy, guardrails = choose.policy_for(host, job.pipeline), choose.guardrails_of(host)
    except WrongConfiguration as mistakes:
        if not host.policy.observes(job.pipeline):
            raise
        identity.confirmed(job, host)
        return Denied(problem=mistakes.problem, hint=mistakes.hint, nearest=None, reasons=())
    job = identity.confirmed(job, host, agent_tags(policy) if policy else ())
    if asks_for_commit(job, policy, guardrails):
        job = with_commit(job, ancestry.commit_on_branch(job, host, log))
    return decide(job, policy, guardrails)


def observed_grant(job: Job, denied: Denied, host: Host) -> Admitted:
    """What a job gets that is refused in name only: what the operator chose, nothing by default.

    No rule says here whom to trust, so nobody is trusted with what another left behind: branches
    and tags have workspaces of their own. A pull request, which anybody may have opened, gets no
    role and a workspace that is thrown away; so does what cannot be told apart from one.
    """
    request = job.facts.get("pull-request")
    ours = isinstance(request, Known) and request.value == PullRequest.NO
    return Admitted(
        rule=OBSERVED,
        grant=Grant(
            role=host.policy.observe_role if ours else None,
            workspace=Workspace.REUSE if ours else Workspace.FRESH,
        ),
        policy_origin=f"airlock.toml, only observed: {denied.problem}",
        policy_digest=denied.policy_digest or "",
        reasons=denied.reasons,
        apart=tuple(job.env.get(f"BUILDKITE_{name}", "") for name in ("BRANCH", "TAG")),
    )


def _failures(denied: Denied) -> tuple[str, ...]:
    return tuple(
        f"rule {reason.rule!r}: {reason.subject}: expected {reason.expected}, got {reason.got}"
        for reason in denied.reasons
        if not reason.holds
    )

"""The steps of one job in order; no other module determines this order."""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import partial

from bootstrap.admission import record_unusable
from bootstrap.alerts import Alerts
from bootstrap.aws.iam import AUDIENCE
from bootstrap.aws.model import SessionRequest
from bootstrap.aws.sts import Sts
from bootstrap.buildkite.grace import Grace
from bootstrap.caller import Caller
from bootstrap.credentials import obtain
from bootstrap.credentials.calls import CallsApart
from bootstrap.credentials.plan import plans
from bootstrap.ending import NOT_REMOVED, Result, concluded
from bootstrap.errors import AirlockError
from bootstrap.grants.kind import Obtained
from bootstrap.host import storage
from bootstrap.host.config import Host
from bootstrap.job.assemble import assemble
from bootstrap.job.model import Job
from bootstrap.job.read import read
from bootstrap.log import JobLog
from bootstrap.policy.model import Admitted
from bootstrap.record import Record
from bootstrap.sandbox import agent_paths, job_sandbox
from bootstrap.sandbox.container import bridged
from bootstrap.sandbox.leases import lease
from bootstrap.sandbox.leases.clearing import PATIENCE
from bootstrap.sandbox.model import Evicted
from bootstrap.sandbox.supervision import eviction
from bootstrap.sandbox.supervision.exitstatus import ExitStatus
from bootstrap.sandbox.supervision.signals import Cancellation
from bootstrap.sandbox.workspace import prepare_host, token_for
from bootstrap.secret import Secret

BEFORE_KILL = 0.6  # seconds between the end of clearing and the agent's SIGKILL


def run(
    process_env: Mapping[str, str],
    host: Host,
    caller: Caller,
    *,
    log: JobLog,
    record: Record,
    cancellation: Cancellation,
    out: int,
) -> ExitStatus:
    """Take one job from its environment files to its end and return the status for the agent.

    Raises an AirlockError if the job does not get as far as running, and CancelledEarly if the
    agent cancels it before. Either way nothing of it is left on this host.
    """
    job = _job(process_env, host, caller.uid, record)
    log.group("Airlock")
    with cancellation.interrupting():
        claims, admitted = caller.admit(job.claims, job.agent, host, record, log)
    job = replace(job, claims=claims, agent=agent_paths.checked(job.agent, host.sandbox))
    log.note(f"{claims.pipeline}: rule {admitted.rule!r} of {admitted.policy_origin}")
    prepare_host(host.paths.runtime, host.paths.state)
    token = token_for(claims.job_id, os.urandom(4).hex())
    alerts = Alerts(log, record)
    result = Result(alerts)
    with result.kept(), caller.reaper(host, token), ExitStack() as held:
        with cancellation.interrupting():
            bridge = held.enter_context(bridged(host))
            if problem := lease.sweep(host).problem():
                log.alert(problem)
            storage.collect(host, time.time())
            storage.require(host, note=log.note)
            tree = job_sandbox.tree_of(job, admitted, host, token)
            acquire = partial(lease.acquire, host, token, tree=tree, agent=claims.agent_name)
            patience = partial(clearing_patience, cancellation, job.grace)
            job_lease = held.enter_context(acquire(alert=log.alert, patience=patience))
            requests = plans(claims, admitted.grant, rule=admitted.rule)
            record.timed("lease")
            obtaining = partial(_obtaining, requests, admitted, job, host, log=log, record=record)
            sandbox = held.enter_context(
                job_sandbox.opened_sandbox(
                    job, admitted, obtaining, host, job_lease,
                    bridge=bridge, log=log, record=record, out=out, prepared=caller.prepared,
                )
            )  # fmt: skip
        record.began(log.alert)
        caller.begun()
        ended = result.ended = sandbox.supervision.until_end(sandbox.pump, cancellation)
        # No failure has a part in the result from here on.
        with alerts.instead(NOT_REMOVED):
            held.close()
        if isinstance(ended, Evicted):
            with alerts.instead("the job's workspace was not discarded"):
                eviction.discard_workspace(host, tree)
    problems, full = sandbox.pump.problems, sandbox.fullness.found
    return concluded(ended, alerts, problems=problems, full=full, log=log, record=record)


def _job(process_env: Mapping[str, str], host: Host, agent_uid: int, record: Record) -> Job:
    env = read(process_env, owner=agent_uid, writable=(host.paths.state,))
    try:
        return assemble(env, process_env, agent_uid=agent_uid)
    except AirlockError:
        record_unusable(env, process_env, record)
        raise


def _obtaining(
    requests: Mapping[str, SessionRequest],
    admitted: Admitted,
    job: Job,
    host: Host,
    *,
    log: JobLog,
    record: Record,
) -> AbstractContextManager[Callable[[], Obtained]]:
    assume = Sts(host.aws, token=partial(_token_for_sts, job, host)).assume
    return obtain.obtaining(
        requests, admitted.grant, host.aws, assume, log=log, record=record, begin=CallsApart
    )


def clearing_patience(cancellation: Cancellation, grace: Grace) -> float:
    """Return how many seconds clearing may take: after a cancellation the agent kills Airlock."""
    if cancellation.received is None or cancellation.abandoned:
        return PATIENCE
    left = cancellation.received + grace.until_kill - BEFORE_KILL - time.monotonic()
    return max(0.0, min(PATIENCE, left))


def _token_for_sts(job: Job, host: Host) -> Secret:
    from bootstrap.buildkite.agent_api import AgentApi  # noqa: PLC0415 - few rules need a token

    of, proxy_for = job.agent, host.aws.proxy_for
    api = AgentApi(job.claims.job_id, of.values, of.token, proxy_for=proxy_for)
    return api.oidc_token(AUDIENCE, ())

"""From a job and what its grant needs to an isolated sandbox at its start gate.

The steps, in order. Each needs those before it, and nothing of the job runs before the caller
opens the start gate.

1. The image is pulled, unless this host has it.
2. The job's variables are chosen: without AWS's chain, and without what steers a job with a grant.
3. The workspace is locked and the sandbox directory created; both belong to the job's uid.
4. `container.created`, for which the ruleset has to be loaded.
5. AWS is called, in threads, for what the grant needs.
6. `container.opened`: start, credential endpoint, and the proof that it is isolated. The endpoint
   waits for what step 5 obtains.
   Then the rule's service containers, if it has any, are started, and have to be ready.
7. The grant is delivered: nothing secret is put where an unproven container could read it.
8. The environment is written, which step 7 has part in.
9. Output is pumped and the job's end watched for.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.alerts import Alerts
from bootstrap.credentials import environment as aws_environment
from bootstrap.grants.kind import Obtained
from bootstrap.host.config import Host
from bootstrap.job.model import Job
from bootstrap.log import JobLog
from bootstrap.policy.model import Admitted
from bootstrap.policy.steering import left_out
from bootstrap.record import Record
from bootstrap.sandbox import agent_paths, engine, report, workspace
from bootstrap.sandbox.agent_settings import MIRRORS, trees
from bootstrap.sandbox.ahead import holder
from bootstrap.sandbox.container import Bridge, Opened, created, opened
from bootstrap.sandbox.delivery import SandboxDelivery, deliver, report_use
from bootstrap.sandbox.environment import sandbox_environment, sandbox_grace
from bootstrap.sandbox.images.image import provided
from bootstrap.sandbox.leases.lease import Lease
from bootstrap.sandbox.model import Holder, Image, SandboxSpec
from bootstrap.sandbox.network import connections, resolvers
from bootstrap.sandbox.of_rule import OfRule
from bootstrap.sandbox.plan import HOME, plan, workspace_key
from bootstrap.sandbox.supervision import eviction
from bootstrap.sandbox.supervision.fullness import Fullness
from bootstrap.sandbox.supervision.process_end import ProcessEnd
from bootstrap.sandbox.supervision.pump import Pump
from bootstrap.sandbox.supervision.supervise import Supervision

if TYPE_CHECKING:
    from bootstrap.sandbox.agent_gateway import Inside
    from bootstrap.sandbox.builds.builder import Builder
    from bootstrap.sandbox.engine_client import Client


Obtaining = Callable[[], AbstractContextManager[Callable[[], Obtained]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class JobSandbox:
    """A sandbox that has been shown to be isolated; its entry waits at the start gate."""

    supervision: Supervision
    pump: Pump
    fullness: Fullness


def tree_of(job: Job, admitted: Admitted, host: Host, token: str) -> Path:
    """Where the job's workspace is, or will be.

    Users of agents have workspaces of their own, because each can give its agents any name. Root's
    are where they were when all agents were root.
    """
    users = (f"uid {job.agent.uid}",) if job.agent.uid else ()
    # A checkout refers to its mirror by this path, and is of no use without.
    mirrors = (f"mirrors {path}",) if (path := job.agent.values.get(MIRRORS)) else ()
    key = workspace_key(job.claims, admitted.rule, (*admitted.apart, *users, *mirrors))
    return workspace.workspace_path(
        host.paths.state, key, kind=admitted.grant.workspace, token=token
    )


@contextmanager
def opened_sandbox(
    job: Job,
    admitted: Admitted,
    obtaining: Obtaining,
    host: Host,
    lease: Lease,
    *,
    bridge: Bridge,
    log: JobLog,
    record: Record,
    out: int,
    prepared: bool,
) -> Iterator[JobSandbox]:
    """Open the job's sandbox and prove it. Raises CannotStart, Refused, WrongConfiguration.

    `obtaining` begins to obtain what the grant needs, `prepared` is whether a network namespace may
    be used that was prepared ahead. Nothing of the job has run when this yields. When it closes,
    the job's credentials are no longer served; what the lease names is removed by the lease.
    """
    with ExitStack() as held:
        client = held.enter_context(engine.connected(host.sandbox.docker))
        image = provided(client, admitted.grant.image, host, log)
        of_rule = OfRule(job=job, admitted=admitted, host=host, log=log, record=record)
        services, build = of_rule.services(client), of_rule.builder(client)
        record.timed("engine")
        passed, tree = _passed(job, admitted), tree_of(job, admitted, host, lease.token)
        spec, directory = _prepare(
            held, job, admitted, host, lease, kept=passed.variables, image=image, note=log.note
        )
        record.timed("directories")
        adopt = partial(_adopt, host, lease, prepared=prepared)
        made = held.enter_context(created(client, spec, bridge, adopt=adopt, timed=record.timed))
        # Not earlier: a job whose container cannot be made needs nothing of AWS. The start takes
        # longer than all the steps before, and this thread has nothing else to do meanwhile.
        obtained = held.enter_context(obtaining())
        container = held.enter_context(opened(
            client, made, host, lease, bridge, listening=partial(of_rule.listening, obtained),
            gateway=of_rule.gateway, egress=of_rule.egress,
            timed=record.timed, report=report.routing(held, log, record),
        ))  # fmt: skip
        held.enter_context(services(lease, container))
        sandbox = _delivery(held, admitted, host, lease, container, directory=directory,
                            variables=passed.variables, log=log, record=record)  # fmt: skip
        builder = held.enter_context(build(lease, container, directory, tree))
        record.timed("beside")
        dropped = _deliver(job, admitted, obtained(), sandbox, container.agent_api, builder=builder)
        record.timed("delivery")
        held.enter_context(connections.reported(container.running.address, log, record))
        pump = held.enter_context(closing(_pump(client, container, record, out)))
        pid = container.running.pid
        watch = held.enter_context(eviction.watched(host, lease, tree, pid=pid))
        supervision = _supervision(
            client, container, job, directory=directory, disk=watch, alerts=Alerts(log, record),
            process_end=held.enter_context(closing(ProcessEnd(pid, container.guard.process))),
        )  # fmt: skip
        pump.start()
        report.proven(log, record, client.server, spec=spec, container=container, passed=passed,
                      dropped=dropped, job=job, builder=builder)  # fmt: skip
        yield JobSandbox(supervision=supervision, pump=pump, fullness=watch.fullness)


def _delivery(
    held: ExitStack,
    admitted: Admitted,
    host: Host,
    lease: Lease,
    container: Opened,
    *,
    directory: workspace.SandboxDirectory,
    variables: dict[str, str],
    log: JobLog,
    record: Record,
) -> SandboxDelivery:
    return SandboxDelivery(
        held=held, directory=directory, env=variables, region=host.aws.region,
        endpoint=container.listener.path if container.listener else None,
        settings=host.sandbox, known_hosts=admitted.grant.known_hosts, uid=lease.uid, log=log,
        used=partial(report_use, log, record),
    )  # fmt: skip


def _pump(client: "Client", container: Opened, record: Record, out: int) -> Pump:
    again = partial(engine.attach, client, container.running.id)
    return Pump(container.stream, out, again, record.printed)


def _adopt(host: Host, lease: Lease, *, prepared: bool) -> Holder | None:
    if not prepared:
        return None
    return holder.adopt(host.paths.runtime, lease.directory, host.sandbox)


def _supervision(
    client: "Client",
    container: Opened,
    job: Job,
    *,
    directory: workspace.SandboxDirectory,
    disk: eviction.Watch,
    process_end: ProcessEnd,
    alerts: Alerts,
) -> Supervision:
    return Supervision(
        client,
        container.running,
        guard=container.guard,
        grace=sandbox_grace(job.grace),
        directory=directory,
        timeout_marker=job.timeout_marker,
        disk=disk,
        process_end=process_end,
        alerts=alerts,
    )


def _passed(job: Job, admitted: Admitted) -> report.Passed:
    kept, chain = aws_environment.strip(job.claims.env)
    steering = left_out(kept, admitted.grant)
    return report.Passed(
        variables={name: value for name, value in kept.items() if name not in steering},
        chain=chain,
        steering=tuple(steering),
    )


def _prepare(
    held: ExitStack,
    job: Job,
    admitted: Admitted,
    host: Host,
    lease: Lease,
    *,
    kept: dict[str, str],
    image: Image,
    note: Callable[[str], object],
) -> tuple[SandboxSpec, workspace.SandboxDirectory]:
    """Create both directories and describe the container."""
    state, tree = host.paths.state, tree_of(job, admitted, host, lease.token)
    parts = tuple(trees(job))
    held.enter_context(workspace.workspace(state, tree, parts, uid=lease.uid, note=note))
    directory = held.enter_context(
        workspace.sandbox_directory(lease.directory, kept, uid=lease.uid, home=str(HOME))
    )
    if admitted.grant.egress is None:
        resolvers.write_into(directory.path, host.sandbox.dns)
    else:
        resolvers.write_own(directory.path)
    if admitted.grant.services:
        from bootstrap.sandbox.companions import beside  # noqa: PLC0415 - of such jobs only

        beside.prepare(directory.path, admitted.grant.services)
    spec = plan(
        job,
        admitted.grant,
        host.sandbox,
        token=lease.token,
        uid=lease.uid,
        image=image,
        sandbox_directory=directory.path,
        workspace=tree,
        agent_binary=agent_paths.binary(job.agent, host.sandbox),
    )
    return spec, directory


def _deliver(
    job: Job,
    admitted: Admitted,
    obtained: Obtained,
    sandbox: SandboxDelivery,
    agent_api: "Inside | None",
    *,
    builder: "Builder | None",
) -> tuple[str, ...]:
    """Deliver the grant, write the environment, and return the variables that are left out."""
    granted = deliver(admitted.grant, obtained, sandbox)
    environment = sandbox_environment(
        job,
        job_env=sandbox.env,
        granted={
            **aws_environment.region_only(sandbox.region),
            **granted,
            **(builder.variables if builder else {}),
        },
        home=str(HOME),
        agent_api=(agent_api.endpoint, agent_api.token) if agent_api else None,
    )
    sandbox.directory.write_environment(environment.variables)
    return environment.dropped

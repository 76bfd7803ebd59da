"""From a job with its session to a sealed room that waits for the word: every step in order."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bootstrap.aws.model import Session
from bootstrap.credentials import environment as aws_environment
from bootstrap.credentials.answer import process_document
from bootstrap.credentials.endpoint import Endpoint, serving
from bootstrap.credentials.obtain import Granted, unexpired
from bootstrap.credentials.registries import docker_config
from bootstrap.credentials.renewal import Sessions
from bootstrap.errors import WrongConfiguration
from bootstrap.host.config import Host
from bootstrap.job.model import Job
from bootstrap.log import JobLog
from bootstrap.policy.model import Admitted, CredentialDelivery
from bootstrap.policy.steering import left_out
from bootstrap.record import Record
from bootstrap.sandbox import engine, eviction, firewall, git_tokens, workspace
from bootstrap.sandbox.container import Opened, opened
from bootstrap.sandbox.environment import (
    AIRLOCK,
    PROFILES,
    REGISTRIES,
    SECRETS,
    sandbox_environment,
    sandbox_grace,
)
from bootstrap.sandbox.image import provided
from bootstrap.sandbox.lease import Lease
from bootstrap.sandbox.model import SandboxSpec
from bootstrap.sandbox.plan import HOME, plan, workspace_key
from bootstrap.sandbox.pump import Pump
from bootstrap.sandbox.ssh_agent import known_hosts, report_use, ssh_agent
from bootstrap.sandbox.ssh_agent import variables as variables_of_ssh
from bootstrap.sandbox.supervise import Supervision


@dataclass(frozen=True, kw_only=True, slots=True)
class SealedSandbox:
    """A room that has been shown to be sealed; its entry waits for the word."""

    supervision: Supervision
    pump: Pump


def tree_of(job: Job, admitted: Admitted, host: Host, token: str) -> Path:
    """Where the job's workspace is, or will be."""
    key, kind = workspace_key(job, admitted.rule, admitted.apart), admitted.grant.workspace
    return workspace.workspace_path(host.paths.state, key, kind=kind, token=token)


@contextmanager
def sealed(
    job: Job,
    admitted: Admitted,
    granted: Granted,
    host: Host,
    lease: Lease,
    *,
    log: JobLog,
    record: Record,
    out: int,
) -> Iterator[SealedSandbox]:
    """Open a room for `job` and prove its walls. Raises CannotStart, Refused, WrongConfiguration.

    Nothing of the job has run when this yields. When it closes, the job's credentials are no
    longer served; what the lease names is removed by the lease.
    """
    with ExitStack() as held:
        client = held.enter_context(engine.connected(host.sandbox.docker))
        image = provided(client, admitted.grant.image, host, log)
        record.timed("engine")
        passed = _passed(job, admitted)
        kept = passed.variables
        spec, room = _prepare(
            held, job, admitted, host, lease, kept=kept, image=image, note=log.note
        )
        tools = {
            **_git(room, granted, kept),
            **_ssh(held, room, admitted, granted, host, uid=lease.uid, log=log, record=record),
            **_registries(room, granted),
        }
        record.timed("directories")
        listening = partial(_listening, granted.default, admitted)
        container = held.enter_context(
            opened(client, spec, host, lease, listening=listening, timed=record.timed)
        )
        ours = {**_aws(job, host, granted, container.listener, admitted), **tools}
        variables = sandbox_environment(
            job, job_env=kept, granted=ours, secrets=granted.variables, home=str(HOME)
        )
        room.write_environment(variables.variables)
        _deliver(room, granted, host.aws.region)
        pump = Pump(container.stream, out, lambda: engine.attach(client, container.running.id))
        held.callback(pump.close)
        tree = tree_of(job, admitted, host, lease.token)
        supervision = Supervision(
            client,
            container.running,
            guard=container.guard,
            grace=sandbox_grace(job.grace),
            directory=room,
            timeout_marker=job.timeout_marker,
            disk=held.enter_context(eviction.watched(host, lease, tree)),
        )
        pump.start()
        _report(
            log,
            record,
            spec=spec,
            container=container,
            passed=passed,
            dropped=variables.dropped,
        )
        yield SealedSandbox(supervision=supervision, pump=pump)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Passed:
    """The job's variables that it gets, and the names of those that it does not."""

    variables: dict[str, str]
    chain: tuple[str, ...]  # of AWS clients
    steering: tuple[str, ...]  # of what a job runs


def _passed(job: Job, admitted: Admitted) -> _Passed:
    kept, chain = aws_environment.strip(job.env)
    steering = left_out(kept, admitted.grant)
    return _Passed(
        variables={name: value for name, value in kept.items() if name not in steering},
        chain=chain,
        steering=tuple(steering),
    )


@contextmanager
def _listening(sessions: Sessions | None, admitted: Admitted) -> Iterator[Endpoint | None]:
    if sessions is None or admitted.grant.delivery is CredentialDelivery.ENV:
        yield None
        return
    with serving(firewall.ENDPOINT_ADDRESS, sessions) as endpoint:
        yield endpoint


def _prepare(
    held: ExitStack,
    job: Job,
    admitted: Admitted,
    host: Host,
    lease: Lease,
    *,
    kept: dict[str, str],
    image: str,
    note: Callable[[str], object],
) -> tuple[SandboxSpec, workspace.SandboxDirectory]:
    """Furnish both directories and describe the room."""
    state, tree = host.paths.state, tree_of(job, admitted, host, lease.token)
    held.enter_context(workspace.workspace(state, tree, uid=lease.uid, note=note))
    room = held.enter_context(
        workspace.sandbox_directory(lease.directory, kept, uid=lease.uid, home=str(HOME))
    )
    spec = plan(
        job,
        admitted.grant,
        host.sandbox,
        token=lease.token,
        uid=lease.uid,
        image=image,
        sandbox_directory=room.path,
        workspace=tree,
        agent_binary=_agent_binary(job, host),
    )
    return spec, room


def _agent_binary(job: Job, host: Host) -> Path:
    """The host's own agent, so that outside and inside are always of one version."""
    directory = job.agent.get("BUILDKITE_BIN_PATH", "/usr/bin")
    path = (host.sandbox.agent_binary or Path(directory) / "buildkite-agent").resolve()
    if not path.is_file():
        raise WrongConfiguration(
            f"there is no buildkite-agent at {path}",
            hint="Set sandbox.agent-binary in airlock.toml to the agent's binary on this host.",
        )
    return path


def _aws(
    job: Job,
    host: Host,
    granted: Granted,
    listener: Endpoint | None,
    admitted: Admitted,
) -> dict[str, str]:
    """Return the AWS variables of the room, by the delivery its rule asks for."""
    plain = aws_environment.region_only(host.aws.region)
    if granted.profiles:
        plain |= aws_environment.by_profiles(str(PROFILES))
    if listener:
        return {**plain, **aws_environment.by_endpoint(listener.path, job.env)}
    if granted.default is None:
        return plain
    session = unexpired(granted.default, admitted.grant)
    return {**plain, **aws_environment.by_variables(session)}


def _git(
    room: workspace.SandboxDirectory, granted: Granted, kept: dict[str, str]
) -> dict[str, str]:
    """Deliver the rule's tokens for git, if it has any, and return what leads to them."""
    if not granted.git_tokens:
        return {}
    room.put(git_tokens.TOKENS, git_tokens.lines(granted.git_tokens))
    return git_tokens.variables(kept)


def _ssh(
    held: ExitStack,
    room: workspace.SandboxDirectory,
    admitted: Admitted,
    granted: Granted,
    host: Host,
    *,
    uid: int,
    log: JobLog,
    record: Record,
) -> dict[str, str]:
    """Start the agent with the rule's keys, if it has any, and return what leads there."""
    if not granted.ssh_keys:
        return {}
    known = known_hosts(admitted.grant.known_hosts)
    room.put(AIRLOCK / "known_hosts", known)
    bound = host.sandbox.ssh_destinations == "trusted"
    if not bound:
        log.note('ssh keys work towards every host: sandbox.ssh-destinations is "any"')
    agent = ssh_agent(
        room.path / "ssh",
        room.path.parent / "ssh-agent",
        granted.ssh_keys,
        uid=uid,
        agent_uid=host.sandbox.helper_uid,
        known=known if bound else None,
        used=partial(report_use, log=log, record=record),
    )
    held.enter_context(agent)
    return variables_of_ssh()


def _registries(room: workspace.SandboxDirectory, granted: Granted) -> dict[str, str]:
    """Log the job in at the rule's registries: skopeo and buildah read a variable of their own."""
    if not granted.registries:
        return {}
    path = REGISTRIES / "config.json"
    room.put(path, docker_config(granted.registries))
    return {"DOCKER_CONFIG": str(REGISTRIES), "REGISTRY_AUTH_FILE": str(path)}


def _deliver(room: workspace.SandboxDirectory, granted: Granted, region: str) -> None:
    """Put profiles and secret files where only the job's user reads them, and keep them fresh."""
    if granted.profiles:
        config = aws_environment.config_file(
            granted.profiles, directory=str(PROFILES), region=region
        )
        room.put(PROFILES / "config", config)
    for name, sessions in granted.profiles.items():
        sessions.publish(partial(_put_session, room, name))
    for name, secret in granted.files.items():
        room.put(SECRETS / name, secret.reveal().encode())


def _put_session(room: workspace.SandboxDirectory, profile: str, session: Session) -> None:
    room.put(PROFILES / f"{profile}.json", process_document(session))


def _report(
    log: JobLog,
    record: Record,
    *,
    spec: SandboxSpec,
    container: Opened,
    passed: _Passed,
    dropped: tuple[str, ...],
) -> None:
    log.note(
        f"{spec.name}: image {spec.image[:19]}, {len(container.probes)} checks of its isolation "
        "passed"
    )
    log.note(", ".join(f"{step} {took:.2f} s" for step, took in record.timings.items()))
    if passed.chain:
        log.note(f"left out of the job's environment, its AWS chain: {', '.join(passed.chain)}")
    if passed.steering:
        log.note(
            f"left out of the job's environment: {', '.join(passed.steering)}. The rule grants "
            "something, and these change what a job runs; allow.env of the rule can list those it "
            "may bring"
        )
    record.sandbox(
        image=spec.image,
        address=container.running.address,
        container=spec.name,
        proof={probe.target: probe.outcome for probe in container.probes},
        firewall_reloaded=container.ruleset_reloaded,
        dropped=sorted({*passed.chain, *dropped}),
    )

"""`airlock admit`: the same decision in the agent's pre-bootstrap hook, before anything starts."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from html import escape
from pathlib import Path

from bootstrap import admission
from bootstrap.caller import Caller, Decided, alone
from bootstrap.errors import AirlockError, CannotStart, Refused, WrongConfiguration
from bootstrap.host.config import Host
from bootstrap.job.assemble import agent_of, claims_of
from bootstrap.job.model import Agent, Claims
from bootstrap.job.read import read
from bootstrap.log import JobLog, Write
from bootstrap.metrics import report
from bootstrap.policy.model import Admitted
from bootstrap.policy.steering import not_listed
from bootstrap.policy.unsandboxed import needs_sandbox
from bootstrap.record import Record
from bootstrap.sandbox.supervision.signals import CancelledEarly
from bootstrap.text import printable

CONTEXT = "airlock"
# Seconds for the documents. Less than `airlock bootstrap` has, because the agent starts nothing and
# cancels nothing while the hook runs; what is not known by then is decided there.
PATIENCE = 20.0
# Variables that act in the dynamic loader of the next program, before its first line.
LOADER = ("LD_", "GLIBC_TUNABLES", "GCONV_PATH", "LOCPATH")
# What becomes of a job that is not decided about, by whether this decision is the only one.
_AFTER = {False: "airlock bootstrap will decide again", True: "the job does not start"}


def admit(
    *, config_path: Path, process_env: Mapping[str, str], write: Write, final: bool = False
) -> int:
    """Run the command in a process of its own, and return its exit status."""
    return admission_status(alone(config_path), process_env, write, final=final)


def admission_status(
    caller: Caller, process_env: Mapping[str, str], write: Write, *, final: bool = False
) -> int:
    """Decide about the job whose environment files the agent names.

    Returns 0 if it may start, or if that is not decided: `airlock bootstrap` decides again and ends
    with 125, which can be retried, where a refusal here cannot. A signal has the same effect,
    whatever this waits for, once the job is known to bring no loader variables; before, it ends
    this process. Else the refusal's status, with the reasons on the build's page.

    `final`: no `airlock bootstrap` follows. Then what is not decided, and a signal, is 125, and a
    job whose rule needs a sandbox is refused with 78.
    """
    log = JobLog(write)
    host = caller.host()
    log.mask(*host.secrets)
    report.to(host.paths.runtime)
    record: Record | None = None
    try:
        env = _read(process_env, host, caller)
        claims, agent = claims_of(env, process_env), agent_of(env, process_env)
    except AirlockError as unreadable:  # its loader variables could act on `airlock bootstrap`
        log.failure(unreadable)
        _save(unreadable, partial(_unusable, process_env, host, caller), host, caller, log)
        return unreadable.exit_code
    try:
        if caller.exposed:
            refuse_loader_variables(claims, host)
        record = _record(host)
        with caller.signals() as requested, requested.interrupting():
            confirmed, admitted = admission.admit(
                claims, agent, host, record, log, patience=PATIENCE
            )
            if final:
                refuse_without_sandbox(confirmed, admitted)
            caller.decided(
                Decided(
                    claims=claims, confirmed=confirmed, admitted=admitted, agent=agent,
                    record=record,
                )
            )  # fmt: skip
    except CancelledEarly as stopped:
        log.note(f"stopped by {stopped.by.name}; {_AFTER[final]}")
        return CannotStart.exit_code if final else 0
    except AirlockError as refusal:
        if isinstance(refusal, CannotStart) and not final:
            log.note(f"{refusal.problem}; {_AFTER[final]}")
            return 0
        log.failure(refusal)
        known = record  # None: it was refused for its loader variables
        _save(refusal, lambda: known or _known(claims, agent, host), host, caller, log)
        _annotate(claims, agent, host, refusal, log)
        return refusal.exit_code
    log.note(f"{claims.pipeline}: admitted by rule {admitted.rule!r} of {admitted.policy_origin}")
    return 0


def _read(process_env: Mapping[str, str], host: Host, caller: Caller) -> dict[str, str]:
    return read(process_env, owner=caller.uid, writable=(host.paths.state,))


def _record(host: Host) -> Record:
    return Record(host.paths.records, f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")


def _known(claims: Claims, agent: Agent, host: Host) -> Record:
    record = _record(host)
    admission.record_job(claims, agent, record)
    return record


def _unusable(process_env: Mapping[str, str], host: Host, caller: Caller) -> Record:
    record = _record(host)
    with suppress(AirlockError):  # the files themselves may be what is wrong
        admission.record_unusable(_read(process_env, host, caller), process_env, record)
    return record


def _save(
    refusal: AirlockError, recorded: Callable[[], Record], host: Host, caller: Caller, log: JobLog
) -> None:
    """Write the job's own record: it ends here. It is refused all the same if that fails."""
    try:
        record = recorded()
        if not any(event["event"] == "denied" for event in record.events):
            record.failed(refusal)
        record.save(host.paths.state / "records", caller.uid)
    except (AirlockError, OSError) as failed:
        log.note(f"the job's own record could not be written: {failed}")


def refuse_loader_variables(claims: Claims, host: Host) -> None:
    """Refuse variables that act on `airlock bootstrap` before its first line. Raises Refused."""
    loader_variables = sorted(name for name in claims.env if name.startswith(LOADER))
    if loader_variables and host.policy.loader_variables == "refuse":
        raise Refused(
            f"the job sets {printable(', '.join(loader_variables))}, which act on every program",
            hint="Set them inside the step's command instead, or allow them with "
            "policy.loader-variables in airlock.toml.",
        )


def refuse_without_sandbox(claims: Claims, admitted: Admitted) -> None:
    """Refuse what only a sandbox gives, keeps or leaves out. Raises WrongConfiguration, Refused.

    That there is a grant is not known here: what runs the job may give it a role by itself.
    """
    if needs := needs_sandbox(admitted):
        raise WrongConfiguration(
            f"rule {admitted.rule!r} of {admitted.policy_origin} has {', '.join(needs)}, and no "
            "sandbox follows `airlock admit --final`",
            hint="Take this out of the rule, or run these jobs on hosts where Airlock runs them.",
        )
    if steering := not_listed(claims.env, admitted.grant):
        raise Refused(
            f"the job sets {printable(', '.join(steering))}, which no sandbox leaves out here",
            hint="Set them inside the step's command instead, or list them in the rule's `env`.",
            details=tuple(f"{printable(name)}: {why}" for name, why in steering.items()),
        )


def _annotate(claims: Claims, agent: Agent, host: Host, refusal: AirlockError, log: JobLog) -> None:
    """Show the reasons on the build's page: the hook's output stays in the agent's log."""
    from bootstrap.buildkite.agent_api import AgentApi  # noqa: PLC0415 - for refused jobs only

    api = AgentApi(claims.job_id, agent.values, agent.token, proxy_for=host.aws.proxy_for)
    try:
        api.annotate(markdown(refusal), context=CONTEXT)
    except CannotStart as failed:
        log.note(f"the build could not be annotated: {failed.problem}")


def markdown(refusal: AirlockError) -> str:
    """Return the refusal for a build's page, with what comes from the job escaped."""
    details = "".join(f"<li><code>{_plain(detail)}</code></li>" for detail in refusal.details)
    return (
        f"<p><strong>Airlock: {escape(refusal.title)}</strong></p>"
        f"<p><code>{_plain(refusal.problem)}</code></p><ul>{details}</ul>"
        f"<p>What to do: {_plain(refusal.hint)}</p>"
    )


def _plain(text: str) -> str:
    """Escape for HTML, and every character that Markdown interprets."""
    return "".join(
        char if char.isalnum() or char in " .,:;/'-=?" else f"&#{ord(char)};"
        for char in printable(text, limit=500)
    )

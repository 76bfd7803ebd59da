"""What a grant gives, obtained: sessions that renew themselves, and secrets."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from bootstrap.aws import ecr, secrets
from bootstrap.aws.client import Caller
from bootstrap.aws.model import Session, SessionRequest
from bootstrap.credentials import references, registries
from bootstrap.credentials.plan import DEFAULT, plans
from bootstrap.credentials.registries import Login
from bootstrap.credentials.renewal import Assume, Renewal, Sessions
from bootstrap.errors import CannotStart
from bootstrap.host.config import Aws
from bootstrap.job.model import Job
from bootstrap.log import JobLog
from bootstrap.policy.model import BY_ROLE, Admitted, CredentialDelivery, Grant
from bootstrap.record import Record
from bootstrap.secret import Secret

NEARLY_FULL = 80  # percent; at 100 STS refuses, and a longer branch name may be enough for that


@dataclass(frozen=True, kw_only=True, slots=True)
class Granted:
    """Everything of a grant that is not the room itself."""

    default: Sessions | None  # the session of `role`
    profiles: Mapping[str, Sessions]  # those of `roles`
    variables: Mapping[str, Secret]
    files: Mapping[str, Secret]
    ssh_keys: Mapping[str, Secret]  # by their references
    git_tokens: Mapping[str, Secret]  # by their URLs
    registries: Mapping[str, Login]  # by their hosts


@contextmanager
def granted(
    job: Job,
    admitted: Admitted,
    aws: Aws,
    assume: Assume,
    *,
    log: JobLog,
    record: Record,
) -> Iterator[Granted]:
    """Yield what the rule grants, its sessions kept fresh until this closes.

    Raises WrongConfiguration for what is not there, CannotStart for what cannot be had now.
    """
    grant = admitted.grant
    requests = plans(job.claims, grant, rule=admitted.rule)
    record.timed("lease")
    with ExitStack() as held:
        issue = _issuer(assume, log, record)
        sessions = {
            name: held.enter_context(_kept_fresh(name, request, issue, grant, log))
            for name, request in requests.items()
        }
        if not sessions:
            log.note("no AWS role: the room has no credentials")
        own = unexpired(sessions[DEFAULT], grant) if grant.role else Caller.HOST
        reader = own if grant.secrets_with_role else Caller.HOST
        found = _secrets(grant, aws, reader, log, record)
        accounts = {
            registry: ecr.ecr(aws, registry, own)
            if way == BY_ROLE
            else registries.login(registry, found[f"registry {registry}"])
            for registry, way in grant.registries.items()
        }
        log.mask(*(form for login in accounts.values() for form in registries.shown(login)))
        record.timed("session")
        yield Granted(
            default=sessions.pop(DEFAULT, None),
            profiles=sessions,
            variables={name: found[name] for name in grant.secrets},
            files={name: found[f"file {name}"] for name in grant.secret_files},
            git_tokens={url: found[f"token {url}"] for url in grant.git_tokens},
            ssh_keys={reference: found[f"key {reference}"] for reference in grant.ssh_keys},
            registries=accounts,
        )


def _issuer(assume: Assume, log: JobLog, record: Record) -> Callable[[SessionRequest], Session]:
    """Wrap STS so that nothing is issued that is not masked and written down."""

    def issue(wanted: SessionRequest) -> Session:
        session = assume(wanted)
        log.mask(session.secret_access_key, session.session_token)
        record.session(
            role=wanted.role,
            session_name=wanted.session_name,
            source_identity=wanted.source_identity,
            via=wanted.via.role if wanted.via else None,
            subject=wanted.subject,
            tags=wanted.tags,
            assumed_role=session.assumed_role,
            expires=f"{session.expires:%Y-%m-%dT%H:%M:%SZ}",
        )
        return session

    return issue


@contextmanager
def _kept_fresh(
    name: str,
    request: SessionRequest,
    issue: Callable[[SessionRequest], Session],
    grant: Grant,
    log: JobLog,
) -> Iterator[Sessions]:
    first = issue(request)
    renews = name != DEFAULT or grant.delivery is CredentialDelivery.ENDPOINT
    log.note(_announcement(name, request, first, renews=renews))
    held = Sessions(first)
    renewal = Renewal(held, first, request, issue, warn=log.alert)
    if renews:
        renewal.start()
    try:
        yield held
    finally:
        renewal.close()


def _announcement(name: str, request: SessionRequest, first: Session, *, renews: bool) -> str:
    """Say which role it is, when its session ends, and what was cut short."""
    which = "role" if name == DEFAULT else f"profile {name}: role"
    renewed = "renewed while the job runs" if renews else "not renewed: delivered in variables"
    via = f" (via {request.via.role})" if request.via else ""
    text = f"{which} {request.role}{via} until {first.expires:%H:%M:%S} UTC, {renewed}"
    if first.duration < request.duration:
        text += f"; {first.duration} instead of {request.duration}, all that role chaining gets"
    if (first.packed_size_percent or 0) >= NEARLY_FULL:
        text += f"; its tags and policies take {first.packed_size_percent} % of STS's limit"
    return text


def unexpired(sessions: Sessions, grant: Grant) -> Session:
    """Return the session of the grant's role. Raises CannotStart if it has expired already."""
    session = sessions.current()
    if session is None:
        raise CannotStart(
            f"the session of {grant.role} expired before the room was ready",
            hint="Is this host's clock right?",
        )
    return session


def _secrets(
    grant: Grant, aws: Aws, caller: Caller | Session, log: JobLog, record: Record
) -> dict[str, Secret]:
    """Fetch all secrets at once; files and keys under their names with a word before them."""
    wanted = {
        **grant.secrets,
        **{f"file {name}": reference for name, reference in grant.secret_files.items()},
        **{f"token {url}": reference for url, reference in grant.git_tokens.items()},
        **{f"key {reference}": reference for reference in grant.ssh_keys},
        **{f"registry {name}": way for name, way in grant.registries.items() if way != BY_ROLE},
    }
    named = {**wanted, **{f"registry {name}": way for name, way in grant.registries.items()}}
    if not named:
        return {}
    found = secrets.fetch(aws, wanted, caller=caller)
    log.mask(*found.values())
    for name, reference in grant.secrets.items():
        references.fit_for_variable(name, references.parse(reference), found[name])
    record.secrets(named)
    log.note(f"secrets: {', '.join(named)}")
    return found

"""Obtains what a grant needs: sessions, kept fresh while the job runs, and secrets."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from bootstrap.aws import ecr
from bootstrap.aws.client import Caller
from bootstrap.aws.model import Session, SessionRequest
from bootstrap.credentials import secrets
from bootstrap.credentials.plan import plans
from bootstrap.credentials.renewal import Assume, Renewal, Sessions
from bootstrap.grants.kind import BY_ROLE, DEFAULT, Obtained, unexpired
from bootstrap.host.config import Aws
from bootstrap.job.model import Claims
from bootstrap.log import JobLog
from bootstrap.policy.model import Admitted, CredentialDelivery, Grant
from bootstrap.record import Record
from bootstrap.secret import Secret

NEARLY_FULL = 80  # percent; at 100 STS refuses, and a longer branch name may be enough for that


@contextmanager
def obtained(
    claims: Claims,
    admitted: Admitted,
    aws: Aws,
    assume: Assume,
    *,
    log: JobLog,
    record: Record,
) -> Iterator[Obtained]:
    """Yield what the rule's grant needs, checked; its sessions are renewed until this closes.

    Raises WrongConfiguration for what does not exist or is malformed, CannotStart for what cannot
    be obtained now.
    """
    grant = admitted.grant
    requests = plans(claims, grant, rule=admitted.rule)
    record.timed("lease")
    with ExitStack() as held:
        issue = _issuer(assume, log, record)
        sessions = {
            name: held.enter_context(_kept_fresh(name, request, issue, grant, log))
            for name, request in requests.items()
        }
        if not sessions:
            log.note("no AWS role: the sandbox has no AWS credentials")
        own = unexpired(sessions[DEFAULT], requests[DEFAULT].role) if grant.role else Caller.HOST
        reader = own if grant.secrets_with_role else Caller.HOST
        found = Obtained(
            sessions=sessions,
            secrets=_secrets(grant, aws, reader, log, record),
            logins={
                name: ecr.login(aws, name, own) for kind in grant.kinds for name in kind.needs().ecr
            },
        )
        for kind in grant.kinds:
            kind.check(found)
            log.mask(*kind.derived(found))
        record.timed("session")
        yield found


def _issuer(assume: Assume, log: JobLog, record: Record) -> Callable[[SessionRequest], Session]:
    """Wrap STS so that every session is masked in the log and recorded."""

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
    sessions = Sessions(first)
    renewal = Renewal(sessions, first, request, issue, warn=log.alert)
    if renews:
        renewal.start()
    try:
        yield sessions
    finally:
        renewal.close()


def _announcement(name: str, request: SessionRequest, first: Session, *, renews: bool) -> str:
    """Return the log's line about a session: role, expiry, and the limits it met."""
    which = "role" if name == DEFAULT else f"profile {name}: role"
    renewed = "renewed while the job runs" if renews else "not renewed: delivered in variables"
    via = f" (via {request.via.role})" if request.via else ""
    text = f"{which} {request.role}{via} until {first.expires:%H:%M:%S} UTC, {renewed}"
    if first.duration < request.duration:
        text += f"; {first.duration} instead of {request.duration}, the limit for a chained role"
    if (first.packed_size_percent or 0) >= NEARLY_FULL:
        text += f"; its tags and policies take {first.packed_size_percent} % of STS's limit"
    return text


def _secrets(
    grant: Grant, aws: Aws, caller: Caller | Session, log: JobLog, record: Record
) -> dict[str, Secret]:
    """Fetch all secrets at once, by reference."""
    listed = tuple(named(grant))
    if not listed:
        return {}
    found = secrets.fetch(aws, {r: r for r in grant.references}, caller=caller)
    log.mask(*found.values())
    record.secrets(listed)
    log.note("secrets: " + ", ".join(f"{each['name']} ({each['kind']})" for each in listed))
    return found


def named(grant: Grant) -> Iterator[dict[str, str]]:
    """Yield the names and references of all secrets of the grant, for the audit trail."""
    for kind in grant.kinds:
        needs = kind.needs()
        for name, reference in (*needs.references.items(), *((r, BY_ROLE) for r in needs.ecr)):
            yield {"kind": kind.key, "name": name, "reference": reference}

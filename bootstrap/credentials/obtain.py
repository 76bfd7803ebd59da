"""Obtains what a grant needs: sessions, kept fresh while the job runs, and secrets.

AWS is called in threads, while the caller opens the sandbox. What they return is masked, recorded
and checked by the thread that waits for it, in the same order for every job.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from bootstrap.aws.model import Session, SessionRequest
from bootstrap.credentials.calls import Calls, CallsApart
from bootstrap.credentials.renewal import Assume, Renewal, Sessions
from bootstrap.errors import CannotStart, WrongConfiguration
from bootstrap.grants.kind import BY_ROLE, DEFAULT, Obtained
from bootstrap.host.config import Aws
from bootstrap.log import JobLog
from bootstrap.policy.model import CredentialDelivery, Grant
from bootstrap.record import Record
from bootstrap.secret import Secret

NEARLY_FULL = 80  # percent; at 100 STS refuses, and a longer branch name may be enough for that


Issue = Callable[[SessionRequest, Assume], Session]


@contextmanager
def obtaining(
    requests: Mapping[str, SessionRequest],
    grant: Grant,
    aws: Aws,
    assume: Assume,
    *,
    log: JobLog,
    record: Record,
    begin: type[Calls] | type[CallsApart] = Calls,
) -> Iterator[Callable[[], Obtained]]:
    """Begin to obtain what a grant needs, and yield a function that waits for it.

    `requests` are those of `plan.plans`.

    That function returns what was obtained, checked; the sessions are renewed until this closes. It
    raises WrongConfiguration for what does not exist or is malformed, CannotStart for what cannot
    be obtained now.

    If something else fails meanwhile, what was begun is waited for all the same: a session that was
    issued is recorded, and which failure is raised does not depend on which came first. It is the
    grant's, unless the other one alone is a wrong configuration. A cancellation waits for nothing.
    """
    with ExitStack() as held:
        calls = begin(requests, grant, aws, assume)
        if isinstance(calls, CallsApart):
            held.callback(calls.close)
        wait = _Wait(held, calls, _issuer(log, record), log=log, record=record)
        try:
            yield wait.obtained
        except Exception as failed:
            if _interrupted(failed):
                raise
            try:
                wait.obtained()
            except CannotStart:
                if not isinstance(failed, WrongConfiguration):
                    raise
            raise


def _interrupted(failed: BaseException) -> bool:
    """Say whether a failure came up while a cancellation was on its way out."""
    before = failed.__context__
    return before is not None and (not isinstance(before, Exception) or _interrupted(before))


class _Wait:
    """Waits for the calls once; whoever asks again gets the same, or the same failure."""

    def __init__(
        self,
        held: ExitStack,
        calls: Calls | CallsApart,
        issue: Issue,
        *,
        log: JobLog,
        record: Record,
    ) -> None:
        self._held = held
        self._calls = calls
        self._issue = issue
        self._log = log
        self._record = record
        self._found: Obtained | None = None
        self._failed: Exception | None = None

    def obtained(self) -> Obtained:
        """Wait until all is obtained. Raises as `obtaining` says."""
        if self._failed:
            raise self._failed
        try:
            self._found = self._found or self._checked()
        except Exception as failed:
            self._failed = failed
            raise
        return self._found

    def _checked(self) -> Obtained:
        calls, log = self._calls, self._log
        sessions = {name: self._kept_fresh(name) for name in calls.requests}
        if not sessions:
            log.note("no AWS role: the sandbox has no AWS credentials")
        found = Obtained(
            sessions=sessions,
            secrets=self._secrets(),
            logins={registry: login.result() for registry, login in calls.logins.items()},
        )
        for kind in calls.grant.kinds:
            kind.check(found)
            log.mask(*kind.derived(found))
        return found

    def _kept_fresh(self, name: str) -> Sessions:
        """Record the session, and renew it until the job ends."""
        calls, request = self._calls, self._calls.requests[name]
        first = self._issue(request, lambda _: calls.sessions[name].result())
        renews = name != DEFAULT or calls.grant.delivery is CredentialDelivery.ENDPOINT
        self._log.note(_announcement(name, request, first, renews=renews))
        sessions = Sessions(first)
        renewal = Renewal(sessions, first, request, self._again, warn=self._log.alert)
        self._held.callback(renewal.close)
        if renews:
            renewal.start()
        return sessions

    def _again(self, wanted: SessionRequest) -> Session:
        return self._issue(wanted, self._calls.assume)

    def _secrets(self) -> Mapping[str, Secret]:
        listed = tuple(named(self._calls.grant))
        if not listed:
            return {}
        found = self._calls.secrets.result() if self._calls.secrets else {}
        self._log.mask(*found.values())
        self._record.secrets(listed)
        names = ", ".join(f"{each['name']} ({each['kind']})" for each in listed)
        self._log.note(f"secrets: {names}")
        return found


def _issuer(log: JobLog, record: Record) -> Issue:
    """Return how every session is obtained: masked in the log, and recorded."""

    def issue(wanted: SessionRequest, by: Assume) -> Session:
        session = by(wanted)
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


def named(grant: Grant) -> Iterator[dict[str, str]]:
    """Yield the names and references of all secrets of the grant, for the audit trail."""
    for kind in grant.kinds:
        needs = kind.needs()
        for name, reference in (*needs.references.items(), *((r, BY_ROLE) for r in needs.ecr)):
            yield {"kind": kind.key, "name": name, "reference": reference}

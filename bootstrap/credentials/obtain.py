"""A job's session, from plan to a session that renews itself."""

from collections.abc import Iterator
from contextlib import contextmanager

from bootstrap.credentials.model import Session, SessionRequest
from bootstrap.credentials.plan import plan
from bootstrap.credentials.renewal import Assume, Renewal, Sessions
from bootstrap.errors import WrongConfiguration
from bootstrap.host.config import Aws
from bootstrap.job.model import Job
from bootstrap.log import JobLog
from bootstrap.policy.model import Admitted, CredentialDelivery, Grant
from bootstrap.record import Record


@contextmanager
def sessions(
    job: Job,
    admitted: Admitted,
    aws: Aws,
    assume: Assume,
    *,
    log: JobLog,
    record: Record,
) -> Iterator[Sessions | None]:
    """Yield the grant's session, kept fresh until this closes; None if the grant names no role."""
    require_deliverable(admitted.grant)
    request = plan(job, admitted.grant, rule=admitted.rule, region=aws.region)
    if request is None:
        log.note("no AWS role: the room has no credentials")
        yield None
        return

    def issue(wanted: SessionRequest) -> Session:
        session = assume(wanted)
        log.mask(session.secret_access_key, session.session_token)
        record.session(
            wanted, assumed=session.assumed_role, expires=f"{session.expires:%Y-%m-%dT%H:%M:%SZ}"
        )
        return session

    record.lap("lease")
    first = issue(request)
    record.lap("session")
    log.note(_announcement(request, first, admitted.grant.delivery))
    held = Sessions(first)
    renewal = Renewal(held, first, request, issue, warn=log.alert)
    if admitted.grant.delivery is CredentialDelivery.ENDPOINT:
        renewal.start()
    try:
        yield held
    finally:
        renewal.close()


def _announcement(request: SessionRequest, first: Session, delivery: CredentialDelivery) -> str:
    """Say which role it is, when its session ends, and what was cut short."""
    renewed = {
        CredentialDelivery.ENDPOINT: "renewed while the job runs",
        CredentialDelivery.ENV: "not renewed: the rule delivers it in variables",
    }[delivery]
    text = f"role {request.role} until {first.expires:%H:%M:%S} UTC, {renewed}"
    if first.duration < request.duration:
        text += f"; {first.duration} instead of {request.duration}, all that role chaining gets"
    return text


def require_deliverable(grant: Grant) -> None:
    """Refuse to run a job with less than its rule promises. Raises WrongConfiguration."""
    missing = {"roles": grant.roles, "secrets": grant.secrets, "ssh-keys": grant.ssh_keys}
    for key, value in missing.items():
        if value:
            raise WrongConfiguration(
                f"the rule grants {key}, which this version of Airlock cannot deliver",
                hint=f"Remove {key} from the rule; a job must not run with less than it expects.",
            )

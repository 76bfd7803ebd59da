"""What a job's container has beside it only where its rule grants it.

Each is imported for such jobs only; the service has loaded all of them (service/preload.py).
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

from bootstrap.credentials.endpoint import Endpoint, serving
from bootstrap.grants.kind import DEFAULT, Obtained
from bootstrap.host.config import Host
from bootstrap.job.model import Job
from bootstrap.log import JobLog
from bootstrap.policy.model import Admitted, CredentialDelivery
from bootstrap.record import Record
from bootstrap.sandbox.container import Opened
from bootstrap.sandbox.leases.lease import Lease
from bootstrap.sandbox.model import Running
from bootstrap.sandbox.network import firewall, resolvers

if TYPE_CHECKING:
    from bootstrap.sandbox.agent_gateway import Inside
    from bootstrap.sandbox.egress.opening import Limited
    from bootstrap.sandbox.engine_client import Client


@contextmanager
def listening(obtained: Callable[[], Obtained], admitted: Admitted) -> Iterator[Endpoint | None]:
    """Serve the job's own role at the endpoint, unless it has none or gets it as variables."""
    sessions = obtained().sessions.get(DEFAULT)
    if sessions is None or admitted.grant.delivery is CredentialDelivery.ENV:
        yield None
        return
    with serving(firewall.ENDPOINT_ADDRESS, sessions) as endpoint:
        yield endpoint


def gateway(
    job: Job, admitted: Admitted, host: Host, running: Running, *, log: JobLog, record: Record
) -> "AbstractContextManager[Inside | None]":
    """Open the job's gateway to the agent API, if its rule has `agent-api`."""
    grant = admitted.grant.agent_api
    if grant is None:
        return nullcontext()
    from bootstrap.sandbox import agent_gateway  # noqa: PLC0415 - of jobs with such a rule only

    return agent_gateway.opened_gateway(
        job, grant, running, proxy_for=host.aws.proxy_for,
        used=partial(agent_gateway.report_use, log, record, admitted.rule),
    )  # fmt: skip


def services(
    client: "Client", admitted: Admitted, host: Host, log: JobLog
) -> Callable[[Lease, Opened, Record], AbstractContextManager[None]]:
    """Provide the images of the rule's services, and return what starts these."""
    named = admitted.grant.services
    if not named:
        return lambda _lease, _container, _record: nullcontext()
    from bootstrap.sandbox.companions import beside, starting  # noqa: PLC0415 - of such jobs only

    some = beside.companions(client, named, host, log)

    def started(lease: Lease, container: Opened, record: Record) -> AbstractContextManager[None]:
        place = starting.Place(
            client=client, host=host, lease=lease, container=container, names=tuple(named)
        )
        return beside.started(place, some, log, record)

    return started


def egress(
    job: Job, admitted: Admitted, host: Host, running: Running, *, log: JobLog, record: Record
) -> "AbstractContextManager[Limited | None]":
    """Limit what the job reaches, if its rule has `egress`."""
    grant = admitted.grant.egress
    if grant is None:
        return nullcontext()
    from bootstrap.sandbox.egress import opening  # noqa: PLC0415 - of jobs with such a rule only

    if admitted.grant.agent_api is None:
        grant = opening.with_endpoint(grant, job.agent.values.get("BUILDKITE_AGENT_ENDPOINT", ""))
    log.note(opening.announced(grant))
    return opening.opened_egress(
        grant, running, resolvers.of_host(host.sandbox.dns),
        used=partial(opening.report_use, log, record, admitted.rule),
    )  # fmt: skip

"""What a job's container has beside it only where its rule grants it.

Each is imported for such jobs only; the service has loaded all of them (service/preload.py).
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.credentials.endpoint import Endpoint, serving
from bootstrap.grants.kind import DEFAULT, Obtained
from bootstrap.host.config import Host
from bootstrap.job.model import Job
from bootstrap.log import JobLog
from bootstrap.policy.model import Admitted, CredentialDelivery
from bootstrap.record import Record
from bootstrap.sandbox import shares
from bootstrap.sandbox.container import Opened
from bootstrap.sandbox.leases.lease import Lease
from bootstrap.sandbox.model import Running
from bootstrap.sandbox.network import firewall, resolvers
from bootstrap.sandbox.workspace import SandboxDirectory

if TYPE_CHECKING:
    from bootstrap.sandbox.agent_gateway import Inside
    from bootstrap.sandbox.builds.builder import Builder
    from bootstrap.sandbox.egress.opening import Limited
    from bootstrap.sandbox.engine_client import Client


@dataclass(frozen=True, kw_only=True, slots=True)
class OfRule:
    """One job's rule, and what opens for the job's container what the rule has."""

    job: Job
    admitted: Admitted
    host: Host
    log: JobLog
    record: Record

    @contextmanager
    def listening(self, obtained: Callable[[], Obtained]) -> Iterator[Endpoint | None]:
        """Serve the job's own role at the endpoint, unless it has none or gets it as variables."""
        sessions = obtained().sessions.get(DEFAULT)
        if sessions is None or self.admitted.grant.delivery is CredentialDelivery.ENV:
            yield None
            return
        with serving(firewall.ENDPOINT_ADDRESS, sessions) as endpoint:
            yield endpoint

    def gateway(self, running: Running) -> "AbstractContextManager[Inside | None]":
        """Open the job's gateway to the agent API, if its rule has `agent-api`."""
        grant = self.admitted.grant.agent_api
        if grant is None:
            return nullcontext()
        from bootstrap.sandbox import agent_gateway  # noqa: PLC0415 - of such jobs only

        return agent_gateway.opened_gateway(
            self.job, grant, running, proxy_for=self.host.aws.proxy_for,
            used=partial(agent_gateway.report_use, self.log, self.record, self.admitted.rule),
        )  # fmt: skip

    def egress(self, running: Running) -> "AbstractContextManager[Limited | None]":
        """Limit what the job reaches, if its rule has `egress`."""
        grant = self.admitted.grant.egress
        if grant is None:
            return nullcontext()
        from bootstrap.sandbox.egress import opening  # noqa: PLC0415 - of such jobs only

        if self.admitted.grant.agent_api is None:
            endpoint = self.job.agent.values.get("BUILDKITE_AGENT_ENDPOINT", "")
            grant = opening.with_endpoint(grant, endpoint)
        self.log.note(opening.announced(grant))
        return opening.opened_egress(
            grant, running, resolvers.of_host(self.host.sandbox.dns),
            used=partial(opening.report_use, self.log, self.record, self.admitted.rule),
        )  # fmt: skip

    def services(self, client: "Client") -> Callable[[Lease, Opened], AbstractContextManager[None]]:
        """Provide the images of the rule's services, and return what starts these."""
        named = self.admitted.grant.services
        if not named:
            return lambda _lease, _container: nullcontext()
        from bootstrap.sandbox.companions import beside, starting  # noqa: PLC0415 - as above

        some = beside.companions(client, named, self.host, self.log)

        def started(lease: Lease, container: Opened) -> AbstractContextManager[None]:
            place = starting.Place(
                client=client, host=self.host, lease=lease, container=container, names=tuple(named)
            )
            return beside.started(place, some, self.log, self.record)

        return started

    def builder(
        self, client: "Client"
    ) -> Callable[
        [Lease, Opened, SandboxDirectory, Path], "AbstractContextManager[Builder | None]"
    ]:
        """Provide the image of the job's builder, and return what opens it."""
        grant = self.admitted.grant
        if grant.builds is None:
            return lambda _lease, _container, _directory, _tree: nullcontext()
        from bootstrap.sandbox.builds import builder as builders  # noqa: PLC0415 - as above

        image = builders.image_of(client, self.host, self.log)
        assert self.host.builds is not None  # noqa: S101 - image_of raises otherwise
        share = shares.of_builder(grant, self.host.sandbox, self.host.builds)

        def open_it(
            lease: Lease, container: Opened, directory: SandboxDirectory, tree: Path
        ) -> "AbstractContextManager[Builder]":
            return builders.opened_builder(
                client, self.host, lease, container=container, directory=directory, image=image,
                share=share, resolver=resolvers.OWN if grant.egress else "", tree=tree,
                log=self.log, record=self.record,
            )  # fmt: skip

        return open_it

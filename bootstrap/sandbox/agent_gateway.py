"""A job's own gateway to Buildkite's agent API, where its rule has `agent-api`.

It listens on the loopback of the container's network namespace: whoever reaches it is in there, and
clients send requests to the loopback past any proxy that a job has set. So neither the ruleset nor
an address of the host takes part. What it does with calls: docs/agent-api.md
"""

import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from urllib.parse import quote

from bootstrap.agent_api.gateway.backend import Gateway
from bootstrap.agent_api.gateway.use import Use, advice, use_of
from bootstrap.agent_api.model import AgentApiGrant, OwnIds, RefusedCall
from bootstrap.agent_api.serve import serving
from bootstrap.errors import CannotStart
from bootstrap.host.proxy import ProxyFor
from bootstrap.job.model import Job
from bootstrap.log import JobLog
from bootstrap.record import Record
from bootstrap.sandbox.model import Running
from bootstrap.sandbox.network.namespaces import in_network_of
from bootstrap.sandbox.proof import PATIENCE, SILENCE, Probe
from bootstrap.secret import Secret

LOOPBACK = "127.0.0.1"
BACKLOG = 128
# Seconds for calls that are under way when the job has ended: nobody waits for their answers, but
# the agent does for the job's end, and kills Airlock soon after a cancellation.
ABANDONED = 0.0
_TOO_LONG = 1 << 30  # bytes of a body: more than any call may have
# To a call of this job, with this token. Any other answer would be another server's.
_EXPECTED = "413"


@dataclass(frozen=True, kw_only=True, slots=True)
class Inside:
    """What the job's agent gets instead of Buildkite's address and the job's token."""

    endpoint: str
    token: Secret  # worth nothing outside of this container
    probe: Probe


@contextmanager
def opened_gateway(
    job: Job,
    grant: AgentApiGrant,
    running: Running,
    *,
    proxy_for: ProxyFor,
    used: Callable[[Use], object],
) -> Iterator[Inside]:
    """Serve the agent API to this container until this closes.

    At the end `used` is called with what the job did. Raises CannotStart.
    """
    refused: list[RefusedCall] = []
    backend = _backend(job, grant, proxy_for)
    with ExitStack() as held:
        held.callback(lambda: used(use_of(backend.usage(), refused)))
        try:
            inside = _served(held, job, backend, running, refused.append)
        except (OSError, RuntimeError) as failed:
            raise CannotStart(
                f"the job's gateway to the agent API cannot be opened: {failed}",
                hint="Nothing of the job has run. Has this host reached a limit of processes or "
                "open files (`ulimit -a`, TasksMax of the service)?",
            ) from failed
        yield inside


def _backend(job: Job, grant: AgentApiGrant, proxy_for: ProxyFor) -> Gateway:
    env = job.claims.env
    own = OwnIds(
        job=job.claims.job_id,
        build=env.get("BUILDKITE_BUILD_ID", ""),
        step=env.get("BUILDKITE_STEP_ID", ""),
    )
    return Gateway(grant, own, job.agent.values, job.agent.token, proxy_for=proxy_for)


def _served(
    held: ExitStack,
    job: Job,
    backend: Gateway,
    running: Running,
    refused: Callable[[RefusedCall], None],
) -> Inside:
    token = Secret(f"airlock-{secrets.token_urlsafe(32)}")
    listener, client = in_network_of(running.pid, partial(_sockets, held))
    address: tuple[str, int] = listener.getsockname()
    job_id = job.claims.job_id
    held.enter_context(
        serving(listener, backend, job_id=job_id, token=token, refused=refused, patience=ABANDONED)
    )
    endpoint = f"http://{address[0]}:{address[1]}"
    return Inside(endpoint=endpoint, token=token, probe=_probe(client, address, job_id, token))


def _sockets(held: ExitStack) -> tuple[socket.socket, socket.socket]:
    """Return the listener, at a port that is free, and a client in the same namespace."""
    client = held.enter_context(socket.socket())
    return socket.create_server((LOOPBACK, 0), backlog=BACKLOG), client


def _probe(client: socket.socket, address: tuple[str, int], job_id: str, token: Secret) -> Probe:
    """Announce a body that is too long: the answer takes the token, and sends nothing on."""
    path = quote(job_id, safe="").replace(".", "%2E")
    request = (
        f"POST /jobs/{path}/data/get HTTP/1.1\r\nHost: {LOOPBACK}\r\n"
        f"Authorization: Token {token.reveal()}\r\nContent-Length: {_TOO_LONG}\r\n\r\n"
    )
    client.settimeout(PATIENCE)
    try:
        client.connect(address)
        client.sendall(request.encode())
        outcome = client.recv(12).decode("ascii", "replace").removeprefix("HTTP/1.1 ")
    except OSError as silent:
        outcome = f"{SILENCE}: {silent}"
    client.close()
    return Probe(target="the job's agent API", outcome=outcome, passed=outcome == _EXPECTED)


def report_use(log: JobLog, record: Record, rule: str, use: Use) -> None:
    """Report in the log and in the audit trail how the job used its gateway."""
    if refused := advice(use, rule):
        log.alert(refused)
    try:
        record.agent_api({**asdict(use), "refusals": use.refusals})
    except CannotStart as unwritable:  # the job has ended, and its result must not change
        log.alert(f"the use of the agent API is not in the audit record: {unwritable.problem}")

"""A job's list takes effect: its table, its resolver, and what shows that both refuse.

What it promises: docs/egress.md
"""

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import IPv4Address
from urllib.parse import urlsplit

from bootstrap.errors import CannotStart
from bootstrap.log import JobLog
from bootstrap.policy.egress import PRIVATE, EgressGrant
from bootstrap.record import Record
from bootstrap.sandbox.egress import messages, table
from bootstrap.sandbox.egress.resolver import Resolver
from bootstrap.sandbox.egress.table import Table
from bootstrap.sandbox.egress.use import Use, advice, draft, job_targets
from bootstrap.sandbox.model import Running
from bootstrap.sandbox.network import netlink
from bootstrap.sandbox.network.namespaces import in_network_of
from bootstrap.sandbox.network.resolvers import OWN
from bootstrap.sandbox.proof import PATIENCE, REFUSED_INSIDE, SILENCE, Attempt, Probe, make

PORT = 53
BACKLOG = 16
# TEST-NET-1 (RFC 5737), which no list can allow.
OUTSIDE = "192.0.2.1"
_ATTEMPTS = (("tcp", 443), ("udp", 443), ("tcp", 853), ("udp", PORT))
_NO_NAME = "airlock.invalid"  # RFC 6761, 6.4: of nobody


@dataclass(frozen=True, kw_only=True, slots=True)
class Limited:
    """A job's list, in effect; `prove` shows it."""

    running: Running
    grant: EgressGrant
    table: Table

    def prove(self) -> tuple[Probe, ...]:
        """Try what has to be refused, from inside. Raises CannotStart.

        Call it once what the host's own ruleset refuses has been shown: from here on the gateway is
        refused inside.
        """
        with netlink.explained("show what the job reaches"), ExitStack() as held:
            self.table.refuse_gateway(self.running.gateway)
            attempts = [] if self.grant.observe else [
                Attempt(protocol, OUTSIDE, port, REFUSED_INSIDE[protocol])
                for protocol, port in _ATTEMPTS
            ]  # fmt: skip
            client = in_network_of(self.running.pid, partial(_opened, held, attempts))
            found = make(attempts, self._refused)
            asked = _asked(client, self.grant)
        counted = Probe(
            target=f"refusals counted by table inet {table.TABLE}",
            outcome=f"{found} of {len(attempts)}",
            passed=found == len(attempts),
        )
        return (*(attempt.probe() for attempt in attempts), counted, asked)

    def _refused(self) -> int:
        """Return of how many of the attempts the table has refused a packet."""
        return [one.address for one in self.table.refused()].count(IPv4Address(OUTSIDE))


@contextmanager
def opened_egress(
    grant: EgressGrant,
    running: Running,
    servers: Sequence[str],
    used: Callable[[Use | None], object],
) -> Iterator[Limited]:
    """Let the container reach what the grant lists, and nothing else, until this closes.

    `servers` are the resolvers that are asked. At the end `used` is called with what the job did,
    None if that cannot be read. Raises CannotStart.
    """
    table.load(running.pid, running.gateway, grant)
    with ExitStack() as held:
        try:
            loaded = held.enter_context(closing(table.opened(running.pid)))
            datagrams, listener = in_network_of(running.pid, _sockets)
        except OSError as failed:
            raise CannotStart(
                f"the job's own resolver cannot be opened: {failed}",
                hint="Nothing of the job has run. Does its image have a program that listens at "
                f"{OWN}:{PORT}? Has this host reached a limit of open files?",
            ) from failed
        resolver = Resolver(datagrams, listener, grant=grant, servers=servers, table=loaded)
        held.callback(lambda: used(_use(grant, resolver, loaded)))
        try:
            resolver.start()
        except RuntimeError as failed:
            raise CannotStart(
                f"the job's own resolver cannot be started: {failed}",
                hint="Has this host reached a limit of processes (`ulimit -u`, TasksMax)?",
            ) from failed
        held.callback(resolver.close)
        yield Limited(running=running, grant=grant, table=loaded)


def with_endpoint(grant: EgressGrant, endpoint: str) -> EgressGrant:
    """Return the grant with the host of the agent API, which every job without a gateway calls."""
    host = urlsplit(endpoint).hostname or ""
    if not host or grant.has_name(host):  # each, while observing
        return grant
    try:
        address = IPv4Address(host)
    except ValueError:
        return replace(grant, hosts=(*grant.hosts, host))
    network = f"{address}/32"
    if any(address in one for one in PRIVATE):
        return replace(grant, private=(*grant.private, network))
    return replace(grant, cidrs=(*grant.cidrs, network))


def announced(grant: EgressGrant) -> str:
    """Return what the beginning of the job's log says about its list."""
    if grant.observe:
        return "the job reaches everything; its log ends with what it reached (mode: observe)"
    listed = ", ".join((*grant.hosts, *grant.cidrs, *grant.private)) or "nothing"
    return f"the job reaches what egress of its rule allows, and no other host: {listed}"


def _sockets() -> tuple[socket.socket, socket.socket]:
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        datagrams.bind((OWN, PORT))
        return datagrams, socket.create_server((OWN, PORT), backlog=BACKLOG)
    except OSError:
        datagrams.close()
        raise


def _opened(held: ExitStack, attempts: Sequence[Attempt]) -> socket.socket:
    for attempt in attempts:
        if made := attempt.open():
            held.enter_context(made)
    return held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))


def _asked(client: socket.socket, grant: EgressGrant) -> Probe:
    """A name that is not on any list does not exist; while all is observed, that it answers."""
    question = messages.question_for(_NO_NAME, 1)
    expected = "NOTIMP" if grant.observe else "NXDOMAIN"
    if grant.observe:
        question = question[:2] + b"\x10" + question[3:]  # another operation: STATUS
    client.settimeout(PATIENCE)
    try:
        client.connect((OWN, PORT))
        client.send(question)
        outcome = messages.code_of(client.recv(messages.LARGEST))
    except OSError as silent:
        outcome = f"{SILENCE}: {silent}"
    return Probe(target=f"the job's resolver: {_NO_NAME}", outcome=outcome,
                 passed=outcome == expected)  # fmt: skip


def _use(grant: EgressGrant, resolver: Resolver, loaded: Table) -> Use | None:
    try:
        return Use(
            observe=grant.observe,
            names=resolver.seen.names(but=_NO_NAME),
            targets=job_targets(loaded.refused()),
            reached=loaded.reached() if grant.observe else frozenset(),
        )
    except OSError:
        return None


def report_use(log: JobLog, record: Record, rule: str, use: Use | None) -> None:
    """Report in the log and in the audit trail what the job reached and was refused."""
    if use is None:
        log.alert("what the job was refused is not known: its table cannot be read")
        return
    if use.observe:
        log.note(f"egress is observed: under this list, rule {rule!r} would reach the same:")
        for line in draft(use):
            log.note(log.masked_in_any_case(line))
    else:
        for line in advice(use, rule):
            log.alert(log.masked_in_any_case(line))
    try:
        record.egress(use.recorded(log.masked_in_any_case))
    except CannotStart as unwritable:  # the job has ended, and its result must not change
        log.alert(f"what the job reached is not in the audit record: {unwritable.problem}")

"""A job's resolver, between a real table and a resolver of this host, on one loopback."""

import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import dns.message
import dns.rcode

from bootstrap.policy.egress import EgressGrant
from bootstrap.sandbox.egress import table
from bootstrap.sandbox.egress.resolver import Resolver
from bootstrap.sandbox.egress.table import Table
from bootstrap.sandbox.network import netlink
from tests.fakes.zone import FakeDns, serving, sockets
from tests.sandbox.network.namespace import T, in_a_new_namespace, run

HOSTS, JOBS = "127.0.0.9", "127.0.0.53"
LIST = EgressGrant(hosts=("git.example.com", "*.example.org"))
ZONE = {
    "git.example.com.": ["30 A 203.0.113.7"],
    "www.example.org.": ["900 CNAME edge.example.net."],
    "edge.example.net.": ["20 A 203.0.113.8", "20 A 203.0.113.9"],
    "long.example.org.": ["86400 A 203.0.113.10"],
    "inside.example.org.": ["60 A 10.0.0.5"],
    "metadata.example.org.": ["60 A 169.254.169.254"],
    "secret.example.": ["60 A 203.0.113.66"],
}


class Client:
    """What a job's programs do with its resolver."""

    def __init__(self, fake: FakeDns, made: Resolver, loaded: Table) -> None:
        self.fake, self.resolver, self.table = fake, made, loaded

    def asks(self, name: str, kind: str = "A", timeout: float = 6.0) -> dns.message.Message:
        query = dns.message.make_query(name, kind)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
            channel.settimeout(timeout)
            channel.connect((JOBS, 53))
            channel.send(query.to_wire())
            reply = dns.message.from_wire(channel.recv(4096))
        assert query.is_response(reply)
        return reply

    def finds(self, name: str, kind: str = "A") -> tuple[str, set[str]]:
        reply = self.asks(name, kind)
        texts = {one.to_text() for rrset in reply.answer for one in rrset}
        return dns.rcode.to_text(reply.rcode()), texts


@contextmanager
def client(grant: EgressGrant, zone: dict[str, list[str]]) -> Iterator[Client]:
    run("nft -f -", table.ruleset(grant, "10.9.0.1"))
    with (
        serving(zone, *sockets(HOSTS)) as fake,
        netlink.connected(netlink.NETFILTER) as kernel,
    ):
        loaded = Table(kernel)
        made = Resolver(*sockets(JOBS), grant=grant, servers=[HOSTS], table=loaded)
        made.start()
        with closing(made):
            yield Client(fake, made, loaded)


def with_client(work: Callable[[Client], T], grant: EgressGrant = LIST, zone: Any = ZONE) -> T:
    def inside() -> T:
        with client(grant, zone) as made:
            return work(made)

    return in_a_new_namespace(inside)

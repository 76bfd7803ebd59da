"""A resolver with a zone of its own, over UDP and TCP; it keeps what it was asked."""

import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rrset

Zone = Mapping[str, Sequence[str]]  # name -> records, as in "60 A 203.0.113.7"


@dataclass(kw_only=True)
class FakeDns:
    """`zone` may be changed at any time. Names are with their last dot, `*` is every other name."""

    zone: dict[str, Sequence[str]]
    asked: list[tuple[str, str, str]] = field(default_factory=list)  # over what, name and type
    wires: list[bytes] = field(default_factory=list)
    spoiled: Callable[[bytes], list[bytes]] = lambda wire: [wire]  # what is sent over UDP
    closing: threading.Event = field(default_factory=threading.Event)

    def answer(self, wire: bytes, over: str) -> bytes:
        self.wires.append(wire)
        query = dns.message.from_wire(wire, ignore_trailing=True)
        question = query.question[0]
        name, kind = question.name.to_text(), question.rdtype.name
        self.asked.append((over, name, kind))
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.RA
        owner, records = name, self._records(name)
        if records is None:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        while records:
            following = None
            for record in records:
                ttl, of, value = record.split(" ", 2)
                if of in (kind, "CNAME"):
                    reply.answer.append(dns.rrset.from_text(owner, int(ttl), "IN", of, value))
                    following = value if of == "CNAME" else following
            owner, records = following or "", self._records(following) if following else None
        return reply.to_wire(max_size=65535)

    def _records(self, name: str) -> Sequence[str] | None:
        return self.zone.get(name.lower(), self.zone.get("*"))

    def serve(self, datagrams: socket.socket) -> None:
        datagrams.settimeout(0.1)
        while not self.closing.is_set():
            with suppress(OSError, dns.exception.DNSException):
                wire, peer = datagrams.recvfrom(4096)
                for reply in self.spoiled(self.answer(wire, "udp")):
                    datagrams.sendto(reply, peer)

    def serve_streams(self, listener: socket.socket) -> None:
        listener.settimeout(0.1)
        while not self.closing.is_set():
            with suppress(OSError), listener.accept()[0] as client:
                client.settimeout(1)
                while size := client.recv(2):
                    reply = self.answer(client.recv(int.from_bytes(size, "big")), "tcp")
                    client.sendall(len(reply).to_bytes(2, "big") + reply)


@contextmanager
def serving(zone: Zone, datagrams: socket.socket, listener: socket.socket) -> Iterator[FakeDns]:
    """Answer from `zone` at both sockets until this closes."""
    fake = FakeDns(zone=dict(zone))
    threads = [
        threading.Thread(target=fake.serve, args=(datagrams,)),
        threading.Thread(target=fake.serve_streams, args=(listener,)),
    ]
    for thread in threads:
        thread.start()
    try:
        yield fake
    finally:
        fake.closing.set()
        for thread in threads:
            thread.join()
        datagrams.close()
        listener.close()


def sockets(address: str, port: int = 53) -> tuple[socket.socket, socket.socket]:
    """Return both sockets of a resolver, of the calling thread's namespace."""
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind((address, port))
    return datagrams, socket.create_server((address, port))

"""What a job's query asks, what is sent on for it, and what it gets (RFC 1035, RFC 2181).

Nothing of a job's message is sent on but the name, and nothing of an answer reaches the job but the
aliases and addresses that belong to that name. Records of other types are not even parsed: the
library imports a module for each type, and keeps what it knows of each number.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address
from typing import NamedTuple

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.CNAME
import dns.rdtypes.IN.A
import dns.rrset
import dns.wire

from bootstrap.policy.egress import EgressGrant

LARGEST = 512  # bytes of a datagram without EDNS (RFC 1035, 4.2.1), which needs no answer
ALIASES = 16  # from a name to its addresses
ADDRESSES = 64  # of one answer
LONGEST_TTL = 3600  # seconds
_FITTING = 12  # addresses that fit into a datagram with the longest name

_HEADER = 12  # bytes, of whose third these are bits:
_QR, _OPERATION, _KEPT, _TRUNCATED = 0x80, 0x78, 0x79, 0x02
_NO_TTL = 1 << 31  # RFC 2181, 8: from here on it counts as zero

# Labels of letters, digits, `-` and `_`: what a label with a dot in it shows as is another name.
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*", re.ASCII)


class Verdict(Enum):
    """What becomes of a query."""

    ASK = "its name is looked up"
    RELAY = "it is sent on as it is, since the rule only observes"
    EMPTY = "the name is allowed, and has no records of this type"
    REFUSED = "the name is not allowed"
    UNSUPPORTED = "it asks for something else than records of the Internet"


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """A query with one question. `name` is without its last dot, in the letters of the job."""

    message: dns.message.Message
    name: str
    type: str


class Alias(NamedTuple):
    """A name and the one that it stands for."""

    name: dns.name.Name
    target: dns.name.Name


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What a resolver answered: the aliases from the name on, and the addresses of the last.

    `refused` are addresses that the list does not allow, by why. `ttl` is in seconds.
    """

    exists: bool
    aliases: tuple[Alias, ...] = ()
    addresses: tuple[IPv4Address, ...] = ()
    refused: Mapping[IPv4Address, str] = field(default_factory=dict)
    ttl: int = 0


class UselessError(Exception):
    """A resolver's message does not answer what it was asked."""


class _Record(NamedTuple):
    owner: dns.name.Name
    ttl: int
    value: IPv4Address | dns.name.Name


def parsed(wire: bytes) -> Query | None:
    """Return the query in a message; None if it has another operation, or none."""
    if len(wire) < _HEADER or wire[2] & (_QR | _OPERATION):
        return None
    try:
        message = dns.message.from_wire(wire, question_only=True)
    except (dns.exception.DNSException, ValueError):
        return None
    if len(message.question) != 1:
        return None
    question = message.question[0]
    return Query(
        message=message,
        name=question.name.to_text(omit_final_dot=True),
        type=dns.rdatatype.to_text(question.rdtype),
    )


def malformed(wire: bytes) -> bytes:
    """Return the answer to a message in which `parsed` finds no query; b"" if it gets none."""
    if len(wire) < _HEADER or wire[2] & _QR:
        return b""
    code = dns.rcode.NOTIMP if wire[2] & _OPERATION else dns.rcode.FORMERR
    return wire[:2] + bytes((wire[2] & _KEPT | _QR, code)) + bytes(8)


def judge(query: Query, grant: EgressGrant) -> Verdict:
    """Decide about a query, by its name and type alone."""
    question = query.message.question[0]
    is_plain = _PLAIN.fullmatch(query.name)
    if grant.observe and not (is_plain and question.rdtype == dns.rdatatype.A):
        return Verdict.RELAY
    if question.rdclass != dns.rdataclass.IN:
        return Verdict.UNSUPPORTED
    if not is_plain or not grant.has_name(query.name):
        return Verdict.REFUSED
    return Verdict.ASK if question.rdtype == dns.rdatatype.A else Verdict.EMPTY


_CODES = {
    Verdict.EMPTY: dns.rcode.NOERROR,
    # Programs take REFUSED for a fault that passes, and try again.
    Verdict.REFUSED: dns.rcode.NXDOMAIN,
    Verdict.UNSUPPORTED: dns.rcode.NOTIMP,
}


def unanswered(query: Query, verdict: Verdict) -> bytes:
    """Return the answer without records for a verdict other than ASK."""
    return _reply(query, _CODES.get(verdict, dns.rcode.SERVFAIL)).to_wire()


def failed(query: Query) -> bytes:
    """Return SERVFAIL: no resolver has answered."""
    return _reply(query, dns.rcode.SERVFAIL).to_wire()


def question_for(name: str, number: int) -> bytes:
    """Return Airlock's own question for the addresses of a name, with this number as its id."""
    return dns.message.make_query(dns.name.from_text(name.lower()), "A", id=number).to_wire()


def code_of(wire: bytes) -> str:
    """Return the result of an answer, as in `NXDOMAIN`; "" if it is too short."""
    return dns.rcode.to_text(dns.rcode.Rcode(wire[3] & 0xF)) if len(wire) >= _HEADER else ""


def is_truncated(wire: bytes) -> bool:
    """Say whether a resolver asks to be asked over TCP."""
    return len(wire) > 2 and bool(wire[2] & _TRUNCATED)


def found_in(wire: bytes, name: str, number: int, grant: EgressGrant) -> Found:
    """Return what a resolver's message answers to `question_for`. Raises UselessError."""
    wanted = dns.name.from_text(name)
    parser = dns.wire.Parser(wire)
    try:
        code, count = _head(parser, wanted, number)
        records = list(_records(parser, count))
    except (dns.exception.DNSException, ValueError) as wrong:
        raise UselessError(f"a malformed message: {type(wrong).__name__}") from wrong
    return _followed(records, wanted, grant, exists=code == dns.rcode.NOERROR)


def _head(parser: dns.wire.Parser, wanted: dns.name.Name, number: int) -> tuple[int, int]:
    """Return the result's code and the number of records, of an answer to this question."""
    identifier, flags, questions, answers, _, _ = parser.get_struct("!HHHHHH")
    if identifier != number or not flags & dns.flags.QR or questions != 1:
        raise UselessError("an answer to another question")
    if (parser.get_name(), *parser.get_struct("!HH")) != (wanted, dns.rdatatype.A, 1):
        raise UselessError("an answer to another question")
    code = flags & 0xF
    if code not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        raise UselessError(dns.rcode.to_text(dns.rcode.Rcode(code)))
    return code, answers


def _records(parser: dns.wire.Parser, count: int) -> Iterator[_Record]:
    """Yield addresses and aliases of the answer's section; others belong to no address."""
    for _ in range(count):
        owner = parser.get_name(decompress=True)
        kind, kind_of_class, ttl, length = parser.get_struct("!HHIH")
        with parser.restrict_to(length):
            is_internet = kind_of_class == dns.rdataclass.IN
            if is_internet and kind == dns.rdatatype.CNAME:
                yield _Record(owner, ttl, parser.get_name(decompress=True))
            elif is_internet and kind == dns.rdatatype.A:
                yield _Record(owner, ttl, IPv4Address(parser.get_remaining()))
            else:
                parser.get_remaining()


def _followed(
    records: Iterable[_Record], name: dns.name.Name, grant: EgressGrant, *, exists: bool
) -> Found:
    """Follow the aliases of the name, and take nothing that belongs to other names."""
    records = tuple(records)
    aliases: list[Alias] = []
    shortest = LONGEST_TTL
    while len(aliases) <= ALIASES:
        own = [record for record in records if record.owner == name]
        shortest = min([shortest, *(0 if one.ttl >= _NO_TTL else one.ttl for one in own)])
        alias = next((one.value for one in own if isinstance(one.value, dns.name.Name)), None)
        if alias is None:
            listed = [one.value for one in own if isinstance(one.value, IPv4Address)]
            return _filtered(listed[:ADDRESSES], aliases, shortest, grant, exists=exists)
        aliases.append(Alias(name, alias))
        name = alias
    raise UselessError(f"more than {ALIASES} aliases")


def _filtered(
    listed: Iterable[IPv4Address],
    aliases: Iterable[Alias],
    ttl: int,
    grant: EgressGrant,
    *,
    exists: bool,
) -> Found:
    every = tuple(dict.fromkeys(listed))
    refused = {one: why for one in every if (why := grant.refuses_answer(one))}
    kept = tuple(one for one in every if one not in refused)
    return Found(exists=exists, aliases=tuple(aliases), addresses=kept, refused=refused, ttl=ttl)


def answer(query: Query, found: Found, ttl: int) -> bytes:
    """Return what the job gets: as many addresses as fit, each with this TTL.

    Without an address it is NXDOMAIN if there is no such name, or if the list allows none of them.
    """
    if not found.addresses:
        exists = found.exists and not found.refused
        return _reply(query, dns.rcode.NOERROR if exists else dns.rcode.NXDOMAIN).to_wire()
    reply = _reply(query, dns.rcode.NOERROR)
    reply.answer = list(_answers(query, found.aliases, found.addresses, ttl))
    wire = reply.to_wire(max_size=65535)
    if len(wire) > LARGEST:  # without the aliases, which only few programs show
        reply.answer = list(_answers(query, (), found.addresses[:_FITTING], ttl))
        wire = reply.to_wire(max_size=LARGEST)
    return wire


def _answers(
    query: Query, aliases: Iterable[Alias], addresses: Iterable[IPv4Address], ttl: int
) -> Iterator[dns.rrset.RRset]:
    owner = query.message.question[0].name
    for name, target in aliases:
        yield dns.rrset.from_text(name, ttl, "IN", "CNAME", target.to_text())
        owner = target
    yield dns.rrset.from_text(owner, ttl, "IN", "A", *map(str, addresses))


def _reply(query: Query, code: dns.rcode.Rcode) -> dns.message.Message:
    reply = dns.message.make_response(query.message, recursion_available=True)
    reply.set_rcode(code)
    return reply

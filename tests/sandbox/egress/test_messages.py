"""What a job's query gets: by the RFCs' own examples and limits, and for anything at all."""

import struct
from ipaddress import IPv4Address
from itertools import pairwise

import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rrset
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bootstrap.policy.egress import EgressGrant
from bootstrap.sandbox.egress import messages
from bootstrap.sandbox.egress.messages import Found, Query, UselessError, Verdict

LIST = EgressGrant(hosts=("git.example.com", "*.example.org"), private=("10.1.0.0/16",))


def query(name: str, kind: str = "A", **options: object) -> Query:
    found = messages.parsed(dns.message.make_query(name, kind, **options).to_wire())  # type: ignore[arg-type]
    assert found
    return found


def resolved(*records: str, name: str = "git.example.com", **more: int) -> bytes:
    """What a resolver answers to question 7 for the name: records as in a zone's file."""
    message = dns.message.make_response(dns.message.make_query(name, "A", id=more.get("id", 7)))
    message.set_rcode(dns.rcode.Rcode(more.get("code", 0)))
    for record in records:
        owner, ttl, kind, value = record.split()
        message.answer.append(dns.rrset.from_text(owner, int(ttl), "IN", kind, value))
    return message.to_wire()


def found(*records: str, name: str = "git.example.com", **more: int) -> Found:
    return messages.found_in(resolved(*records, name=name, **more), name, 7, LIST)


def answered(wire: bytes) -> tuple[str, list[str]]:
    message = dns.message.from_wire(wire)
    lines = [line for rrset in message.answer for line in rrset.to_text().splitlines()]
    return dns.rcode.to_text(message.rcode()), lines


# RFC 1035, 4.1.1: OPCODE; 3.2.4 and 3.2.5: CLASS. RFC 8482: ANY need not be answered.
# RFC 4343: names have no case. RFC 9460: HTTPS records may carry addresses.
@pytest.mark.parametrize(
    ("name", "kind", "verdict"),
    [
        ("git.example.com.", "A", Verdict.ASK),
        ("GIT.Example.COM.", "A", Verdict.ASK),
        ("a.b.example.org.", "A", Verdict.ASK),
        ("_acme.example.org.", "A", Verdict.ASK),
        ("git.example.com.", "AAAA", Verdict.EMPTY),
        ("git.example.com.", "HTTPS", Verdict.EMPTY),
        ("git.example.com.", "SVCB", Verdict.EMPTY),
        ("git.example.com.", "ANY", Verdict.EMPTY),
        ("git.example.com.", "TXT", Verdict.EMPTY),
        ("git.example.com.", "NULL", Verdict.EMPTY),
        ("git.example.com.", "CNAME", Verdict.EMPTY),
        ("git.example.com.", "NS", Verdict.EMPTY),
        ("git.example.com.", "TYPE65280", Verdict.EMPTY),
        ("example.org.", "A", Verdict.REFUSED),
        ("example.com.", "A", Verdict.REFUSED),
        ("evil.example.", "A", Verdict.REFUSED),
        ("evil.example.", "TXT", Verdict.REFUSED),
        ("git.example.com.evil.example.", "A", Verdict.REFUSED),
        ("34.216.184.93.in-addr.arpa.", "PTR", Verdict.REFUSED),
        (".", "NS", Verdict.REFUSED),
        # Each is one label with a dot in it, below `com`, `org` or the root.
        (r"git\.example.com.", "A", Verdict.REFUSED),
        (r"a\.example.org.", "A", Verdict.REFUSED),
        (r"git\.example\.com.", "A", Verdict.REFUSED),
        (r"a\000.example.org.", "A", Verdict.REFUSED),
        (r"a\032b.example.org.", "A", Verdict.REFUSED),
        (r"\195\164.example.org.", "A", Verdict.REFUSED),
    ],
)
def test_what_becomes_of_a_query(name: str, kind: str, verdict: Verdict) -> None:
    asked = query(name, kind)
    assert messages.judge(asked, LIST) is verdict


def test_other_operations_and_classes_are_unsupported() -> None:
    for operation in (dns.opcode.NOTIFY, dns.opcode.UPDATE, dns.opcode.STATUS):
        other = dns.message.make_query("git.example.com", "SOA", id=7)
        other.set_opcode(operation)
        assert messages.parsed(other.to_wire()) is None
        assert messages.malformed(other.to_wire()) == struct.pack(
            "!6H", 7, 0x8104 | operation << 11, 0, 0, 0, 0
        )
    chaos = query("version.bind", "TXT", rdclass="CH")
    assert messages.judge(chaos, LIST) is Verdict.UNSUPPORTED
    assert answered(messages.unanswered(chaos, Verdict.UNSUPPORTED)) == ("NOTIMP", [])


@pytest.mark.parametrize(
    ("verdict", "code"), [(Verdict.REFUSED, "NXDOMAIN"), (Verdict.EMPTY, "NOERROR")]
)
def test_an_answer_without_records_answers_its_query(verdict: Verdict, code: str) -> None:
    asked = query("Evil.Example.", "TXT", id=4711)
    wire = messages.unanswered(asked, verdict)
    reply = dns.message.from_wire(wire)
    assert answered(wire) == (code, [])
    assert reply.id == 4711
    assert asked.message.is_response(reply)
    assert reply.flags & dns.flags.RA


# RFC 9619: a query has one question. RFC 1035, 4.1.1: a response gets no response.
@pytest.mark.parametrize(
    ("wire", "reply"),
    [
        (b"", b""),
        (b"\0" * 11, b""),
        (struct.pack("!6H", 7, 0x0100, 0, 0, 0, 0), struct.pack("!6H", 7, 0x8101, 0, 0, 0, 0)),
        (struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0), struct.pack("!6H", 7, 0x8101, 0, 0, 0, 0)),
        (struct.pack("!6H", 7, 0x8100, 0, 0, 0, 0), b""),
        (struct.pack("!6H", 7, 0x8100, 1, 0, 0, 0) + b"\1a\0\0\1\0\1", b""),
        (
            struct.pack("!6H", 7, 0x0100, 2, 0, 0, 0) + 2 * b"\1a\0\0\1\0\1",
            struct.pack("!6H", 7, 0x8101, 0, 0, 0, 0),
        ),
        # A name that points to itself (RFC 1035, 4.1.4).
        (
            struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + b"\xc0\x0c\0\1\0\1",
            struct.pack("!6H", 7, 0x8101, 0, 0, 0, 0),
        ),
    ],
)
def test_what_is_no_query_is_a_format_error_or_nothing(wire: bytes, reply: bytes) -> None:
    assert messages.parsed(wire) is None
    assert messages.malformed(wire) == reply


@given(st.binary(max_size=600))
@example(query("git.example.com").message.to_wire()[:-1])
def test_any_message_is_judged_and_answered(wire: bytes) -> None:
    asked = messages.parsed(wire)
    if asked is None:
        reply = messages.malformed(wire)
        assert reply == b"" or (reply[:2] == wire[:2] and len(reply) == 12)
        return
    for verdict in Verdict:
        reply = messages.unanswered(asked, verdict)
        assert reply[:2] == wire[:2]
        assert len(reply) <= messages.LARGEST
    assert messages.judge(asked, EgressGrant()) in (Verdict.REFUSED, Verdict.UNSUPPORTED)


@given(st.binary(min_size=0, max_size=100), st.booleans())
def test_nothing_but_the_name_is_sent_on(more: bytes, dnssec: bool) -> None:  # noqa: FBT001
    message = dns.message.make_query("git.example.com", "A", want_dnssec=dnssec, id=99)
    wire = bytearray(message.to_wire())
    wire[3] |= 0x30  # Z, AD and CD
    asked = messages.parsed(bytes(wire) + more)
    assert asked
    assert messages.question_for(asked.name, 5) == messages.question_for("git.example.com", 5)


def test_addresses_of_the_name_are_found() -> None:
    one = found("git.example.com. 60 A 203.0.113.7", "git.example.com. 60 A 203.0.113.8")
    assert set(one.addresses) == {IPv4Address("203.0.113.7"), IPv4Address("203.0.113.8")}
    assert (one.ttl, one.exists, one.aliases, one.refused) == (60, True, (), {})


# RFC 1034, 3.6.2: a resolver follows aliases; RFC 2181, 10.1: other records beside one are wrong.
def test_aliases_are_followed_to_any_name() -> None:
    one = found(
        "cdn.example.net. 20 A 203.0.113.9",
        "git.example.com. 300 CNAME edge.example.net.",
        "edge.example.net. 60 CNAME cdn.example.net.",
        "other.example.net. 1 A 203.0.113.99",
    )
    assert one.addresses == (IPv4Address("203.0.113.9"),)
    assert [str(alias.target) for alias in one.aliases] == ["edge.example.net.", "cdn.example.net."]
    assert one.ttl == 20
    code, lines = answered(messages.answer(query("git.example.com"), one, 77))
    assert (code, len(lines)) == ("NOERROR", 3)
    assert lines[-1] == "cdn.example.net. 77 IN A 203.0.113.9"


def test_records_of_other_names_are_not_taken() -> None:
    one = found("evil.example. 60 A 203.0.113.66", "git.example.com. 60 A 203.0.113.7")
    assert one.addresses == (IPv4Address("203.0.113.7"),)


def test_an_alias_in_a_circle_is_useless() -> None:
    with pytest.raises(UselessError, match="aliases"):
        found("git.example.com. 9 CNAME a.example.", "a.example. 9 CNAME git.example.com.")


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("169.254.169.254", "reserved"),
        ("169.254.170.2", "reserved"),
        ("127.0.0.1", "reserved"),
        ("0.0.0.0", "reserved"),
        ("10.0.0.5", "private"),
        ("192.168.1.1", "private"),
        ("100.64.0.9", "private"),
        ("8.8.8.8", "public resolver"),
    ],
)
def test_a_name_does_not_lead_where_the_list_does_not(address: str, why: str) -> None:
    only = found(f"git.example.com. 60 A {address}")
    assert not only.addresses
    assert why in only.refused[IPv4Address(address)]
    assert answered(messages.answer(query("git.example.com"), only, 60)) == ("NXDOMAIN", [])
    both = found(f"git.example.com. 60 A {address}", "git.example.com. 60 A 203.0.113.7")
    assert both.addresses == (IPv4Address("203.0.113.7"),)


def test_a_name_leads_to_a_private_address_that_is_listed() -> None:
    assert found("git.example.com. 60 A 10.1.2.3").addresses == (IPv4Address("10.1.2.3"),)


@pytest.mark.parametrize(("code", "reply"), [(0, "NOERROR"), (3, "NXDOMAIN")])
def test_what_does_not_exist_does_not_exist(code: int, reply: str) -> None:
    none = found(code=code)
    assert answered(messages.answer(query("git.example.com"), none, 60)) == (reply, [])


@pytest.mark.parametrize(
    ("wire", "why"),
    [
        (resolved(id=8), "another question"),
        (resolved(name="evil.example"), "another question"),
        (messages.question_for("git.example.com", 7), "another question"),
        (resolved()[:4] + b"\0\2" + resolved()[6:] + resolved()[12:], "another question"),
        (resolved(code=2), "SERVFAIL"),
        (resolved(code=5), "REFUSED"),
        (b"", "malformed"),
        (resolved("git.example.com. 60 A 203.0.113.7")[:-1], "malformed"),
    ],
)
def test_what_does_not_answer_is_useless(wire: bytes, why: str) -> None:
    with pytest.raises(UselessError, match=why):
        messages.found_in(wire, "git.example.com", 7, LIST)


@given(st.binary(max_size=300))
def test_any_message_of_a_resolver_is_found_or_useless(tail: bytes) -> None:
    whole = resolved("git.example.com. 60 A 203.0.113.7")
    for wire in (tail, whole[:12] + tail, whole[:33] + tail):
        try:
            one = messages.found_in(wire, "git.example.com", 7, LIST)
        except UselessError:
            continue
        assert not [address for address in one.addresses if LIST.refuses_answer(address)]
        assert 0 <= one.ttl <= messages.LONGEST_TTL


@given(
    st.lists(st.ip_addresses(v=4), max_size=100),
    st.integers(0, messages.ALIASES),
    st.text("abc", min_size=1, max_size=60),
)
def test_every_answer_fits_into_a_datagram(
    addresses: list[IPv4Address], aliases: int, label: str
) -> None:
    name = f"{label}.{label}.{label}.example.org"
    names = [name, *(f"{label}{n}.example" for n in range(aliases))]
    records = [f"{a}. 60 CNAME {b}." for a, b in pairwise(names)]
    records += [f"{names[-1]}. 60 A {address}" for address in addresses]
    one = messages.found_in(resolved(*records, name=name), name, 7, EgressGrant(observe=True))
    wire = messages.answer(query(name), one, 60)
    assert len(wire) <= 512
    if addresses:
        _, lines = answered(wire)
        shown = {IPv4Address(line.split()[-1]) for line in lines if " IN A " in line}
        assert shown
        assert shown <= set(addresses)


def test_the_longest_name_has_an_answer() -> None:
    name = ".".join(["a" * 59] * 3 + ["b" * 57, "example.org"])
    assert len(name) > 240
    one = messages.found_in(
        resolved(*(f"{name}. 60 A 203.0.113.{n}" for n in range(40)), name=name), name, 7, LIST
    )
    wire = messages.answer(query(name), one, 60)
    assert len(wire) <= messages.LARGEST
    assert len(answered(wire)[1]) >= 8

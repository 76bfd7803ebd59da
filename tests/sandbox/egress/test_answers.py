"""What is taken of a resolver's answer: its limits, and what is passed over."""

import struct
from ipaddress import IPv4Address
from itertools import pairwise

import dns.rdatatype
import pytest

from bootstrap.sandbox.egress import messages
from bootstrap.sandbox.egress.messages import UselessError
from tests.sandbox.egress.test_messages import LIST, found, resolved


def test_the_shortest_time_on_the_way_counts() -> None:
    one = found("git.example.com. 5 CNAME cdn.example.", "cdn.example. 60 A 203.0.113.9")
    assert one.ttl == 5


def test_records_of_other_types_and_classes_are_passed_over() -> None:
    records = ("git.example.com. 60 TXT a", "git.example.com. 60 A 203.0.113.7")
    assert found(*records).addresses == (IPv4Address("203.0.113.7"),)
    for kind, value in (("A", "203.0.113.7"), ("CNAME", "cdn.example.")):
        wire = resolved(f"git.example.com. 60 {kind} {value}", "cdn.example. 60 A 203.0.113.9")
        code = dns.rdatatype.from_text(kind)
        internet, chaos = (struct.pack("!HHI", code, of, 60) for of in (1, 3))
        one = messages.found_in(wire.replace(internet, chaos, 1), "git.example.com", 7, LIST)
        assert (one.addresses, one.aliases) == ((), ())


def test_an_answer_has_64_addresses_each_once() -> None:
    many = [f"git.example.com. 60 A 203.0.113.{n}" for n in range(100)]
    assert len(found(*many).addresses) == 64
    twice = messages.found_in(
        resolved(many[0]).replace(b"\0\1\0\1\0\0\0\0", b"\0\1\0\2\0\0\0\0", 1)
        + resolved(many[0])[-16:],
        "git.example.com", 7, LIST,
    )  # fmt: skip
    assert twice.addresses == (IPv4Address("203.0.113.0"),)


@pytest.mark.parametrize(("aliases", "addresses"), [(16, 1), (17, 0)])
def test_there_are_16_aliases_at_most(aliases: int, addresses: int) -> None:
    names = ["git.example.com", *(f"n{n}.example" for n in range(aliases))]
    records = [f"{a}. 60 CNAME {b}." for a, b in pairwise(names)]
    wire = resolved(*records, f"{names[-1]}. 60 A 203.0.113.7")
    try:
        assert len(messages.found_in(wire, names[0], 7, LIST).addresses) == addresses
    except UselessError as useless:
        assert not addresses
        assert str(useless) == "more than 16 aliases"


def test_a_message_that_is_cut_off_is_not_truncated_but_useless() -> None:
    assert messages.is_truncated(resolved()[:2] + bytes([0x82]) + resolved()[3:])
    for size in range(3):
        assert not messages.is_truncated(resolved()[:size])
        assert messages.code_of(resolved()[:size]) == ""


# RFC 2181, 8: a TTL is below 2^31, and a greater one is zero.
@pytest.mark.parametrize(
    ("ttl", "expected"), [(0, 0), (60, 60), (86400, 3600), (2**31 - 1, 3600), (2**31, 0)]
)
def test_a_ttl_is_bounded(ttl: int, expected: int) -> None:
    wire = resolved("git.example.com. 60 A 203.0.113.7")
    assert wire.count(struct.pack("!I", 60)) == 1
    changed = wire.replace(struct.pack("!I", 60), struct.pack("!I", ttl))
    assert messages.found_in(changed, "git.example.com", 7, LIST).ttl == expected

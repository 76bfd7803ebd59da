"""What the end of a job's log says about what it reached, and the list that it proposes."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.policy.egress import MOST, EgressGrant
from bootstrap.sandbox.egress.messages import Found
from bootstrap.sandbox.egress.resolver import Seen
from bootstrap.sandbox.egress.use import (
    NAMES_AT_MOST,
    Names,
    Target,
    Use,
    advice,
    draft,
    job_targets,
    shown,
)
from tests.policy.given import policy


def target(address: str, port: int | None = 443, protocol: str = "tcp") -> Target:
    return Target(IPv4Address(address), protocol, port)


def use(*, observe: bool = False, names: Names | None = None, **more: object) -> Use:
    return Use(observe=observe, names=names or Names(), **{"targets": {}, **more})  # type: ignore[arg-type]


def test_nothing_refused_says_nothing() -> None:
    assert not list(advice(use(names=Names(asked={"a.example": 3})), "tests"))


def test_refusals_are_counted_with_what_to_add() -> None:
    (line,) = advice(
        use(
            names=Names(refused={"b.example": 1, "a.example": 4}),
            targets={target("203.0.113.7"): 3, target("10.1.2.3", 5432): 2},
        ),
        "tests",
    )
    assert line == (
        "egress of rule 'tests' does not allow 5 lookups and 5 packets. If the job needs them, add "
        "hosts: [a.example, b.example], cidrs: [203.0.113.7/32], private: [10.1.2.3/32]"
    )


def test_other_resolvers_are_nothing_to_add() -> None:
    (line,) = advice(use(targets={target("8.8.8.8", 53, "udp"): 9}), "tests")
    assert line.startswith("packets to other resolvers were refused")
    assert "udp 8.8.8.8:53" in line
    assert "cidrs" not in line


def test_a_name_that_leads_inside_is_named_with_why() -> None:
    (line,) = advice(use(names=Names(leads_astray={"a.example": "a private address"})), "tests")
    assert line.startswith("a.example leads to a private address, which egress of rule 'tests'")


def test_limits_of_the_resolver_are_named() -> None:
    lines = list(advice(use(names=Names(over_limit=7, unanswered=1, why="it is late")), "tests"))
    assert [line.split(" ", 3)[:3] for line in lines] == [
        ["7", "lookups", "got"], ["1", "lookup", "failed,"],
    ]  # fmt: skip
    assert lines[1] == "1 lookup failed, at last because it is late"


def test_many_names_make_one_short_line() -> None:
    names = Names(refused={f"n{n}.example": 1 for n in range(100)}, others=50)
    (line,) = advice(use(names=names), "tests")
    assert "150 lookups" in line
    assert ", and 92 more]" in line


def test_eight_entries_of_a_line_are_all_of_them() -> None:
    names = Names(refused={f"{number}.example": 1 for number in range(8)})
    (line,) = advice(use(names=names), "tests")
    assert "7.example]" in line
    assert "more" not in line


@pytest.mark.parametrize(("number", "is_proposed"), [(MOST, True), (MOST + 1, False)])
def test_a_list_that_a_rule_may_have_is_proposed(number: int, is_proposed: bool) -> None:  # noqa: FBT001
    first = IPv4Address("203.0.113.0")
    reached = {target(str(first + offset)): 1 for offset in range(number)}
    recorded = use(observe=True, targets=reached).recorded()
    assert (recorded["proposed"] is not None) is is_proposed


def test_packets_of_the_proof_are_not_the_jobs() -> None:
    one = {target("192.0.2.1"): 1, target("224.0.0.22", None, "protocol 2"): 1}
    assert job_targets({**one, target("203.0.113.7"): 1}) == {target("203.0.113.7"): 1}


def test_the_record_has_all_of_it_as_plain_values() -> None:
    recorded = use(
        names=Names(asked={"a.example": 1}, refused={"b.example": 2}),
        targets={target("203.0.113.7"): 3, target("203.0.113.8", None, "icmp"): 1},
    ).recorded()
    assert recorded["refused_targets"] == {"tcp 203.0.113.7:443": 3, "icmp 203.0.113.8": 1}
    assert recorded["refusals"] == 6
    assert shown(target("203.0.113.7")) == "tcp 203.0.113.7:443"


def test_a_record_has_the_100_most_frequent_of_each_kind_and_no_secret() -> None:
    counts = {f"n{n}.example": n for n in range(1, 301)}
    names = Names(
        asked=counts, refused=counts, leads_astray=dict.fromkeys(counts, "a private address"),
        others=7, over_limit=3, unanswered=2,
    )  # fmt: skip
    targets = {Target(IPv4Address(n), "tcp", 443): n for n in range(1, 301)}
    recorded = use(names=names, targets=targets).recorded(lambda name: name.replace("n30", "***"))
    most = {f"n{n}.example".replace("n30", "***"): n for n in range(201, 301)}
    first = [f"n{n}.example".replace("n30", "***") for n in range(1, 101)]
    assert recorded == {
        "mode": "enforce",
        "asked": most,
        "refused_names": most,
        "not_allowed_answers": dict.fromkeys(first, "a private address"),
        "refused_targets": {f"tcp {IPv4Address(n)}:443": n for n in range(201, 301)},
        "refused_packets": 300 * 301 // 2,
        "refusals": 300 * 301 + 7,
        "over_limit": 3,
        "unanswered": 2,
        "proposed": None,
    }


def test_one_line_names_eight() -> None:
    asked = {target(f"203.0.113.{n}", port, "tcp"): 1 for n in range(10) for port in (53, 853)}
    (line,) = advice(use(targets=asked), "tests")
    assert line.count("tcp 203.0.113.") == 8
    astray = {f"n{n}.example": "a private address" for n in range(20)}
    assert len(list(advice(use(names=Names(leads_astray=astray)), "tests"))) == 8


def test_an_observed_job_is_refused_nothing() -> None:
    observed = use(observe=True, targets={target("203.0.113.7"): 3})
    assert observed.refusals == 0
    recorded = observed.recorded()
    assert (recorded["mode"], recorded["refused_packets"]) == ("observe", 0)
    assert recorded["refused_targets"] == {"tcp 203.0.113.7:443": 3}, "what it would have been"


def test_a_draft_has_the_names_whose_addresses_were_used() -> None:
    one, two, inside = (IPv4Address(a) for a in ("203.0.113.7", "203.0.113.8", "10.1.2.3"))
    observed = use(
        observe=True,
        names=Names(addresses={
            "a.example": frozenset({one}), "unused.example": frozenset({two}),
            "db.example": frozenset({inside}),
        }),
        targets={target("198.51.100.9"): 1, target("10.9.9.9", 22): 1},
        reached=frozenset({one, inside}),
    )  # fmt: skip
    assert draft(observed) == [
        "egress:",
        "  hosts: [a.example, db.example]",
        "  cidrs: [198.51.100.9/32]",
        "  private: [10.1.2.3/32, 10.9.9.9/32]",
    ]
    assert observed.recorded()["proposed"] == {
        "hosts": ["a.example", "db.example"],
        "cidrs": ["198.51.100.9/32"],
        "private": ["10.1.2.3/32", "10.9.9.9/32"],
    }
    assert draft(use(observe=True)) == ["egress: none"]


def test_the_record_proposes_no_list_that_is_not_whole_or_was_not_observed() -> None:
    many = {target(f"203.0.{n // 250}.{n % 250 + 1}"): 1 for n in range(501)}
    assert use(targets={target("203.0.113.7"): 1}).recorded()["proposed"] is None
    assert use(observe=True, targets=many).recorded()["proposed"] is None
    assert use(observe=True, names=Names(others=1)).recorded()["proposed"] is None
    assert use(observe=True).recorded()["proposed"] == {"hosts": [], "cidrs": [], "private": []}


def test_an_address_that_was_sent_to_before_it_was_named_is_drafted_by_its_name() -> None:
    one = IPv4Address("203.0.113.7")
    observed = use(
        observe=True, names=Names(addresses={"a.example": frozenset({one})}),
        targets={target(str(one)): 1}, reached=frozenset({one}),
    )  # fmt: skip
    assert draft(observed) == ["egress:", "  hosts: [a.example]"]


PUBLIC = st.integers(1, 250).map(lambda n: IPv4Address(f"203.0.113.{n}"))
INSIDE = st.integers(1, 250).map(lambda n: IPv4Address(f"10.1.2.{n}"))
ADDRESSES = st.one_of(PUBLIC, INSIDE)


@given(
    st.dictionaries(st.sampled_from(["a.example", "b.example", "c.d.example"]),
                    st.frozensets(ADDRESSES, max_size=3)),
    st.frozensets(ADDRESSES, max_size=3),
    st.frozensets(ADDRESSES, max_size=3),
)  # fmt: skip
def test_a_draft_allows_what_was_reached_and_is_a_policy(
    found: dict[str, frozenset[IPv4Address]],
    alone: frozenset[IPv4Address],
    used: frozenset[IPv4Address],
) -> None:
    named = frozenset[IPv4Address]().union(*found.values())
    observed = Use(
        observe=True, names=Names(addresses=found), reached=named & used,
        targets={Target(one, "tcp", 443): 1 for one in alone - named},
    )  # fmt: skip
    text = "\n".join(f"      {line}" for line in draft(observed))
    document = policy(f"  - name: only\n    when: {{branch: main}}\n    allow:\n{text}\n")
    grant = document.rules[0].allow.egress
    assert grant is not None
    for name, addresses in found.items():
        for one in addresses & used:
            assert grant.has_name(name)
            assert not grant.refuses_answer(one)
    for one in alone - named:
        assert any(one in network for network in grant.networks)
    assert grant.observe is EgressGrant().observe


def test_many_names_are_counted_and_few_are_kept() -> None:
    seen = Seen()
    for number in range(1000):
        seen.note_refused(f"n{number}.example")
    names = seen.names()
    assert len(names.refused) == NAMES_AT_MOST
    assert names.others == 1000 - NAMES_AT_MOST


def test_names_are_counted_in_small_letters_and_shown_as_they_can_be() -> None:
    seen = Seen()
    for name in ("Git.Example.com", "git.example.com"):
        seen.note_found(name, Found(exists=True))
    seen.note_refused("a" * 1000)
    seen.note_refused("\x1b[31m")
    seen.note_refused("own.invalid")
    names = seen.names(but="own.invalid")
    assert names.asked == {"git.example.com": 2}
    assert [len(name) <= 255 and name.isprintable() for name in names.refused] == [True, True]


def test_what_is_kept_is_counted_on_when_there_is_no_space_for_more() -> None:
    seen, many = Seen(), NAMES_AT_MOST + 50
    one = Found(exists=True, refused={IPv4Address("10.0.0.1"): "a private address"})
    every = [IPv4Address(n) for n in range(many)]
    for number in range(many):
        seen.note_refused(f"n{number}.example")
        seen.note_found(f"n{number}.example", one)
    for _ in range(2):
        seen.note_refused("n0.example")
        seen.note_found("n0.example", Found(exists=True, addresses=tuple(every)))
    names = seen.names()
    assert (names.refused["n0.example"], names.asked["n0.example"], names.others) == (3, 3, 50)
    kept = (names.refused, names.asked, names.leads_astray, names.addresses["n0.example"])
    assert [len(some) for some in kept] == [NAMES_AT_MOST] * 4


def test_no_list_is_proposed_with_a_secret_in_it() -> None:
    address = IPv4Address("203.0.113.7")
    names = Names(asked={"hunter2.example": 1}, addresses={"hunter2.example": frozenset({address})})
    observed = Use(observe=True, names=names, targets={}, reached=frozenset({address}))
    assert observed.recorded()["proposed"] == {
        "hosts": ["hunter2.example"], "cidrs": [], "private": [],
    }  # fmt: skip
    assert observed.recorded(lambda name: name.replace("hunter2", "***"))["proposed"] is None

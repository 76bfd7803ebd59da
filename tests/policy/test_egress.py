"""`egress` of a rule: which names and networks it means, and what every tool makes of it."""

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.errors import WrongConfiguration
from bootstrap.policy.access_map import notes
from bootstrap.policy.decide import decide
from bootstrap.policy.difference.model import Kind
from bootstrap.policy.difference.parts import differences
from bootstrap.policy.egress import (
    NEVER,
    PRIVATE,
    RESOLVERS,
    EgressGrant,
    covers,
    host_pattern,
    name_matches,
    private_network,
    public_network,
)
from bootstrap.policy.model import Admitted, Decision, Denied, Grant
from bootstrap.policy.parse import parse_guardrails
from tests.policy.given import claims, policy
from tests.policy.test_cases import problem

LIST = 'egress: {hosts: [git.example.com, "*.example.org"], cidrs: 203.0.113.0/24}'


def rule(egress: str) -> str:
    return f"  - {{name: only, when: {{pull-request: any}}, allow: {{{egress}}}}}\n"


def granted(egress: str) -> Grant:
    return policy(rule(egress)).rules[0].allow


def decided(rails: str, egress: str) -> Decision:
    document = parse_guardrails(f"guardrails: acme\n{rails}", "guardrails.yaml")
    return decide(claims(), policy(rule(egress)), document)


@pytest.mark.parametrize("text", ["", "egress: internet"])
def test_without_a_list_a_job_reaches_everything(text: str) -> None:
    assert granted(text).egress is None


@pytest.mark.parametrize("text", ["egress: none", "egress: {}", "egress: {hosts: []}"])
def test_none_is_an_empty_list(text: str) -> None:
    assert granted(text).egress == EgressGrant()


def test_a_list_has_each_entry_once_in_its_usual_form() -> None:
    text = (
        'egress: {hosts: [Git.Example.com, git.example.com, "*.a.example", "*"], '
        "cidrs: [203.0.113.0/24, 198.51.100.7, 203.0.113.0/24], "
        "private: [10.1.0.0/16, 10.1.0.0/16]}"
    )
    assert granted(text).egress == EgressGrant(
        hosts=("git.example.com", "*.a.example", "*"),
        cidrs=("203.0.113.0/24", "198.51.100.7/32"),
        private=("10.1.0.0/16",),
    )


def test_observing_has_no_list() -> None:
    assert granted("egress: {mode: observe}").egress == EgressGrant(observe=True)
    for listed in ("hosts: a.example", "cidrs: 203.0.113.7", "private: 10.0.0.1"):
        with pytest.raises(WrongConfiguration) as wrong:
            granted(f"egress: {{mode: observe, {listed}}}")
        assert "no list with `mode: observe`" in str(wrong.value.details)


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("egress: all", 'expected "internet", "none", or a mapping'),
        ("egress: a.example", "as in `egress: {hosts: [github.com]}`"),
        ("egress: [a.example]", "as in `egress: {hosts: [github.com]}`"),
        ("egress: []", 'expected "internet", "none", or a mapping'),
        ("egress: {host: a.example}", 'did you mean "hosts"'),
        ("egress: {hosts: https://a.example}", "without scheme, port, path and last dot"),
        ("egress: {hosts: a.example:443}", "without scheme, port, path and last dot"),
        ("egress: {hosts: a.example.}", "without scheme, port, path and last dot"),
        ("egress: {hosts: a*.example}", "without scheme, port, path and last dot"),
        ("egress: {hosts: a..example}", "without scheme, port, path and last dot"),
        ("egress: {hosts: bücher.example}", "`xn--…` for other letters"),
        ("egress: {hosts: '*.203.0.113.7'}", "write an address under `cidrs`"),
        # Its small letter is one of ASCII: the sign of the unit kelvin.
        ('egress: {hosts: "\\u212a.example"}', "`xn--…` for other letters"),
        (f"egress: {{hosts: {'.'.join(['a' * 63] * 4)}}}", "without scheme, port, path"),
        ("egress: {cidrs: 2.0.0.0/7}", "of /8 or smaller"),
        ("egress: {hosts: '!a.example'}", "without scheme, port, path and last dot"),
        ("egress: {hosts: 203.0.113.7}", "write an address under `cidrs`"),
        ("egress: {cidrs: a.example}", "expected an IPv4 network"),
        ("egress: {cidrs: 203.0.113.7/24}", "no bit beyond"),
        ("egress: {cidrs: '2001:db8::/32'}", "containers have no IPv6"),
        ("egress: {cidrs: 0.0.0.0/0}", "of /8 or smaller"),
        ("egress: {cidrs: 128.0.0.0/1}", "of /8 or smaller"),
        ("egress: {cidrs: 10.0.0.0/8}", "write a private one under `private`"),
        ("egress: {cidrs: 192.0.0.0/8}", "write a private one under `private`"),
        ("egress: {cidrs: 169.254.169.254/32}", "is reserved"),
        ("egress: {cidrs: 127.0.0.1/32}", "is reserved"),
        ("egress: {private: 203.0.113.0/24}", "write a public one under `cidrs`"),
        ("egress: {private: 0.0.0.0/0}", "write a public one under `cidrs`"),
        ("egress: {private: 100.100.100.200}", "is reserved"),
        (f"egress: {{hosts: [{', '.join(f'n{n}.example' for n in range(501))}]}}", "at most 500"),
        ("egress: {mode: block}", "'enforce' or 'observe'"),
    ],
)
def test_what_is_not_an_entry_is_a_mistake(text: str, mistake: str) -> None:
    with pytest.raises(WrongConfiguration) as wrong:
        granted(text)
    assert mistake in str(wrong.value.details)


# RFC 4592, 2.1.1 and 4.1: `*` is a label of its own and leads a name. Unlike there, it stands for
# names at any depth whether or not one between exists: a list knows no zone.
@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("git.example.com", "git.example.com", True),
        ("git.example.com", "GIT.example.COM", True),  # RFC 4343: no case
        ("git.example.com", "git.example.co", False),
        ("git.example.com", "a.git.example.com", False),
        ("git.example.com", "xgit.example.com", False),
        ("git.example.com", "git.example.com.evil.example", False),
        ("*.example.com", "git.example.com", True),
        ("*.example.com", "a.b.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", ".example.com", False),
        ("*.example.com", "notexample.com", False),
        ("*.example.com", "git.example.com.evil.example", False),
        ("*", "anything", True),
        ("*", "any.thing.example", True),
    ],
)
def test_names_that_a_pattern_stands_for(pattern: str, name: str, *, expected: bool) -> None:
    assert name_matches(pattern, name) is expected


LABELS = st.text("abcxyz019-_", min_size=1, max_size=8).filter(lambda s: s.strip("-") == s)
NAMES = (
    st.lists(LABELS, min_size=2, max_size=5)
    .map(".".join)
    .filter(lambda name: not all(c in "0123456789." for c in name))
)
PATTERNS = st.one_of(NAMES, NAMES.map(lambda name: f"*.{name}"), st.just("*"))


@given(PATTERNS, PATTERNS, NAMES)
def test_a_wider_pattern_stands_for_every_name_of_the_narrower(a: str, b: str, name: str) -> None:
    related = [name, f"x.{a.removeprefix('*.')}", f"x.{b.removeprefix('*.')}", b]
    for wide, narrow in ((a, b), (f"*.{b.removeprefix('*.')}", b), ("*", a)):
        if covers(wide, narrow):
            for one in related:
                assert not name_matches(narrow, one) or name_matches(wide, one)


@given(st.text(max_size=30))
def test_any_text_is_a_pattern_or_a_mistake(text: str) -> None:
    try:
        pattern = host_pattern(text)
    except ValueError as mistake:
        assert str(mistake).startswith("expected")
        return
    assert host_pattern(pattern) == pattern == text.lower()


@given(st.one_of(st.text("0123456789./:a", max_size=20), st.ip_addresses(v=4).map(str)))
def test_any_text_is_a_network_or_a_mistake(text: str) -> None:
    for parse in (public_network, private_network):
        try:
            network = IPv4Network(parse(text))
        except ValueError as mistake:
            assert str(mistake).startswith("expected")
        else:
            assert any(network.subnet_of(one) for one in PRIVATE) == (parse is private_network)


# RFC 6890 and the registry that it made; RFC 1918, 6598, 3927, 5771, 1112, 2544, 5737.
@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("93.184.215.14", ""),
        ("10.0.0.1", "a private address"),
        ("172.16.0.1", "a private address"),
        ("172.31.255.255", "a private address"),
        ("172.32.0.1", ""),
        ("192.168.1.1", "a private address"),
        ("100.64.0.1", "a private address"),
        ("100.127.255.255", "a private address"),
        ("100.128.0.1", ""),
        ("198.18.0.1", "a private address"),
        ("127.0.0.1", "reserved"),
        ("0.0.0.0", "reserved"),
        ("169.254.169.254", "reserved"),
        ("169.254.170.2", "reserved"),
        ("168.63.129.16", "reserved"),
        ("100.100.100.200", "reserved"),
        ("192.0.0.192", "reserved"),
        ("192.0.2.1", "reserved"),
        ("224.0.0.251", "reserved"),
        ("255.255.255.255", "reserved"),
        ("1.1.1.1", "a public resolver"),
        ("8.8.8.8", "a public resolver"),
    ],
)
def test_addresses_to_which_no_name_leads(address: str, why: str) -> None:
    refused = EgressGrant(hosts=("*",)).refuses_answer(IPv4Address(address))
    assert bool(refused) is bool(why)
    assert why in refused


@given(st.ip_addresses(v=4))
def test_a_listed_network_is_the_only_private_one_to_which_names_lead(address: IPv4Address) -> None:
    grant = EgressGrant(hosts=("*",), private=("10.1.0.0/16",))
    private = any(address in network for network in PRIVATE)
    expected = any(address in network for network in NEVER) or (
        private and address not in IPv4Network("10.1.0.0/16")
    )
    assert bool(grant.refuses_answer(address)) == (expected or address in RESOLVERS)


def test_a_resolver_that_is_listed_as_such_is_reached() -> None:
    assert not EgressGrant(cidrs=("1.1.1.1/32",)).refuses_answer(IPv4Address("1.1.1.1"))


@pytest.mark.parametrize(
    ("rails", "egress", "beyond"),
    [
        ("egress: {}", "", "the guardrail 'egress'"),
        ("egress: {}", "egress: internet", "got internet, allowed: what `egress` of a rule lists"),
        ("egress: {}", "egress: {mode: observe}", "got mode: observe"),
        ("egress: {}", LIST, ""),
        ("egress: {}", "egress: none", ""),
        ('egress: {hosts: "*.example.com"}', LIST, "'egress.hosts'"),
        ('egress: {hosts: ["*.example.com", "*.example.org"]}', LIST, ""),
        ('egress: {hosts: "*"}', LIST, ""),
        ("egress: {hosts: []}", LIST, "got git.example.com"),
        ("egress: {cidrs: 203.0.113.0/25}", LIST, "got 203.0.113.0/24, allowed: 203.0.113.0/25"),
        ("egress: {cidrs: 203.0.0.0/16}", LIST, ""),
        ("egress: {cidrs: []}", LIST, "got 203.0.113.0/24"),
        ("egress: {private: []}", "egress: {private: 10.0.0.0/8}", "got 10.0.0.0/8"),
        ("scopes: [{name: web, pipelines: '*', egress: {hosts: []}}]", LIST, "scopes.web.egress"),
    ],
)
def test_guardrails_limit_what_rules_list(rails: str, egress: str, beyond: str) -> None:
    decision = decided(rails, egress)
    if not beyond:
        assert isinstance(decision, Admitted)
        return
    assert isinstance(decision, Denied)
    assert beyond in decision.problem


def test_a_rule_without_a_list_gets_the_hint_to_add_one() -> None:
    decision = decided("egress: {}", "")
    assert isinstance(decision, Denied)
    assert decision.hint.startswith("Add `egress` to the rule")


def test_a_diff_says_who_reaches_more() -> None:
    internet, some, none = granted(""), granted(LIST), granted("egress: none")
    assert [(d.kind, d.before, d.after) for d in differences(internet, none)] == [
        (Kind.LOSES, "internet", "nothing")
    ]
    assert [d.kind for d in differences(some, internet)] == [Kind.GAINS]
    assert {(d.kind, d.what, d.name) for d in differences(none, some)} == {
        (Kind.GAINS, "host that jobs reach", "git.example.com"),
        (Kind.GAINS, "host that jobs reach", "*.example.org"),
        (Kind.GAINS, "network that jobs reach", "203.0.113.0/24"),
    }
    observed = granted("egress: {mode: observe}")
    assert [d.kind for d in differences(none, observed)] == [Kind.GAINS]


def test_the_access_map_notes_it() -> None:
    assert ("egress", "none") in notes(granted("egress: none"))
    assert dict(notes(granted(LIST)))["egress"].startswith("hosts git.example.com, *.example.org")
    assert "egress" not in dict(notes(granted("")))


@pytest.mark.parametrize(
    ("egress", "expected"),
    [("", "internet"), ("egress: none", "none"), (LIST, "list"),
     ("egress: {mode: observe}", "observe")],
)  # fmt: skip
def test_a_case_can_expect_it(egress: str, expected: str) -> None:
    for word in ("internet", "none", "list", "observe"):
        expectation = f"{{rule: only, egress: {word}}}"
        mistaken = problem(policy(rule(egress)), "{branch: main}", expectation)
        assert bool(mistaken) is (word != expected), mistaken

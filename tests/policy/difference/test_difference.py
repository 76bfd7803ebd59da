"""diff: what changes for whom between two sets of documents."""

from dataclasses import replace

import pytest

from bootstrap.policy.catalogue import Catalogue
from bootstrap.policy.difference import Change, Kind, difference
from bootstrap.policy.difference.model import EVERY
from bootstrap.policy.difference.rules import MANY
from bootstrap.policy.model import Policy
from bootstrap.policy.parse import parse_guardrails
from tests.policy.given import policy
from tests.policy.samples import MAIN, OTHER, ROLE, rule

ALL = "branch: '*'"


def catalogue(*policies: Policy, rails: str = "") -> Catalogue:
    guardrails = parse_guardrails(f"guardrails: acme\n{rails}", "guardrails.yaml")
    return Catalogue(policies=policies, guardrails=guardrails if rails else None)


def changes(old: str, new: str) -> tuple[Change, ...]:
    return difference(catalogue(policy(old)), catalogue(policy(new)))


def short(found: tuple[Change, ...]) -> list[tuple[str, str, str]]:
    """Kind, thing and jobs of every change."""
    return [
        (str(change.kind), f"{change.what} {change.name}".strip(), way.jobs)
        for change in found
        for way in change.ways
    ]


PLAIN = "no tag, no pull request"
OWN = "a pull request from the repository itself"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (rule("a", "branch: main"), rule("a", "branch: [main]"), []),
        (rule("a", "branch: [x, main]"), rule("a", "branch: [main, x, main]"), []),
        (rule("a", "branch: main"), rule("b", "branch: main"),
         [("changes", "name of the rule", f"branch main, {PLAIN}")]),
        (rule("a", "branch: main"), rule("a", "branch: main") + rule("b", "queue: x", OTHER),
         [("gains", "a sandbox", f"{PLAIN}, queue x, except those of rule 'a' (branch main)"),
          ("gains", f"role {OTHER}",
           f"{PLAIN}, queue x, except those of rule 'a' (branch main)")]),
        (rule("a", "branch: main"), rule("a", "branch: [main, dev]"),
         [("gains", "a sandbox", f"branch dev, {PLAIN}"),
          ("gains", f"role {ROLE}", f"branch dev, {PLAIN}")]),
        (rule("a", "branch: [main, dev]"), rule("a", "branch: main"),
         [("loses", "a sandbox", f"branch dev, {PLAIN}"),
          ("loses", f"role {ROLE}", f"branch dev, {PLAIN}")]),
        (rule("a", "branch: main"), rule("a", "branch: main", OTHER),
         [("gains", f"role {OTHER}", f"branch main, {PLAIN}"),
          ("loses", f"role {ROLE}", f"branch main, {PLAIN}")]),
        (rule("a", "branch: main"), rule("a", "branch: main, pull-request: any"),
         [("gains", "a sandbox", f"branch main, no tag, {OWN}"),
          ("gains", f"role {ROLE}", f"branch main, no tag, {OWN}")]),
        (rule("a", "branch: main"), rule("a", "branch: main, tag: [none, 'v*']"),
         [("gains", "a sandbox", "branch main, tag v*, no pull request"),
          ("gains", f"role {ROLE}", "branch main, tag v*, no pull request")]),
    ],
)  # fmt: skip
def test_difference_reports_changed_access_and_its_jobs_alone(
    old: str, new: str, expected: list[tuple[str, str, str]]
) -> None:
    assert short(changes(old, new)) == expected


def test_what_an_earlier_rule_took_away_is_gained_when_it_goes() -> None:
    deploy, read = rule("deploy", "branch: main"), rule("read", ALL, OTHER)
    swapped = changes(deploy + read, read + deploy)
    assert short(swapped) == [
        ("gains", f"role {OTHER}", f"branch main, {PLAIN}"),
        ("loses", f"role {ROLE}", f"branch main, {PLAIN}"),
    ]
    assert {(way.before, way.after) for change in swapped for way in change.ways} == {
        ("as role (rule 'deploy')", "nothing (rule 'read')"),
        ("nothing (rule 'deploy')", "as role (rule 'read')"),
    }
    assert short(changes(read + deploy, read)) == []


def test_a_new_first_rule_takes_from_the_others() -> None:
    read = rule("read", ALL, OTHER)
    nothing = "  - {name: docs, when: {branch: 'docs/*'}, allow: {}}\n"
    assert short(changes(read, nothing + read)) == [
        ("loses", f"role {OTHER}", f"branch docs/*, {PLAIN}")
    ]


def test_difference_of_new_or_removed_pipeline_is_everything() -> None:
    empty, full = catalogue(), catalogue(MAIN)
    gained = difference(empty, full)
    assert {change.kind for change in gained} == {Kind.GAINS}
    assert {change.what for change in gained} >= {"builds of the repository", "a sandbox", "role"}
    assert {change.kind for change in difference(full, empty)} == {Kind.LOSES}
    assert difference(full, full) == ()


def test_a_document_that_names_another_pipeline_admits_no_job() -> None:
    made = policy(rule("a", ALL))
    lost = difference(catalogue(made), catalogue(replace(made, pipeline="other", digest="x")))
    assert {change.kind for change in lost} == {Kind.LOSES}
    assert {change.pipeline for change in lost} == {"storefront"}


def test_another_repository_is_a_gain_and_another_spelling_is_not() -> None:
    old = policy(rule("a", ALL))
    url = "https://github.com/acme/storefront"
    same = replace(old, repositories=(url,), digest="x")
    assert difference(catalogue(old), catalogue(same)) == ()
    more = replace(old, repositories=(url, "git@github.com:mallory/storefront.git"), digest="x")
    (gain,) = difference(catalogue(old), catalogue(more))
    assert (gain.kind, gain.name) == (Kind.GAINS, "git@github.com:mallory/storefront.git")


RAILS = "roles: 'arn:aws:iam::*:role/ci/*'\nsession: 1h\n"


def test_guardrails_that_go_are_a_gain_of_every_pipeline() -> None:
    gone = difference(catalogue(MAIN, rails=RAILS), catalogue(MAIN))
    assert {(change.kind, change.pipeline) for change in gone} == {(Kind.GAINS, EVERY)}
    assert {change.what for change in gone} == {
        "guardrails", "guardrail roles", "guardrail session",
    }  # fmt: skip
    back = difference(catalogue(MAIN), catalogue(MAIN, rails=RAILS))
    assert {change.kind for change in back} == {Kind.LOSES}


def test_a_rule_beyond_the_guardrails_is_refused_before_or_after() -> None:
    found = difference(
        catalogue(MAIN, rails="accounts: '999988887777'\n"),
        catalogue(MAIN, rails="accounts: ['999988887777', '111122223333']\n"),
    )
    assert [(c.kind, c.pipeline, c.what) for c in found] == [
        (Kind.GAINS, EVERY, "guardrail accounts"),
        (Kind.GAINS, "storefront", "a sandbox"),
        (Kind.GAINS, "storefront", "role"),
    ]
    assert found[1].ways[0].before == "refused: rule 'deploy' exceeds the guardrail accounts"


def test_a_grant_to_a_rule_for_forks_refuses_them_where_forks_get_nothing() -> None:
    forks = "branch: '*', pull-request: any"
    empty = policy(f"  - {{name: a, when: {{{forks}}}, allow: {{}}}}\n")
    found = difference(
        catalogue(empty, rails="session: 4h"),
        catalogue(policy(rule("a", forks)), rails="session: 4h"),
    )
    assert short(found) == [
        ("gains", f"role {ROLE}",
         "branch *, no tag, a pull request from the repository itself or none"),
        ("loses", "a sandbox", "branch *, no tag, a fork's pull request"),
    ]  # fmt: skip


def test_what_forks_may_get_is_reported_for_the_pipelines_that_admit_them() -> None:
    both = [policy(rule("a", "pull-request: any")), MAIN]
    found = difference(
        *(
            Catalogue(
                policies=(both[0], replace(both[1], pipeline="main", origin="main.yaml")),
                guardrails=parse_guardrails(f"guardrails: acme\nforks: {forks}\n", "g.yaml"),
            )
            for forks in ("nothing", "anything")
        )
    )
    assert [(change.kind, change.pipeline, change.what) for change in found] == [
        (Kind.GAINS, EVERY, "guardrail forks"),
        (Kind.GAINS, "storefront", "a sandbox"),
        (Kind.GAINS, "storefront", "role"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("forks: nothing", "forks: anything", Kind.GAINS),
        ("forks: nothing", "forks: refuse", Kind.LOSES),
        ("session: 1h", "session: 2h", Kind.GAINS),
        ("limits: {memory: 8GiB}", "limits: {memory: 4GiB}", Kind.LOSES),
        ("limits: {memory: 8GiB}", "session: 2h", None),
        ("secrets: ['ssm:/a/*']", "secrets: ['ssm:/a/*', 'ssm:/b/*']", Kind.GAINS),
        ("secrets: ['ssm:/a/*', '!ssm:/a/x']", "secrets: ['ssm:/a/*']", Kind.GAINS),
        ("secrets: ['ssm:/a/*']", "secrets: ['ssm:/a/*', '!ssm:/a/x']", Kind.LOSES),
        ("secrets: ['!ssm:/a/x']", "secrets: ['!ssm:/a/x', 'ssm:/b']", Kind.CHANGES),
        ("secrets: ['ssm:/a/*']", "secrets: ['ssm:/b/*']", Kind.CHANGES),
        ("secrets: []", "secrets: ['ssm:/b/*']", Kind.GAINS),
        ("secrets: ['!ssm:/a/x']", "secrets: []", Kind.CHANGES),
        ("plugins: ['docker#v5.*']", "forks: nothing", Kind.GAINS),
    ],
)
def test_a_guardrail_gains_or_loses_by_what_it_allows(
    old: str, new: str, kind: Kind | None
) -> None:
    found = difference(catalogue(rails=old), catalogue(rails=new))
    assert {change.kind for change in found} == ({kind} if kind else {Kind.GAINS, Kind.LOSES})


def test_hundreds_of_changed_rules_are_compared_without_their_predecessors() -> None:
    """The time for each pair grows with the rules before it."""

    def rules(number: int, role: str) -> str:
        return "".join(rule(f"r{i}", f"branch: '*-{i}-{role[-4:]}-*'", role) for i in range(number))

    few, many = 40, 120
    assert (few + 1) ** 2 <= MANY < many**2
    for number, named in ((few, True), (many, False)):
        found = changes(rules(number, ROLE), rules(number, OTHER))
        assert {(change.kind, change.name) for change in found} >= {
            (Kind.LOSES, ROLE), (Kind.GAINS, OTHER),
        }  # fmt: skip
        assert any("except those of rule" in way.jobs for c in found for way in c.ways) == named


def reached(old: str, new: str) -> list[tuple[str, str, str, str]]:
    """Kind, thing, before and after of every change of what the jobs of one rule reach."""
    before, after = (f"  - {{name: a, allow: {{egress: {one}}}}}\n" for one in (old, new))
    return [
        (str(change.kind), f"{change.what} {change.name}".strip(), way.before, way.after)
        for change in changes(before, after)
        for way in change.ways
    ]


WITHIN = "within what is listed"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("{hosts: ['*']}", "{hosts: ['*.example.com']}",
         [("loses", "host that jobs reach *", "listed", "nothing"),
          ("changes", "host that jobs reach *.example.com", WITHIN, "listed")]),
        ("{hosts: [a.example.com]}", "{hosts: ['*.example.com']}",
         [("gains", "host that jobs reach *.example.com", "nothing", "listed"),
          ("changes", "host that jobs reach a.example.com", "listed", WITHIN)]),
        ("{private: [10.0.0.0/8]}", "{private: [10.20.0.0/16, 192.168.1.0/24]}",
         [("loses", "private network that jobs reach 10.0.0.0/8", "listed", "nothing"),
          ("changes", "private network that jobs reach 10.20.0.0/16", WITHIN, "listed"),
          ("gains", "private network that jobs reach 192.168.1.0/24", "nothing", "listed")]),
        ("{mode: observe}", "{hosts: [a.example.com], cidrs: [203.0.113.0/24]}",
         [("loses", "egress: mode observe", "yes", "no"),
          ("changes", "host that jobs reach a.example.com", WITHIN, "listed"),
          ("changes", "network that jobs reach 203.0.113.0/24", WITHIN, "listed")]),
        ("{hosts: [a.example.com]}", "{hosts: [b.example.com]}",
         [("gains", "host that jobs reach b.example.com", "nothing", "listed"),
          ("loses", "host that jobs reach a.example.com", "listed", "nothing")]),
    ],
)  # fmt: skip
def test_what_another_entry_of_egress_reaches_is_neither_gained_nor_lost(
    old: str, new: str, expected: list[tuple[str, str, str, str]]
) -> None:
    assert sorted(reached(old, new)) == sorted(expected)

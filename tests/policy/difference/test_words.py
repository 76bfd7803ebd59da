"""What a reviewer reads of a change covers every job whose decision changes.

The words of a change are read back as conditions, and each job that `decide` treats otherwise has
to fulfil those of a change of what it gains or loses.
"""

import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bootstrap.job.model import Claims
from bootstrap.policy.difference import REPOSITORY, Change, Kind, difference
from bootstrap.policy.difference.model import EVERY
from bootstrap.policy.match import verdict
from bootstrap.policy.model import NO_TAG, Condition
from tests.policy.difference.documents import Document, jobs, versions
from tests.policy.difference.test_properties import MANY, catalogue, granted, had

KINDS = {
    "no pull request": {"no"},
    "a pull request from the repository itself": {"same-repository"},
    "a fork's pull request": {"fork"},
    "a pull request from the repository itself or none": {"no", "same-repository"},
    "a fork's pull request or none": {"no", "fork"},
    "any pull request, a fork's too": {"same-repository", "fork"},
    "any pull request or none, a fork's too": {"no", "same-repository", "fork"},
}
COMMITS = {
    "commit found on its branch": "verified",
    "commit not known to be off its branch": "verified-or-unknown",
}
SUBJECTS = {
    "started by a member of ": "creator-team", "started by ": "creator",
    "claims an author in ": "author-team", "with no plugins but ": "plugin",
    "branch ": "branch", "source ": "source", "step ": "step", "queue ": "queue",
    "command ": "command", "repository ": "repository",
}  # fmt: skip
# Commas that end no phrase.
WITHIN = {kind: kind.replace(", ", "\0") for kind in KINDS}


def phrases(words: str) -> list[str]:
    """Split at the commas that are in no parentheses."""
    for kind, kept in WITHIN.items():
        words = words.replace(kind, kept)
    found, depth = [""], 0
    for part in re.split(r"(, |[()])", words):
        depth += (part == "(") - (part == ")")
        if part == ", " and depth == 0:
            found.append("")
        else:
            found[-1] += part
    return [phrase.replace("\0", ", ") for phrase in found if phrase]


def patterns(words: str) -> tuple[str, ...]:
    wanted, _, refused = words.partition(" but not ")
    if words.startswith("other than "):
        wanted, refused = "", words.removeprefix("other than ")
    return (*filter(None, wanted.split(" or ")), *(f"!{p}" for p in refused.split(" or ") if p))


def condition(phrase: str) -> Condition:
    if phrase in COMMITS:
        return Condition(subject="commit-on-branch", patterns=(COMMITS[phrase],), line=0)
    if phrase.startswith(("no tag", "tag ")):
        none = (NO_TAG,) if phrase.startswith("no tag") else ()
        tags = phrase.removeprefix("no tag").removeprefix(" or ").removeprefix("tag ")
        return Condition(subject="tag", patterns=(*none, *patterns(tags)), line=0)
    named = re.fullmatch(r"(variable|agent-tag) (\S+) (.*)", phrase)
    if named:
        subject = {"variable": "env"}.get(named[1], named[1])
        return Condition(subject=subject, name=named[2], patterns=patterns(named[3]), line=0)
    start = next(start for start in SUBJECTS if phrase.startswith(start))
    listed = patterns(phrase.removeprefix(start))
    return Condition(subject=SUBJECTS[start], patterns=listed, line=0)


def fulfils(job: Claims, phrase: str) -> bool:
    if phrase in KINDS:
        return getattr(job.facts["pull-request"], "value", "") in KINDS[phrase]
    return verdict("", condition(phrase), job).holds


def covers(words: str, job: Claims) -> bool:
    for phrase in phrases(words) if words not in ("", "every job") else []:
        excepted = re.fullmatch(r"except those of rule '.*?' \((.*)\)", phrase)
        if excepted and all(fulfils(job, one) for one in phrases(excepted[1])):
            return False
        if not excepted and phrase != "and more of earlier rules" and not fulfils(job, phrase):
            return False
    return True


def is_general(change: Change) -> bool:
    """Whether the change is about all jobs of guardrails, a repository or a requirement."""
    named = change.what.startswith("requirement ")
    return change.pipeline == EVERY or change.what == REPOSITORY or named


@settings(MANY, max_examples=600)
@given(versions(st.none()), st.lists(jobs(), min_size=20, max_size=25))
def test_the_words_of_a_change_cover_every_job_that_it_concerns(
    sides: tuple[list[Document | None], list[Document | None]], claims: list[Claims]
) -> None:
    assume(sides[0][1] == sides[1][1])
    old, new = (catalogue(documents) for documents in sides)
    found = difference(old, new)
    for job in claims:
        before, after = granted(old, job), granted(new, job)
        if before == after or any(map(is_general, found)):
            continue
        for more, less, kind in ((after, before, Kind.GAINS), (before, after, Kind.LOSES)):
            for thing in had(more) - had(less):
                of_it = [c for c in found if c.kind is kind and (c.what, c.name) == thing]
                assert any(covers(way.jobs, job) for c in of_it for way in c.ways), (thing, of_it)
        assert any(covers(way.jobs, job) for change in found for way in change.ways)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("branch main or release/* but not dev, no tag", ["main", "release/*", "!dev"]),
        ("branch other than main, any pull request, a fork's too", ["!main"]),
    ],
)
def test_words_are_read_back_as_they_are_written(words: str, expected: list[str]) -> None:
    first, second = phrases(words)
    assert condition(first).patterns == tuple(expected)
    assert second in {*KINDS, "no tag"}

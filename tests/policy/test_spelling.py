"""Names in one form for exclusions, and the names that git could take for others."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.policy.glob import any_matches, excludes, matches
from bootstrap.policy.spelling import commit, folded, folded_ref, is_full_commit, is_ref_name

NAMES = st.text("abAB-/._", min_size=1, max_size=8)
INVISIBLE = ["\u200b", "\u2060", "\ufeff", "\u202e", "\u00ad", "\ufe0f", "\u034f", "\U000e0061"]


@given(st.text())
def test_folding_twice_changes_nothing_more(text: str) -> None:
    assert folded(folded(text)) == folded(text)


@given(name=st.text(max_size=8), sign=st.sampled_from(INVISIBLE), place=st.integers(0, 8))
def test_case_and_invisible_characters_make_no_other_name(name: str, sign: str, place: int) -> None:
    assert folded(name[:place] + sign + name[place:]) == folded(name)
    assert folded(name.upper().lower()) == folded(name.lower())


@pytest.mark.parametrize(
    "spelling",
    ["main", "MAIN", "refs/heads/main", "heads/main", "refs/tags/main", "Refs/Heads/Main",
     "remotes/origin/main", "refs/remotes/origin/main", "/main/", "\uff4dain", "ma\u00adin"],
)  # fmt: skip
def test_every_spelling_of_a_branch_is_excluded(spelling: str) -> None:
    assert folded_ref(spelling) == "main"
    assert not any_matches(["*", "!main"], (spelling,), fold=folded_ref)


@given(name=NAMES, other=NAMES)
def test_a_negation_excludes_every_name_that_its_pattern_would_admit(name: str, other: str) -> None:
    """In particular: what a list admits by a pattern, the negated pattern never lets through."""
    if matches(name, other):
        assert excludes([name], [other])
    assert any_matches([f"!{name}"], [other]) == (name.lower() != other.lower())


@given(pattern=st.text("ab*\n", max_size=8), value=st.text("ab\n", min_size=1, max_size=8))
def test_a_star_in_a_longer_pattern_stays_within_a_line(pattern: str, value: str) -> None:
    if matches(pattern, value):
        assert not pattern.strip("*") or pattern.count("\n") == value.count("\n")
        assert not any_matches([f"!{pattern}"], [value])


@given(st.text("ab./@{}~^:?*[\\ +-HEADrefs\x7f\x01", min_size=1, max_size=9))
def test_only_names_that_git_allows_are_names(text: str) -> None:
    if is_ref_name(text):
        checked = subprocess.run(["git", "check-ref-format", f"refs/heads/{text}"], check=False)
        assert checked.returncode == 0


@pytest.mark.parametrize(
    "text",
    ["", "refs/heads/main", "refs/pull/7/head", "HEAD", "@", "+main", "-u", "main:x", "main~1",
     "main^", "a..b", "main/", "/main", "a b", "main\n", "ma*n", "x.lock", "x.", ".x", "a/.b"],
)  # fmt: skip
def test_a_text_that_git_reads_otherwise_is_no_name(text: str) -> None:
    assert not is_ref_name(text)


@pytest.mark.parametrize(
    "text", ["main", "release/1.2", "dependabot/npm_and_yarn/x-1.0", "caf\u00e9", "a@b", "v1+x"]
)
def test_an_ordinary_branch_is_a_name(text: str) -> None:
    assert is_ref_name(text)


def test_a_commit_is_compared_without_case_and_known_only_in_full() -> None:
    assert commit("3C44*") == "3c44*"
    assert commit("HEAD") == "HEAD"
    assert is_full_commit("A" * 40)
    assert is_full_commit("0" * 64)
    assert not any(map(is_full_commit, ("HEAD", "a" * 39, "a" * 41, "g" * 40)))

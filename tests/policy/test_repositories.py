"""Patterns of the condition `repository`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.errors import WrongConfiguration
from bootstrap.job.repository import parse, parse_pattern, same
from bootstrap.policy.repositories import admits
from tests.policy.given import policy

URLS = st.builds(
    "{}{}{}".format,
    st.sampled_from(
        ["git@github.com:", "https://github.com/", "ssh://git@git.example.com/",
         "https://git.example.com/", "git@git.example.com:", "https://git.example.com:8443/"]
    ),
    st.text("abAB/.-", min_size=1, max_size=9),
    st.sampled_from(["", ".git", "/"]),
)  # fmt: skip


@given(one=URLS, other=URLS)
def test_a_url_as_a_pattern_admits_what_is_the_same_repository(one: str, other: str) -> None:
    assert admits([one], other) == same(one, other)
    assert admits(["*"], one) == (parse(one) is not None)
    if parse(one) is not None:
        assert parse_pattern(one) == parse(one)
        assert not admits(["*", f"!{one}"], one)


@given(one=URLS, other=URLS)
def test_a_negation_excludes_more_than_the_pattern_admits(one: str, other: str) -> None:
    if admits([one], other):
        assert not admits([f"!{one}"], other)


@given(st.text(max_size=30))
def test_no_text_is_a_pattern_of_another_host(text: str) -> None:
    pattern = parse_pattern(text)
    assert pattern is None or "*" not in f"{pattern.host}{pattern.user}{pattern.transport}"


@pytest.mark.parametrize(
    ("patterns", "url", "admitted"),
    [
        (["git@github.com:acme/*"], "https://github.com/acme/x.git", True),
        (["git@github.com:acme/*"], "https://github.com/acme/x/y.git", False),
        (["git@github.com:acme/*"], "https://gitlab.com/acme/x.git", False),
        (["git@github.com:acme/*"], "ssh://mallory@github.com/acme/x.git", False),
        (["git@git.example.com:acme/*"], "https://git.example.com/acme/x", False),
        (["!git@git.example.com:acme/*"], "https://git.example.com/acme/x", False),
        (["!git@git.example.com:acme/*"], "ssh://me@git.example.com:2222/acme/x.git", False),
        (["!git@git.example.com:acme/*"], "https://git.example.com/other/x", True),
        (["!*"], "git@github.com:acme/x", False),
        (["*"], "ext::sh -c id", False),
        ([], "git@github.com:acme/x", False),
    ],
)
def test_a_list_admits_by_patterns_and_negations(
    patterns: list[str],
    url: str,
    admitted: bool,  # noqa: FBT001
) -> None:
    assert admits(patterns, url) is admitted


@pytest.mark.parametrize("pattern", ["docs", "git@*:acme/x", "https://*/x", "ext::*", "!", "*/*"])
def test_a_pattern_that_is_no_url_is_an_error(pattern: str) -> None:
    with pytest.raises(WrongConfiguration) as caught:
        policy(f"  - {{name: a, when: {{repository: '{pattern}'}}, allow: {{}}}}\n")
    assert "expected the URL of a git repository" in "\n".join(caught.value.details)

"""When two spellings name the same repository, and when they only look alike."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.job.repository import parse, same

HERE = "git@github.com:acme/storefront.git"


@pytest.mark.parametrize(
    "spelling",
    [
        "git@github.com:acme/storefront.git",
        "git@github.com:acme/storefront",
        "github.com:acme/storefront.git",
        "https://github.com/acme/storefront.git",
        "https://github.com/acme/storefront",
        "https://github.com/acme/storefront/",
        "https://token@github.com/acme/storefront.git",
        "https://github.com:443/acme/storefront.git",
        "ssh://git@github.com/acme/storefront.git",
        "ssh://git@github.com:22/acme/storefront.git",
        "git@GitHub.com:Acme/Storefront.git",
        "https://github.com//acme//storefront.git",
    ],
)
def test_the_same(spelling: str) -> None:
    assert same(HERE, spelling)


@pytest.mark.parametrize(
    "other",
    [
        "",
        "git@github.com:acme/storefront-evil.git",
        "git@github.com:mallory/storefront.git",
        "git@github.com.evil.example:acme/storefront.git",
        "https://github.com@evil.example/acme/storefront.git",
        "https://evil.example/github.com/acme/storefront.git",
        "https://github.com:8443/acme/storefront.git",
        "https://github.com/acme/../acme/storefront.git",
        "https://github.com/acme/storefront.git?x",
        "https://github.com/acme/storefront.git#x",
        "https://github.com/acme%2Fstorefront.git",
        "https://github.com:99999999/acme/storefront.git",
        "https://github.com:x/acme/storefront.git",
        "file:///acme/storefront.git",
        "/srv/acme/storefront.git",
        "ext::sh -c id",
        "https://[::1",
        "git@g\u0456thub.com:acme/storefront.git",
    ],
)
def test_not_the_same(other: str) -> None:
    assert not same(HERE, other)


def test_case_counts_where_the_host_is_not_known_to_ignore_it() -> None:
    assert not same("git@git.example.com:acme/a", "git@git.example.com:Acme/a")


def test_what_cannot_be_parsed_is_only_itself() -> None:
    assert same("/srv/a.git", "/srv/a.git")
    assert not same("", "")


@given(st.text(), st.text())
def test_any_text_is_symmetric_and_no_traceback(one: str, other: str) -> None:
    assert same(one, other) == same(other, one)


@given(st.text(min_size=1))
def test_everything_is_itself(url: str) -> None:
    assert same(url, url)
    parse(url)

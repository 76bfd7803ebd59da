"""When two spellings reach the same repository, and when they only look alike.

What git contacts: tests/attacks/test_what_was_admitted_is_what_is_fetched.py.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.job.repository import Repository, parse, same, same_name

HERE = "git@github.com:acme/storefront.git"
ELSEWHERE = "git@git.example.com:acme/storefront.git"


@pytest.mark.parametrize(
    "spelling",
    [
        "git@github.com:acme/storefront.git",
        "git@github.com:acme/storefront",
        "git@github.com:/acme/storefront.git",
        "github.com:acme/storefront.git",
        "https://github.com/acme/storefront.git",
        "https://github.com/acme/storefront",
        "https://github.com/acme/storefront/",
        "https://github.com:443/acme/storefront.git",
        "ssh://git@github.com/acme/storefront.git",
        "ssh://github.com/acme/storefront.git",
        "ssh://git@github.com:22/acme/storefront.git",
        "git@GitHub.com:Acme/Storefront.git",
    ],
)
def test_spellings_of_one_repository_are_the_same(spelling: str) -> None:
    assert same(HERE, spelling)
    assert same_name(HERE, spelling)


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
        "https://github.com/acme/./storefront.git",
        "https://github.com//acme//storefront.git",
        "https://github.com/acme/storefront.git?x",
        "https://github.com/acme/storefront.git#x",
        "https://github.com/acme%2Fstorefront.git",
        "https://github.com:99999999/acme/storefront.git",
        "https://github.com:65536/acme/storefront.git",
        "https://github.com:0443/acme/storefront.git",
        "https://github.com:/acme/storefront.git",
        "https://github.com:x/acme/storefront.git",
        "https://github.com./acme/storefront.git",
        "https://github.com\\acme/storefront.git",
        "HTTPS://github.com/acme/storefront.git",
        "file:///acme/storefront.git",
        "/srv/acme/storefront.git",
        "acme/storefront.git",
        "./github.com:acme/storefront.git",
        "-ogithub.com:acme/storefront.git",
        "-oProxyCommand=x@github.com:acme/storefront.git",
        "ext::sh -c id",
        "ext::x@github.com:acme/storefront.git",
        "git::git@github.com:acme/storefront.git",
        "https://[::1",
        "git@g\u0456thub.com:acme/storefront.git",
        " git@github.com:acme/storefront.git",
        "git@github.com:acme/storefront.git\n",
        "git@github.com:acme/store\tfront.git",
        "evil.com:x@github.com:acme/storefront.git",
        "git:pass@github.com:acme/storefront.git",
        "a@b@github.com:acme/storefront.git",
        "ssh://git:pass@github.com/acme/storefront.git",
    ],
)
def test_urls_of_other_repositories_are_not_the_same(other: str) -> None:
    assert not same(HERE, other)
    assert not same_name(HERE, other)


@pytest.mark.parametrize(
    "other",
    [
        "mallory@github.com:acme/storefront.git",  # another account
        "https://token@github.com/acme/storefront.git",  # another account
        "https://user:secret@github.com/acme/storefront.git",
        "http://github.com/acme/storefront.git",  # anything on the network path can answer
        "git://github.com/acme/storefront.git",
    ],
)
def test_a_url_with_other_credentials_or_transport_is_the_same_only_as_itself(other: str) -> None:
    assert not same(HERE, other)
    assert same(other, other)


@pytest.mark.parametrize(
    "other",
    [
        "mallory@git.example.com:acme/storefront.git",
        "git.example.com:acme/storefront.git",  # as the local user
        "git@git.example.com:/acme/storefront.git",  # from the root, not from git's home
        "ssh://git@git.example.com/acme/storefront.git",
        "https://git.example.com/acme/storefront.git",
        "git@git.example.com:acme/storefront",
        "git@git.example.com:Acme/storefront.git",
        "ssh://git@git.example.com:2222/acme/storefront.git",
    ],
)
def test_on_a_host_that_is_no_forge_only_equal_contacts_are_the_same(other: str) -> None:
    assert not same(ELSEWHERE, other)
    assert same(other, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("git@git.example.com:/srv/a.git", "ssh://git@git.example.com:22/srv/a.git"),
        ("git@git.example.com:~ci/a.git", "ssh://git@git.example.com/~ci/a.git"),
        ("https://git.example.com/a%20b/c", "https://GIT.example.com:443/a%20b/c/"),
        ("http://10.77.0.2:8080/a.git", "http://10.77.0.2:8080/a.git"),
    ],
)
def test_two_spellings_of_one_contact_are_the_same(one: str, other: str) -> None:
    assert same(one, other)


def test_a_url_is_parsed_into_what_git_contacts() -> None:
    assert parse("ssh://ci@Git.Example.com:2222/~ci/a.git") == Repository(
        transport="ssh", user="ci", host="git.example.com", port="2222", path="~ci/a.git"
    )


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/srv/a.git",
        "a.git",
        "--upload-pack=x",
        "ext::sh -c id",
        "file:///srv/a.git",
        "https://git.example.com/a%0ab.git",
        "https://git.example.com/a%2Fb.git",
        "https://git.example.com/a%zz.git",
        "https://127.1/a.git",  # 127.0.0.1 to libcurl, and to ssh whatever a resolver returns
        "https://0x7f000001/a.git",
        "https://2130706433/a.git",
        "https://010.77.0.2/a.git",
        "ssh://git@[::1]/a.git",
        "git@[git.example.com:22]:a.git",
        "git@git.example.com:x~y",
        "git@git.example.com:-x",
        "https://git.example.com",
        "https://git.example.com/",
        "git+ssh://git@git.example.com/a.git",
        "ftp://git.example.com/a.git",
    ],
)
def test_a_url_without_a_meaning_equals_none(url: str) -> None:
    assert not same(url, url)
    assert not same_name(url, url)


@pytest.mark.parametrize(
    "origin",
    [
        "git://github.com/acme/storefront.git",  # the example in Buildkite's documentation
        "https://github.com/acme/storefront.git",
        "https://acme@github.com/Acme/storefront.git",
        "http://github.com/acme/storefront",
    ],
)
def test_the_origin_of_a_pull_request_is_compared_by_name(origin: str) -> None:
    assert same_name(HERE, origin)
    assert same_name(ELSEWHERE, origin.replace("github", "git.example").replace("Acme", "acme"))


@pytest.mark.parametrize(
    "origin",
    [
        "git://github.com/mallory/storefront.git",
        "git://github.com/mallory/acme/storefront.git",
        "git://evil.example/acme/storefront.git",
        "git://github.com:9999/acme/storefront.git",
        "git://github.com/acme%2fstorefront.git",
        "mallory@github.com:acme/storefront.git",
    ],
)
def test_another_name_is_a_fork(origin: str) -> None:
    assert not same_name(HERE, origin)


URLS = st.text() | st.from_regex(
    r"((https?|ssh|git)://)?([a-z]@)?[a-z.]{1,9}(:[0-9]{1,3})?[:/][a-z./~%-]{1,9}", fullmatch=True
)


@given(URLS, URLS)
def test_comparison_of_arbitrary_text_is_symmetric_and_no_traceback(one: str, other: str) -> None:
    assert same(one, other) == same(other, one)
    assert same_name(one, other) == same_name(other, one)


@given(URLS)
def test_a_url_with_a_meaning_equals_itself(url: str) -> None:
    assert same(url, url) == (parse(url) is not None)
    assert same(url, url) <= same_name(url, url)
